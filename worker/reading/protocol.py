"""The questions of a worker to its reader process, their answers, and the frames that carry both.

The reader process answers `ToRead` with a `Read`, and `ToRestore` with the request and its session's document
or with `NotRestored`.
"""

import pickle
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.messages.decoding import Limits
from worker.messages.envelope import Message

LENGTH_BYTES = 8  # of the length that a frame begins with; the pickled value follows


class ReaderSettings(NamedTuple):
    """The settings that the reader process is sent before any question; it answers None when it is ready."""

    seal_keys: str
    limits: Limits
    wants_whole: bool  # a handler needs each request itself, not only what a session is made from
    fail_point: str


class ToRead(NamedTuple):
    """Asks to decode a message."""

    message: Message
    now: datetime


class ToRestore(NamedTuple):
    """Asks to restore a request from its stored body."""

    body: str
    request_id: UUID


class NotRestored(NamedTuple):
    """Tells why a stored body was not restored."""

    reason: str
    sealed: bool  # no key opens its secrets


def framed(value: object) -> bytes:
    """Writes a value as a frame: its length, then the value."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
