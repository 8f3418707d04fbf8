"""Postgres goes away under load, in every way it can: workers hold what they have, take no more, go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import psutil
import pytest
import pytest_asyncio
from support.faults.load import Books, Producers, keeping_books, request_for, waiting_for
from support.faults.outage import cut_off, frozen, half_open, killed, stopped
from support.faults.processes import WorkerProcess, worker_processes
from support.faults.proxy import Proxy, proxy_to
from support.faults.scene import Scene
from support.faults.watching import Witness, assert_unharmed, readyz, until_down, until_up, witness
from support.servers import Faulty

from worker.postgres.migrate import migrate
from worker.rabbitmq import topology
from worker.stack import Stack

PREFETCH = 40
BEFORE, RUSH = 100, 500
OPEN_AT_MOST = 10_000  # more than is ever sent: nothing holds the rush back
HELD = 60
LEASE = 4.0  # one worker may stall for a moment, and is not taken for dead
BOTH_HOLD = f"select count(*) = {HELD} and count(distinct worker) = 2 from requests"  # noqa: S608 — a number
TERMINATE = "select count(pg_terminate_backend(pid)) from pg_stat_activity"
# Each worker has shown for more than a lease that it lives, and so may judge others.
STEADY = "select min(heartbeat) > '{}'::timestamptz + 1.5 * interval '{} s' from workers"
MORE = {"WORKER_PREFETCH": str(PREFETCH), "WORKER_BATCH_SIZE": "20", "WORKER_LEASE_SECONDS": str(LEASE)}

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Site:
    """A Postgres to break, the network to it, and the database and role of its workers."""

    server: Faulty
    network: Proxy
    admin_url: str  # past the network, to the workers' database
    role: str
    scene: Scene

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        return (ConnectionRefusedError,)

    async def connect(self) -> None:
        connection = await asyncpg.connect(self.admin_url, timeout=1)
        await connection.close()

    async def run(self, statement: str) -> str:
        """Runs a statement as an administrator, who can connect where others cannot."""
        connection = await asyncpg.connect(self.admin_url)
        try:
            return str(await connection.fetchval(statement))
        finally:
            await connection.close()

    async def until(self, query: str) -> None:
        connection = await asyncpg.connect(self.admin_url)
        try:
            await self.scene.until_rows(connection, query)
        finally:
            await connection.close()

    async def cut_off_everybody(self) -> int:
        return int(await self.run(f"{TERMINATE} where usename = '{self.role}'"))


@pytest_asyncio.fixture
async def site(postgres: Faulty, stack: Stack, prefix: str) -> AsyncIterator[Site]:
    """Yields a database and a role of the test's own; no superuser, as every limit lets those in."""
    name = f"away_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"create role {name} login password 'away'")
    await admin.execute(f"create database {name} owner {name}")
    await admin.close()
    async with proxy_to(postgres.url) as (network, url):
        parts = urlsplit(url)
        mine = urlunsplit(parts._replace(netloc=f"{name}:away@127.0.0.1:{network.port}", path=f"/{name}"))
        await migrate(mine)
        admin_url = urlunsplit(urlsplit(postgres.url)._replace(path=f"/{name}"))
        yield Site(postgres, network, admin_url, name, Scene(stack.amqp_url, mine, prefix, more=MORE))


