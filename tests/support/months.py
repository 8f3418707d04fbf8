"""Gives an installation months of sessions that are over, as if it were old, and sessions in them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

_NAMES = """
select to_char(month, 'YYYY_MM') as name, to_char(month, '"ts_"YYMM') as first_id,
  to_char(month + interval '1 month', '"ts_"YYMM') as end_id
from generate_series(
  date_trunc('month', now() at time zone 'UTC') - $1 * interval '1 month', now() at time zone 'UTC',
  interval '1 month'
) as month order by month
"""
_FIRST = "select name from session_partitions where not is_month"
_MAKE = """
alter table sessions detach partition {first};
alter table {first} rename to sessions_before_{name};
alter table sessions attach partition sessions_before_{name} for values from (minvalue) to ('{first_id}')
"""
_MONTH = """
create table sessions_{name} (like sessions_other including all);
alter table sessions attach partition sessions_{name} for values from ('{first_id}') to ('{end_id}')
"""
_SESSION = """
insert into sessions (
  id, request_id, org_id, status, expiration_seconds, created_at, updated_at, expires_at, document
)
values ($1, $2, 'o', $3, 60, $4, $4, $4, '{}')
"""


async def make_past_months(db: asyncpg.Connection, number: int) -> list[str]:
    """Makes this month and so many before it, the oldest first, and returns the names of their tables. No
    session may be there yet.
    """
    rows = [dict(row) for row in await db.fetch(_NAMES, number)]
    await db.execute(_MAKE.format(first=await db.fetchval(_FIRST), **rows[0]))
    for row in rows:
        await db.execute(_MONTH.format(**row))
    await db.fetchval("select make_session_months()")
    return [f"sessions_{row['name']}" for row in rows]


async def put_session(
    db: asyncpg.Connection,
    month: str,
    *,
    request_id: UUID | None = None,
    session_id: str | None = None,
    ended_days_ago: float = 400,
    status: str = "completed",
) -> UUID:
    """Puts a session of this month there. Its request is on record, if it is named and is there."""
    request_id = request_id or uuid4()
    changed = datetime.now(UTC) - timedelta(days=ended_days_ago)
    await db.execute(_SESSION, session_id or session_id_in(month, request_id), request_id, status, changed)
    return request_id


def session_id_in(month: str, request_id: UUID) -> str:
    """Returns the id of the request's session, if it was accepted on the third of this month."""
    year, number = month.split("_")[-2:]
    return f"ts_{year[2:]}{number}03_{request_id.hex[:13]}"
