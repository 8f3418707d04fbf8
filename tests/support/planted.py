"""Puts requests on record as workers would have left them, quickly and many at once."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg

_ROWS = """
insert into requests (
  request_id, status, attempt, org_id, user_id, fingerprint, body, session_id, reply_to, correlation_id,
  worker, received_at, started_at, finished_at, response, error_code, published_at,
  traceparent
)
values ($1, $2, $3, $4, $5, 'plain:x', $6, $7, $8, $9, $10, $11, $11, $12, $13, $14, $12, $15)
"""
_STEPS = (
    "insert into request_transitions (request_id, attempt, status, worker, at) values ($1, $2, $3, $4, $5)"
)
_ATTEMPTS = """
insert into attempts (request_id, attempt, at, worker, kind, error_type, reason, place)
values ($1, $2, $3, $4, 'raised', 'RuntimeError', $5, $6)
"""
_WORKER = """
insert into workers (id, host, pid, version, handler, handler_build)
values ($1, $2, $3, '1', 'rooms:create', $4)
"""
_COUNT = """
with counted as (
  insert into request_counts
  select coalesce(org_id, ''), status, coalesce(error_code, ''), count(*) from requests group by 1, 2, 3
  returning status, code, number
)
insert into request_totals select status, code, sum(number) from counted group by 1, 2
"""


class Planted(NamedTuple):
    """A finished request; with a code it has failed, with a place at an attempt of the handler."""

    at: datetime
    org: str | None = "org-1"
    code: str | None = None
    reason: str | None = None
    place: str | None = None
    worker: UUID | None = None
    user: str | None = None
    correlation: str | None = None
    reply_to: str | None = None
    payload: Any = None
    traceparent: str | None = None
    request_id: UUID = UUID(int=0)


async def plant_worker(db: asyncpg.Connection, host: str, pid: int, build: str) -> UUID:
    """Puts a worker on record; returns its id."""
    worker = uuid4()
    await db.execute(_WORKER, worker, host, pid, build)
    return worker


async def plant(db: asyncpg.Connection, wanted: Sequence[Planted]) -> list[Planted]:
    """Puts these on record, with their history and counts, into tables that have no request yet; returns
    them with their ids.
    """
    rows = [row._replace(request_id=uuid4()) for row in wanted]
    await db.execute("set session_replication_role = replica")
    await db.executemany(_ROWS, [_row(row) for row in rows])
    await db.executemany(
        _STEPS,
        [
            step
            for row in rows
            for step in (
                (row.request_id, 0, "pending", None, row.at),
                (row.request_id, 1, "processing", row.worker, row.at),
                (row.request_id, 1, _status(row), row.worker, row.at + timedelta(milliseconds=8)),
            )
        ],
    )
    await db.executemany(
        _ATTEMPTS,
        [
            (row.request_id, 1, row.at + timedelta(milliseconds=7), row.worker, row.reason, row.place)
            for row in rows
            if row.place
        ],
    )
    await db.execute("set session_replication_role = default")
    await db.execute(_COUNT)
    return rows


def _status(row: Planted) -> str:
    return "failed" if row.code else "completed"


def _row(row: Planted) -> tuple[Any, ...]:
    body = {"request_id": str(row.request_id), "org_id": row.org, "operation": "create_session"}
    session = f"ts_260101_{row.request_id.hex[:13]}"
    payload = {"session_id": session} | (row.payload or {})
    answer = {"status": _status(row), "error": row.reason, "metadata": {"code": row.code}, "payload": payload}
    return (
        row.request_id, _status(row), 1, row.org, row.user, json.dumps({**body, "payload": row.payload}),
        session, row.reply_to, row.correlation, row.worker, row.at,
        row.at + timedelta(milliseconds=8), json.dumps(answer), row.code, row.traceparent,
    )  # fmt: skip
