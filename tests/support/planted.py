"""Puts requests on record as workers would have left them, quickly and many at once."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg

_COLUMNS = (
    "request_id", "status", "attempt", "org_id", "user_id", "fingerprint", "body", "session_id", "reply_to",
    "correlation_id", "worker", "received_at", "started_at", "finished_at", "published_at", "response",
    "error_code", "traceparent",
)  # fmt: skip
_ATTEMPT_COLUMNS = ("request_id", "attempt", "at", "worker", "kind", "error_type", "reason", "place")
_WORKER = """
insert into workers (id, host, pid, version, handler, handler_build)
values ($1, $2, $3, '1', 'rooms:create', $4)
"""
_CLEAR = """
truncate requests, recorded_transitions, confirmed_leases, attempts, sessions, used_ids, workers,
  request_counts, request_totals, count_changes, selections, selection_items, retries, audit, leases,
  long_calls, lines, limits, pauses, measures, dead_letters, works
"""
_TOOK = timedelta(milliseconds=8)
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


async def clear(db: asyncpg.Connection) -> None:
    """Empties the tables, history, audit and all, for the next test of a file."""
    await db.execute("set session_replication_role = replica")
    await db.execute(_CLEAR)
    await db.execute("set session_replication_role = default")


async def plant_worker(db: asyncpg.Connection, host: str, pid: int, build: str) -> UUID:
    """Puts a worker on record; returns its id."""
    worker = uuid4()
    await db.execute(_WORKER, worker, host, pid, build)
    return worker


async def plant(db: asyncpg.Connection, wanted: Sequence[Planted]) -> list[Planted]:
    """Puts these on record, with their counts, into tables that are empty; returns them
    with their ids.
    """
    rows = [row._replace(request_id=uuid4()) for row in wanted]
    await db.execute("set session_replication_role = replica")
    await db.copy_records_to_table("requests", records=map(_row, rows), columns=_COLUMNS)
    attempts = [
        (row.request_id, 1, row.at + _TOOK, row.worker, "raised", "RuntimeError", row.reason, row.place)
        for row in rows
        if row.place
    ]
    await db.copy_records_to_table("attempts", records=attempts, columns=_ATTEMPT_COLUMNS)
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
        row.request_id, _status(row), 1, row.org, row.user, b"plain:x",
        json.dumps({**body, "payload": row.payload}), session, row.reply_to, row.correlation, row.worker,
        row.at, row.at, row.at + _TOOK, row.at + _TOOK, json.dumps(answer), row.code, row.traceparent,
    )  # fmt: skip
