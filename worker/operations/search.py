"""Finds a request by what people have of it: an id, the beginning of one, or a correlation id."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.postgres.database import Database

SHORTEST = 8  # characters of an id that are looked for
MOST_FOUND = 10
_LAST_CHARACTER = "z"  # of those that ids are made of


class Match(NamedTuple):
    """A request that may be the one that is meant. Without a status, only its session is left."""

    request_id: UUID
    status: str | None
    org_id: str | None
    session_id: str
    correlation_id: str | None
    received_at: datetime


class Through(NamedTuple):
    """The result of looking through the newest requests."""

    matches: list[Match]
    looked: int
    since: datetime | None  # None: there was nothing to look at
    all_of_them: bool


async def by_id(database: Database, text: str) -> list[Match]:
    """Find requests whose id, or whose session's id, is this or begins with it. It reads by the keys."""
    text = text.strip().lower()
    if len(text) < SHORTEST:
        return []
    found: list[Match] = []
    digits = text.replace("-", "")
    if len(digits) <= 32 and not set(digits) - set("0123456789abcdef"):  # noqa: PLR2004 — digits of a UUID
        found += await _between(database, UUID(f"{digits:0<32}"), UUID(f"{digits:f<32}"))
    if text.startswith("ts_"):
        rows = await database.call("by_session_id", text, text + _LAST_CHARACTER * len(text), MOST_FOUND + 1)
        found += [Match(**row) for row in rows]
    return found


async def look_through(database: Database, text: str, most: int) -> Through:
    """Find requests with this correlation id or reserved session id among the `most` newest ones.

    Neither has an index: it would cost each request some time, and few are ever looked for. So the table is
    read, newest first and no farther than asked for.
    """
    row = (await database.call("look_through", text, most, MOST_FOUND + 1))[0]
    matches = [
        each for request_id in row["found"] for each in await _between(database, request_id, request_id)
    ]
    matches.sort(key=lambda match: (match.received_at, match.request_id))
    return Through(matches, row["looked"], row["since"], row["looked"] < most)


async def _between(database: Database, first: UUID, last: UUID) -> list[Match]:
    return [Match(**row) for row in await database.call("by_request_id", first, last, MOST_FOUND + 1)]
