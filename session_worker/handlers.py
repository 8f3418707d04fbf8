"""Gives what the author of a handler imports."""

from worker.handlers import *  # noqa: F403 — what it has in `__all__`