Outage = Callable[[Site], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def read_only(site: Site) -> AsyncIterator[None]:
    """Makes Postgres read-only, as a failover does that leaves workers connected to what is now a standby."""
    await site.run("alter system set default_transaction_read_only = on")
    await site.run("select pg_reload_conf()")
    connection = await asyncpg.connect(site.scene.database_url)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await connection.execute("create table refused ()")
    await connection.close()
    try:
        yield
    finally:
        await site.run("alter system reset default_transaction_read_only")
        await site.run("select pg_reload_conf()")


@asynccontextmanager
async def too_many_connections(site: Site) -> AsyncIterator[None]:
    await site.run(f"alter role {site.role} connection limit 0")
    await site.cut_off_everybody()
    with pytest.raises(asyncpg.TooManyConnectionsError):
        await asyncpg.connect(site.scene.database_url)
    try:
        yield
    finally:
        await site.run(f"alter role {site.role} connection limit -1")


# What the workers say of each.
SIGNS: dict[Outage, str] = {
    stopped: "onnection",
    killed: "onnection",
    frozen: "no answer in time",
    cut_off: "onnection",
    half_open: "no answer in time",
    read_only: "ReadOnlySQLTransactionError",  # 25006
    too_many_connections: "TooManyConnectionsError",  # 53300
}


@pytest.mark.parametrize("outage", SIGNS)
async def test_an_outage_pauses_intake_is_told_burns_no_attempt_and_ends_by_itself(
    outage: Outage, site: Site
) -> None:
    async with under_load(site) as (workers, books, last_sent, watching):
        async with outage(site):
            await until_down("postgres", workers, SIGNS[outage])
            await last_sent()  # to workers that cannot work
            await watching.until_held_at_most(books, 2 * PREFETCH)
            await outlast_the_leases()
            assert await watching.ready() >= books.open - 2 * PREFETCH > 0
            for worker in workers:
                assert worker.exit_code is None
                assert (await readyz(worker)).keys() == {"postgres"}
        await until_up(workers)
        await books.until_all_answered(90)
        for worker in workers:
            assert (await worker.event("worker.not_ready"))["reasons"].keys() == {"postgres"}
            await worker.event("postgres.lost")
            await worker.event("postgres.back")
            assert [event for event in worker.events if "logger" in event] == [], "told twice"
        assert await watching.seen() == {}
    await assert_unharmed(site.admin_url, books)


async def reset(site: Site) -> str:
    await site.scene.until(lambda: site.network.connections > 0, "connected, again perhaps")
    assert site.network.cut(reset=True) > 0
    return "onnection"


async def cut(site: Site) -> str:
    await site.scene.until(lambda: site.network.connections > 0, "connected, again perhaps")
    assert site.network.cut() > 0
    return "onnection"


async def terminated(site: Site) -> str:
    async with asyncio.timeout(60):
        while not await site.cut_off_everybody():
            """They may be on their way back from the time before."""
    return "onnection"


@pytest.mark.parametrize("interrupt", [cut, reset, terminated])
async def test_connections_that_break_are_replaced_and_what_was_under_way_is_repeated(
    interrupt: Callable[[Site], Awaitable[str]], site: Site
) -> None:
    async with under_load(site) as (workers, books, last_sent, watching):
        sign = await interrupt(site)
        while not all(worker.has_logged("postgres.lost") for worker in workers):
            # One that had nothing under way just then has noticed nothing.
            seen = len(books.answered)
            await books.until_answered(seen + 1, 90, "at work again")
            sign = await interrupt(site)
        for worker in workers:
            reason = (await worker.event("postgres.lost"))["reason"]
            assert sign in reason or "InternalClientError" in reason  # the driver's word for a torn answer
            await worker.event("postgres.back")
        await last_sent()
        await books.until_all_answered(90)
        await until_up(workers)
        assert await watching.seen() == {}
    await assert_unharmed(site.admin_url, books)


@pytest.mark.parametrize(("outage", "times"), [(frozen, 3), (stopped, 2)])
async def test_after_an_outage_longer_than_a_lease_no_worker_takes_another_for_dead(
    outage: Outage, times: int, site: Site, gate: Path
) -> None:
    """Both hold requests whose leases have run out meanwhile. A freeze is shorter than a call's time-out:
    what the workers had sent is all carried out at once afterwards, in any order. After a stop they come
    back one after the other."""
    scene = site.scene
    environ = {**scene.environ, "WORKER_HANDLER": "support.faults.handlers:waits_for_the_gate"}
    async with (
        worker_processes(2, environ) as workers,
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        producers = Producers(scene.amqp_url, scene.prefix, books, open_at_most=HELD)
        await producers.send(HELD, waiting_for(gate))
        await site.until(BOTH_HOLD)
        for _ in range(times):
            await site.until(STEADY.format(await site.run("select clock_timestamp()"), LEASE))
            async with outage(site):
                await outlast_the_leases()
        await site.until(STEADY.format(await site.run("select clock_timestamp()"), LEASE))
        gate.touch()  # noqa: ASYNC240 — one call
        await books.until_all_answered(90)
        assert not [
            event for worker in workers for event in worker.events if event["event"] == "lease.taken_over"
        ]
    await assert_unharmed(site.admin_url, books)


@pytest.mark.parametrize("outage", [stopped, read_only, too_many_connections])
async def test_a_worker_that_starts_without_postgres_waits_visibly_and_then_works(
    outage: Outage, site: Site
) -> None:
    scene, worker = site.scene, WorkerProcess(site.scene.environ)
    async with await aio_pika.connect(scene.amqp_url) as connection:
        await topology.apply(connection, topology.design(scene.prefix, limits_from_policy=False))
    try:
        async with keeping_books(scene.amqp_url, scene.prefix) as books:
            async with outage(site):
                await worker.start(until_ready=False)
                await until_down("postgres", [worker], SIGNS[outage])
                waiting = ("postgres.waiting", "postgres.lost")
                told = await worker.heard(lambda event: event["event"] in waiting, "word of waiting")
                assert SIGNS[outage] in told["reason"]
                await Producers(scene.amqp_url, scene.prefix, books, 100).send(50)
                assert await readyz(worker)
                assert not books.answered
            await worker.event("worker.ready")
            await books.until_all_answered(90)
        await assert_unharmed(site.admin_url, books)
    finally:
        await worker.end()


async def test_memory_is_bounded_while_large_requests_wait(site: Site) -> None:
    """Forty megabytes of requests wait, of which a worker may hold two."""
    scene = site.scene
    async with (
        worker_processes(1, {**scene.environ, "WORKER_PREFETCH": "20"}) as [worker],
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        producers = Producers(scene.amqp_url, scene.prefix, books, 1_000)
        await producers.send(20, large_request)
        await books.until_all_answered(90)
        before = psutil.Process(worker.pid).memory_info().rss
        async with stopped(site):
            await until_down("postgres", [worker])
            await producers.send(400, large_request)
            await outlast_the_leases()
            grown = psutil.Process(worker.pid).memory_info().rss - before
        await books.until_all_answered(90)
    assert grown < 20_000_000, grown
    await assert_unharmed(site.admin_url, books)


def large_request(request_id: UUID) -> dict[str, object]:
    return request_for(request_id) | {"metadata": {"note": "x" * 100_000}}


async def outlast_the_leases() -> None:
    """Waits until every lease has run out; nothing signals that."""
    await asyncio.sleep(1.5 * LEASE)


@asynccontextmanager
async def under_load(
    site: Site,
) -> AsyncIterator[tuple[list[WorkerProcess], Books, Callable[[], Awaitable[None]], Witness]]:
    """Runs two workers under a steady flow of requests, which ends in a rush when told."""
    scene = site.scene
    async with (
        worker_processes(2, scene.environ) as workers,
        witness(scene.amqp_url, scene.prefix) as watching,
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        producers, enough = Producers(scene.amqp_url, scene.prefix, books, OPEN_AT_MOST), asyncio.Event()
        producers.per_second = 150

        async def send() -> None:
            while not enough.is_set():
                await producers.send(50)

        async def last_sent() -> None:
            enough.set()
            producers.per_second = None
            await producers.send(RUSH)
            await sending

        sending = asyncio.create_task(send())
        try:
            await books.until(lambda: len(books.answered) >= BEFORE, 90, "at work")
            await books.until(lambda: books.open > 0, 90, "work in flight")
            yield workers, books, last_sent, watching
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
