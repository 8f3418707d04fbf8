"""Keeps what programs have asked for over HTTP, and the answers: who asks again gets the same one."""

from datetime import datetime
from typing import NamedTuple

from worker.postgres.database import Database

KEPT_SECONDS = 86_400.0


class Known(NamedTuple):
    """A change that was asked for before. Without a status it is under way, or was cut off."""

    asked: bytes  # the hash of what was asked for
    begun_at: datetime
    status: int | None
    answer: str | None


async def begin(database: Database, who: str, key: str, asked: bytes) -> Known | None:
    """Note that somebody asks for a change with this key. None: it is to be done now, by the caller alone;
    else what is known of the key.
    """
    if await database.call("begin_call", who, key, asked, KEPT_SECONDS, aside=True):
        return None
    rows = await database.call("answered_call", who, key, aside=True)
    return Known(**rows[0]) if rows else await begin(database, who, key, asked)


async def end(database: Database, who: str, key: str, status: int, answer: str) -> None:
    """Keep the answer."""
    await database.call("end_call", who, key, status, answer, aside=True)
