"""Leaves the process's logging as it was, whatever is configured meanwhile."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logging_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        with events_kept():
            yield
    finally:
        root.handlers, root.level = handlers, level


@contextmanager
def events_kept() -> Iterator[None]:
    """Leaves what becomes of events as it was: a level that stays behind hides them from later tests."""
    before = structlog.get_config()
    before["processors"] = [*before["processors"]]
    try:
        yield
    finally:
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
