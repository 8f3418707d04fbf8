"""Turns messages into values and values into properties; no file here does any input or output."""
