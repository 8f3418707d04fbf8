"""Finds a request by what people have of it: an id, the beginning of one, or a correlation id."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.postgres.database import Database

SHORTEST = 8  # characters of an id that are looked for
MOST_FOUND = 10
_LAST_CHARACTER = "z"  # of those that ids are made of
_LAST_OF_ALL = "\U0010ffff"


class Match(NamedTuple):
    """A request that may be the one that is meant. Without a status, only its session is left."""

    request_id: UUID
    status: str | None
    org_id: str | None
    session_id: str
    correlation_id: str | None
    received_at: datetime


async def by_id(database: Database, text: str) -> list[Match]:
    """Find requests whose id, session's id or correlation id is this or, from a length on, begins with it.

    It reads by the keys. The session that is reserved for a request which is not finished has none.
    """
    text = text.strip()
    found = await _rows(database, "by_correlation", text, _end(text, _LAST_OF_ALL))
    if whole := [each for each in found if each.correlation_id == text]:
        return whole
    if len(text) >= SHORTEST:
        small = text.lower()
        digits = small.replace("-", "")
        if len(digits) <= 32 and not set(digits) - set("0123456789abcdef"):  # noqa: PLR2004 — digits of a UUID
            found += await _between(database, UUID(f"{digits:0<32}"), UUID(f"{digits:f<32}"))
        if small.startswith("ts_"):
            found += await _rows(database, "by_session_id", small, _end(small, _LAST_CHARACTER))
            found += await _rows(database, "by_failed_session", small, _end(small, _LAST_OF_ALL))
    return list({each.request_id: each for each in found}.values())


def _end(text: str, last: str) -> str:
    """Return the end of what begins with the text; of a short one only the text itself is looked for."""
    return text + last * len(text) if len(text) >= SHORTEST else text


async def _rows(database: Database, query: str, first: str, last: str) -> list[Match]:
    return [Match(**row) for row in await database.call(query, first, last, MOST_FOUND + 1)]


async def _between(database: Database, first: UUID, last: UUID) -> list[Match]:
    return [Match(**row) for row in await database.call("by_request_id", first, last, MOST_FOUND + 1)]
