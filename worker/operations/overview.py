"""Gives an overview: of organisations, of workers and of queues."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from worker.monitoring.profile import Profile, differences
from worker.operations.listing import LOOKED_AT
from worker.postgres.database import Database
from worker.rabbitmq import topology
from worker.rabbitmq.connection import Broker, close

_DAY_SECONDS = 86_400.0


class Org(NamedTuple):
    """An organisation. The last four are of those of its requests that are among the newest."""

    org: str  # '' for requests without one
    waiting: int  # counted up to a bound
    running: int
    completed: int
    failed: int
    recent: int
    recent_failed: int
    p50_seconds: float | None
    p99_seconds: float | None


class LiveWorker(NamedTuple):
    """A worker that was heard of within a day."""

    id: UUID
    host: str
    pid: int
    version: str
    handler: str | None  # '' is the built-in creation; None: an older version does not say
    build: str | None
    started_at: datetime
    silent_seconds: float
    lives: bool
    paused: bool
    in_hand: int  # requests that are not finished

    @property
    def place(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def state(self) -> str:
        if not self.lives:
            return "SILENT"
        return "paused" if self.paused else "ready"


class QueueDepth(NamedTuple):
    """A queue, and what is in it; None: it is not there."""

    queue: str
    ready: int | None
    consumers: int | None


async def orgs(database: Database, since: datetime, limit: int) -> list[Org]:
    """List the organisations that have had the most requests since then, then those with the most."""
    rows = await database.call("busiest_orgs", since, LOOKED_AT, limit, aside=True)
    return [Org(**row) for row in rows]


async def workers(database: Database, lease_seconds: float) -> list[LiveWorker]:
    """List the workers. One is silent when it was not heard of for half of its lease."""
    return [LiveWorker(**row) for row in await database.call("live_workers", lease_seconds, aside=True)]


async def unlike(database: Database, lease_seconds: float) -> dict[UUID, dict[str, tuple[object, object]]]:
    """Compare each live worker with the one that started last, which has what was meant to be. Of those that
    differ, return by name what the last one has and what they have.
    """
    rows = await database.call("workers_seen", lease_seconds, _DAY_SECONDS, aside=True)
    live = [
        (row["id"], Profile(row["handler"], row["handler_build"], json.loads(row["settings"] or "{}")))
        for row in rows
        if row["lives"] and row["handler"] is not None
    ]
    return {key: found for key, profile in live if (found := differences(live[-1][1], profile))}


async def queues(broker: Broker, names: Sequence[str]) -> list[QueueDepth]:
    """Look into each queue, and change nothing."""
    connection = await broker.connect()
    try:
        return [QueueDepth(name, *(await topology.depth(connection, name) or (None, None))) for name in names]
    finally:
        await close(connection)


def worker_as_record(worker: LiveWorker) -> dict[str, Any]:
    return {**worker._asdict(), "state": worker.state}
