"""Reads, sends and notes many requests, so that another run can go on where this one ended."""
