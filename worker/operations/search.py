"""Finds a request, or a dead letter, by what people have of it: an id of some kind, or its beginning."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.postgres.database import Database

SHORTEST = 8  # characters of an id that are looked for
MOST_FOUND = 10
_DIGITS = 32
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


class _Ids(NamedTuple):
    """The first and the last of the ids that begin so."""

    first: UUID
    last: UUID


async def by_id(database: Database, text: str) -> list[Match]:
    """Find requests whose id, session's id or correlation id is this or, from a length on, begins with it.

    It reads by the keys. The session that is reserved for a request which is not finished has none.
    """
    text = text.strip()
    found = await _rows(database, "by_correlation", text, _end(text, _LAST_OF_ALL))
    if ids := _ids(text):
        rows = await database.call("by_request_id", *ids, MOST_FOUND + 1, aside=True)
        found += [Match(**row) for row in rows]
    if whole := {each.request_id: each for each in found if each.correlation_id == text}:
        return list(whole.values())
    small = text.lower()
    if len(text) >= SHORTEST and small.startswith("ts_"):
        found += await _rows(database, "by_session_id", small, _end(small, _LAST_CHARACTER))
        found += await _rows(database, "by_failed_session", small, _end(small, _LAST_OF_ALL))
    return list({each.request_id: each for each in found}.values())


async def dead_letters(database: Database, text: str) -> list[UUID]:
    """Find dead letters by an id of theirs or of their request, its beginning, or a message id."""
    text = text.strip()
    first, last = _ids(text) or (None, None)
    rows = await database.call("find_dead_letters", first, last, text, MOST_FOUND + 1, aside=True)
    return [row["id"] for row in rows]


def _ids(text: str) -> _Ids | None:
    """Return between which ids those lie that begin with the text; None if none does, or it is too short."""
    digits = text.lower().replace("-", "")
    if SHORTEST <= len(digits) <= _DIGITS and not set(digits) - set("0123456789abcdef"):
        return _Ids(UUID(f"{digits:0<{_DIGITS}}"), UUID(f"{digits:f<{_DIGITS}}"))
    return None


def _end(text: str, last: str) -> str:
    """Return the end of what begins with the text; of a short one only the text itself is looked for."""
    return text + last * len(text) if len(text) >= SHORTEST else text


async def _rows(database: Database, query: str, first: str, last: str) -> list[Match]:
    return [Match(**row) for row in await database.call(query, first, last, MOST_FOUND + 1)]
