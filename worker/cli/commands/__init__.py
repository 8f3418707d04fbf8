"""Holds one command a file; each file is imported only when its command is asked for."""
