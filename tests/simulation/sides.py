"""The two sides of the script of the store: the stand-in, and the real Postgres."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import asyncpg
from simulation.clock import EPOCH
from simulation.table_rows import ALL, Rows
from simulation.tables import Tables
from support.faults.store_model import State, read

from worker.monitoring.readiness import Readiness
from worker.postgres.database import Around, Database, _unchanged
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.store import Store
from worker.postgres.waiting_answers import WaitingAnswers
from worker.postgres.waiting_line import WaitingLine
from worker.process.failpoint import FailPoint

LEASE_SECONDS = 60.0
WORKERS = 2
SHIFT = """
with r as (
  update requests set
    received_at = received_at - $1::interval, started_at = started_at - $1, due_at = due_at - $1,
    deadline_at = deadline_at - $1, begins_at = begins_at - $1, finished_at = finished_at - $1,
    published_at = published_at - $1, answer_at = answer_at - $1, undelivered_at = undelivered_at - $1
), h as (
  update recorded_transitions set at = at - $1
), l as (
  update leases set lease_until = lease_until - $1
), o as (
  update other_answers set created_at = created_at - $1, answer_at = answer_at - $1
), a as (
  update attempts set at = at - $1
), n as (
  update lines set asleep_until = asleep_until - $1 where asleep_until < 'infinity'
)
select
"""
PAUSE = """
insert into pauses (scope, name, reason, paused_by) values ($1, $2, 'a test', 'me') on conflict do nothing
"""


class Worker(NamedTuple):
    """What one worker has of Postgres."""

    leases: Leases
    store: Store
    line: PutOffLine
    waiting: WaitingLine
    answers: WaitingAnswers


class Side(Protocol):
    """The tables, real or not, and the clock that they go by."""

    workers: list[Worker]

    def now(self) -> datetime: ...
    async def pass_time(self, seconds: float) -> None: ...
    async def pause(self, org: str) -> None: ...
    async def resume(self, org: str) -> None: ...
    async def state(self) -> State: ...


class _AtOnce(Database):
    """Answers without delay from the stand-in."""

    def __init__(self, tables: Tables, tick: Callable[[], None]) -> None:
        super().__init__("postgresql://simulated", 1, None, Readiness(["postgres"]))
        self._tables = tables
        self._tick = tick

    async def once(self, query: str, *args: Any, around: Around = _unchanged) -> Rows:  # noqa: ARG002 — nothing to wait for
        self._tick()
        return self._tables.run(query, args)


class StandIn:
    """The stand-in, and a clock that goes on when it is told to."""

    def __init__(self) -> None:
        self._now = EPOCH
        self.tables = Tables(self.now, random.Random(1))  # noqa: S311 — a run is to be like the one before
        self.workers: list[Worker] = []

    def now(self) -> datetime:
        return self._now

    def _tick(self) -> None:
        self._now += timedelta(milliseconds=1)

    async def open(self) -> None:
        self.workers = [await _worker(number, _AtOnce(self.tables, self._tick)) for number in range(WORKERS)]

    async def pass_time(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    async def pause(self, org: str) -> None:
        self.tables.pause(org)

    async def resume(self, org: str) -> None:
        self.tables.resume(org)

    async def state(self) -> State:
        self._tick()
        return self.tables.state()


class Real:
    """Postgres. Time passes there in that all rows become older."""

    def __init__(self, url: str, admin: asyncpg.Connection) -> None:
        self._admin = admin
        self._databases = [Database(url, 1, None, Readiness(["postgres"])) for _ in range(WORKERS)]
        self.workers: list[Worker] = []

    async def open(self) -> None:
        for database in self._databases:
            await database.open()
        self.workers = [await _worker(number, database) for number, database in enumerate(self._databases)]

    async def close(self) -> None:
        for database in self._databases:
            await database.close()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def pass_time(self, seconds: float) -> None:
        step = timedelta(seconds=seconds)
        await self._admin.execute("set session_replication_role = replica")  # triggers are off
        await self._admin.execute(SHIFT, step)
        await self._admin.execute("reset session_replication_role")
        for worker in self.workers:
            assert worker.leases._last_beat is not None
            worker.leases._last_beat -= step

    async def pause(self, org: str) -> None:
        await self._admin.execute(PAUSE, *_place(org))

    async def resume(self, org: str) -> None:
        await self._admin.execute("delete from pauses where (scope, name) = ($1, $2)", *_place(org))

    async def state(self) -> State:
        return await read(self._admin)


def _place(org: str) -> tuple[str, str]:
    return ("all", "") if org == ALL else ("org", org)


async def _worker(number: int, database: Database) -> Worker:
    leases = Leases(database, UUID(int=number + 1), LEASE_SECONDS)
    await leases.register("host", number, "1")
    return Worker(
        leases=leases,
        store=Store(database, leases, FailPoint("")),
        line=PutOffLine(database, leases),
        waiting=WaitingLine(database, leases),
        answers=WaitingAnswers(database),
    )
