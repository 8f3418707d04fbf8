"""Tells how many requests there are, from the counts that are kept: exact, and as quick however many."""

from typing import NamedTuple

from worker.postgres.database import Database


class Count(NamedTuple):
    """So many requests have this status and, if they failed, this code."""

    status: str
    code: str | None
    number: int


async def kept(database: Database, org: str | None = None) -> list[Count]:
    """Return the counts of all requests, or of one organisation's ('' for those that have none)."""
    rows = await database.call("counts", org, aside=True)
    return [Count(status, code or None, number) for status, code, number in rows]
