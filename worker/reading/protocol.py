"""What a worker and the process that reads for it say to each other."""

import pickle
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.messages.envelope import Message

HEAD_BYTES = 8  # a frame: its length, then the value


class Given(NamedTuple):
    """What the process is told first."""

    seal_keys: str
    max_body_bytes: int
    wants_whole: bool  # whether somebody asks for the requests themselves: a handler
    fail_point: str


class ToRead(NamedTuple):
    message: Message
    now: datetime


class ToRestore(NamedTuple):
    body: str
    request_id: UUID


class NotOpened(NamedTuple):
    """Why a stored body was not restored; `sealed`: for want of a key."""

    reason: str
    sealed: bool


def pack(value: object) -> bytes:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(HEAD_BYTES, "big") + data
