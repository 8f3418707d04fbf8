"""Requests that wait in Postgres, and those that are claimed from there, outlive the end of all else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.faults.load import Producers, keeping_books, waiting_for
from support.faults.processes import WorkerProcess, worker_processes
from support.faults.scene import Scene
from support.harness import delete_topology
from support.servers import Faulty, FaultyRabbit, write_down

from worker.operations.promises import verify
from worker.postgres.migrate import migrate

REQUESTS, CALLS = 60, 10
PAUSE = "insert into pauses (scope, reason, paused_by) values ('all', 'a test', 'me')"
ALL_WAIT = f"select count(*) = {REQUESTS} from requests where waits_in is not null"  # noqa: S608 — a number
CLAIMED = f"select count(*) >= {CALLS} from requests where status = 'processing'"  # noqa: S608 — a number
WAITING = "select request_id, status, attempt, waits_in, waits_for, begins_at from requests order by 1"

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Site:
    """Servers to break, and the workers' own database and queues there."""

    broker: FaultyRabbit
    postgres: Faulty
    scene: Scene

    async def run(self, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.scene.database_url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def until(self, query: str) -> None:
        connection = await asyncpg.connect(self.scene.database_url)
        try:
            await self.scene.until_rows(connection, query)
        finally:
            await connection.close()


@pytest_asyncio.fixture
async def site(broker: FaultyRabbit, postgres: Faulty, prefix: str) -> AsyncIterator[Site]:
    name = f"waiting_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = urlunsplit(urlsplit(postgres.url)._replace(path=f"/{name}"))
    await migrate(url)
    # One worker may stall for a moment, and is not taken for dead.
    more = {"WORKER_HANDLER_CONCURRENCY": "5", "WORKER_LEASE_SECONDS": "4"}
    yield Site(broker, postgres, Scene(broker.url, url, prefix, more=more))
    await delete_topology(broker.url, prefix)


Outage = Callable[[Site, Sequence[WorkerProcess]], Awaitable[None]]


async def all_workers_killed(_site: Site, workers: Sequence[WorkerProcess]) -> None:
    await asyncio.gather(*(worker.kill() for worker in workers))
    assert [worker.exit_code for worker in workers] == [-9, -9]
    await asyncio.gather(*(worker.start() for worker in workers))


async def postgres_killed(site: Site, _workers: Sequence[WorkerProcess]) -> None:
    await site.postgres.kill()
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(site.scene.database_url)
    await site.postgres.start()


async def broker_killed(site: Site, workers: Sequence[WorkerProcess]) -> None:
    await write_down(site.broker)
    await site.broker.kill()
    for worker in workers:
        await worker.event("broker.lost")
    await site.broker.start()


OUTAGES: dict[Outage, int] = {all_workers_killed: 2, postgres_killed: 1, broker_killed: 1}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_requests_that_wait_outlive_this(outage: Outage, site: Site) -> None:
    await site.run(PAUSE)
    async with (
        worker_processes(2, site.scene.environ) as workers,
        keeping_books(site.scene.amqp_url, site.scene.prefix) as books,
    ):
        await Producers(site.scene.amqp_url, site.scene.prefix, books, REQUESTS).send(REQUESTS)
        await site.until(ALL_WAIT)
        before = await site.run(WAITING)

        await outage(site, workers)

        assert await site.run(WAITING) == before
        assert books.answered == set()
        await site.run("delete from pauses")
        await books.until_all_answered(90)
        assert await site.run("select distinct status, attempt from requests") == [("completed", 1)]
        assert await verify(site.scene.database_url, books.confirmed, books.received) == []


@pytest.mark.parametrize("outage", OUTAGES)
async def test_requests_that_were_claimed_from_a_line_outlive_this(
    outage: Outage, site: Site, gate: Path
) -> None:
    environ = {**site.scene.environ, "WORKER_HANDLER": "support.faults.handlers:waits_for_the_gate"}
    await site.run(PAUSE)
    async with (
        worker_processes(2, environ) as workers,
        keeping_books(site.scene.amqp_url, site.scene.prefix) as books,
    ):
        producers = Producers(site.scene.amqp_url, site.scene.prefix, books, REQUESTS)
        await producers.send(REQUESTS, waiting_for(gate))
        await site.until(ALL_WAIT)
        await site.run("delete from pauses")
        await site.until(CLAIMED)

        await outage(site, workers)

        gate.touch()  # noqa: ASYNC240 — at once
        await books.until_all_answered(90)
        attempts = await site.run("select attempt, count(*) from requests group by 1 order by 1")
        assert [row["attempt"] for row in attempts] == list(range(1, OUTAGES[outage] + 1)), attempts
        assert attempts[0]["count"] >= REQUESTS - 2 * CALLS
        assert await verify(site.scene.database_url, books.confirmed, books.received) == []
