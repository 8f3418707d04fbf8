"""Exports the history: each change of an organisation's requests in a time, with who made it."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from worker.postgres.database import Database

_LOOKED_AT_ONCE = 1_000
_FIRST, _FIRST_ID = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)


class Change(NamedTuple):
    """One step of a request. The names are those of the columns that people get."""

    at: datetime
    request_id: UUID
    org_id: str | None
    user_id: str | None
    attempt: int
    from_status: str | None
    to_status: str
    code: str | None
    reason: str | None
    actor: str | None  # the operator who made it; None: a worker, by itself
    worker: str | None
    build: str | None
    session_id: str


async def changes(
    database: Database, org: str | None, since: datetime, until: datetime
) -> AsyncGenerator[list[Change], None]:
    """Find all changes in this time, in the order in which their requests arrived. A request that arrived
    long before may change now, so all before the end are looked at, some at a time.
    """
    arrived, last = _FIRST, _FIRST_ID
    while True:
        rows = await database.call(
            "requests_by_arrival", org, arrived, last, until, _LOOKED_AT_ONCE, aside=True
        )
        if not rows:
            return
        last, arrived, _ = rows[-1]
        ids = [row["request_id"] for row in rows if not row["finished_at"] or row["finished_at"] >= since]
        if ids:
            found = await database.call("changes_of", ids, since, until, aside=True)
            yield [Change(**row) for row in found]
