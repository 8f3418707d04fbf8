"""Holds what `session-worker demo` sends, and the worker that it starts."""
