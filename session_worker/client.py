"""Publishes requests and subscribes to responses."""

from worker.client import *  # noqa: F403 — what it has in `__all__`
