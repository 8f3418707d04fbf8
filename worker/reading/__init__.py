"""Reads large and suspect messages in a process of its own."""
