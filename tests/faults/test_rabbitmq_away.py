"""RabbitMQ goes away under load, in every way it can: requests in work are finished, and answered later."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from aiormq.exceptions import AMQPError
from support.faults.load import Books, Producers, keeping_books, waiting_for
from support.faults.outage import cut_off, frozen, half_open, killed, stopped
from support.faults.processes import WorkerProcess, worker_processes
from support.faults.proxy import Proxy, proxy_to
from support.faults.scene import Scene
from support.faults.watching import Witness, assert_unharmed, readyz, until_down, until_up, witness
from support.harness import delete_topology
from support.servers import FaultyRabbit, write_down
from yarl import URL

from worker.operations.promises import verify
from worker.rabbitmq import topology
from worker.rabbitmq.topology import names_for

PREFIX = "away"
BEFORE, AFTER = 100, 100
OPEN_AT_MOST = 1_600
LEASE = 4.0  # one worker may stall for a moment, and is not taken for dead
CONSUMER_TIMEOUT = (
    "application:set_env(rabbit, consumer_timeout, {}), "
    "application:set_env(rabbit, channel_tick_interval, {})."
)
UNHEARD = "select count(*) = 50 from requests where answer_at is not null and undelivered = 'unroutable'"
MORE = {"WORKER_PREFETCH": "40", "WORKER_BATCH_SIZE": "20", "WORKER_LEASE_SECONDS": str(LEASE)}
BUSY = {"WORKER_HANDLER": "support.faults.handlers:takes_a_moment"}
GONE = (AMQPError, OSError, TimeoutError)

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Site:
    """A broker to break, the network to it, and the scene of its workers."""

    server: FaultyRabbit
    network: Proxy
    scene: Scene

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        return GONE

    async def connect(self) -> None:
        connection = aio_pika.Connection(URL(self.server.url))
        try:
            await connection.connect(timeout=1)
        finally:
            await connection.close()  # left to the garbage collector, it would want a loop that runs

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """Opens a channel past the network that a test breaks."""
        async with await aio_pika.connect(self.server.url) as connection:
            yield await connection.channel()


@pytest_asyncio.fixture
async def site(broker: FaultyRabbit, database_url: str) -> AsyncIterator[Site]:
    async with proxy_to(broker.url) as (network, url):
        yield Site(broker, network, Scene(url, database_url, PREFIX, more=MORE))
    await delete_topology(broker.url, PREFIX)


Outage = Callable[[Site], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def short_of_memory(site: Site) -> AsyncIterator[None]:
    """Sets a memory alarm: connections that publish are blocked, those that only consume are not."""
    await site.server.ctl("set_vm_memory_high_watermark", "0.00001")
    assert "memory" in await site.server.ctl("eval", "rabbit_alarm:get_alarms().")
    try:
        async with asyncio.timeout(90):
            # One that only consumes is no more than threatened; those that have published are blocked.
            while await connection_states(site) != {"blocking", "blocked"}:
                pass
        yield
    finally:
        await site.server.ctl("set_vm_memory_high_watermark", "0.4")


@pytest.mark.parametrize("outage", [stopped, killed, frozen, cut_off, half_open, short_of_memory])
async def test_an_outage_is_told_burns_no_attempt_loses_nothing_and_ends_by_itself(
    outage: Outage, site: Site
) -> None:
    async with under_load(site) as (workers, books, enough_sent, watching):
        if outage is killed:
            await write_down(site.server)
        async with outage(site):
            await until_down("responses", workers)
            await asyncio.sleep(1.5 * LEASE)  # the outage itself: longer than a lease
            for worker in workers:
                assert worker.exit_code is None
                assert (await readyz(worker)).keys() <= {"requests", "responses"}
        await until_up(workers)
        await enough_sent()
        await books.until_all_answered(90)
        for worker in workers:
            await worker.event("broker.lost", part="responses")
            assert "postgres" not in (await worker.event("worker.not_ready"))["reasons"]
        assert await watching.seen() == {}
    await assert_unharmed(site.scene.database_url, books)


async def connection_states(site: Site) -> set[str]:
    """Returns the states that the broker shows for the workers' connections."""
    table = await site.server.ctl("list_connections", "state", "client_properties")
    return {line.split()[0] for line in table.splitlines() if "session-worker" in line}


async def cut(site: Site) -> str:
    assert site.network.cut() > 0
    return ""


async def reset(site: Site) -> str:
    assert site.network.cut(reset=True) > 0
    return ""


async def closed_by_the_broker(site: Site) -> str:
    await site.server.ctl("close_all_connections", "maintenance")
    return "maintenance"


@pytest.mark.parametrize("interrupt", [cut, reset, closed_by_the_broker])
async def test_connections_that_break_are_made_anew_and_their_deliveries_come_again(
    interrupt: Callable[[Site], Awaitable[str]], site: Site
) -> None:
    async with under_load(site) as (workers, books, enough_sent, watching):
        sign = await interrupt(site)
        for worker in workers:
            for part in ("requests", "responses"):
                assert sign in (await worker.event("broker.lost", part=part))["reason"]
        await enough_sent()
        await books.until_all_answered(90)
        await until_up(workers)
        assert await watching.seen() == {}
    await assert_unharmed(site.scene.database_url, books)


@pytest_asyncio.fixture
async def impatient(broker: FaultyRabbit) -> AsyncIterator[None]:
    """Makes the broker close a channel with deliveries unacknowledged for 2 s, in place of half an hour."""
    was = await broker.ctl("eval", "application:get_env(rabbit, consumer_timeout, undefined).")
    await broker.ctl("eval", CONSUMER_TIMEOUT.format(2_000, 1_000))
    yield
    await broker.ctl("eval", CONSUMER_TIMEOUT.format(was.strip(), 60_000))


@pytest.mark.usefixtures("impatient")
async def test_a_channel_that_the_broker_closes_for_a_slow_handler_costs_neither_attempt_nor_response(
    site: Site, gate: Path
) -> None:
    url = site.server.url
    environ = {**site.scene.environ, "WORKER_HANDLER": "support.faults.handlers:waits_for_the_gate"}
    async with (
        worker_processes(1, environ) as [worker],
        witness(url, PREFIX) as watching,
        keeping_books(url, PREFIX) as books,
    ):
        producers = Producers(url, PREFIX, books, 100)
        await producers.send(30, waiting_for(gate))
        closed = await worker.event("broker.lost", part="requests")
        assert "PRECONDITION_FAILED" in closed["reason"]
        await until_up([worker])
        await worker.event("request.duplicate", kind="in_progress")
        assert not books.answered
        gate.touch()  # noqa: ASYNC240 — one call
        await books.until_all_answered(90)
        assert await watching.seen() == {}
    await assert_unharmed(site.scene.database_url, books)


async def test_a_worker_declares_a_deleted_request_queue_again_and_goes_on(
    site: Site, db: asyncpg.Connection
) -> None:
    async with under_load(site) as (workers, books, enough_sent, _):
        async with site.channel() as channel:
            await channel.queue_delete(names_for(PREFIX).requests)
        for worker in workers:
            lost = await worker.event("broker.lost", part="requests")
            assert "was the queue deleted?" in lost["reason"]
        await until_up(workers)
        before = len(books.confirmed)
        await enough_sent()  # what the broker did not confirm is sent again
        sent_afterwards = {str(one) for one in books.confirmed[before:]}
        await books.until(lambda: sent_afterwards <= books.answered, 90, "answered, of those sent afterwards")
        await site.scene.until_rows(db, "select count(*) = 0 from requests where finished_at is null")
        accepted = {row["request_id"] for row in await db.fetch("select request_id from requests")}
        answered = {str(one) for one in accepted}
        await books.until(lambda: answered <= books.answered, 90, "answered, of those accepted")
        # What lay in the queue is the loss of who deleted it; what came afterwards is not lost.
        assert accepted.issuperset(books.confirmed[before:])
        assert len(books.confirmed) - before >= AFTER
        assert await db.fetchval("select max(attempt) from requests") == 1
        kept = [one for one in books.confirmed if one in accepted]
        assert await verify(site.scene.database_url, kept, books.received) == []


async def test_without_a_response_queue_responses_wait_in_the_record(
    site: Site, db: asyncpg.Connection
) -> None:
    scene, url = site.scene, site.server.url
    design = topology.design(PREFIX, limits_from_policy=False)
    async with worker_processes(1, scene.environ) as [worker], keeping_books(url, PREFIX) as books:
        async with site.channel() as channel:
            await channel.queue_delete(names_for(PREFIX).responses)
        await Producers(url, PREFIX, books, 100).send(50)
        await scene.until_rows(db, UNHEARD)
        assert "topology apply" in (await worker.event("responses.no_queue"))["remedy"]
        assert not books.answered
        assert (await readyz(worker)).keys() == {"response_queue"}, "others may have their own reply queue"
        async with await aio_pika.connect(url) as connection:
            await topology.apply(connection, design)
        await books.until_all_answered(90)
        await worker.event("responses.sent_late")
    await assert_unharmed(scene.database_url, books)


async def test_a_worker_that_starts_without_rabbitmq_waits_visibly_and_then_works(site: Site) -> None:
    worker = WorkerProcess(site.scene.environ)
    try:
        async with stopped(site):
            await worker.start(until_ready=False)
            await until_down("requests", [worker], "onnect")
            await until_down("responses", [worker], "onnect")
            told = await worker.event("broker.lost")
            assert told["again_in_seconds"] >= 0
            assert (await readyz(worker)).keys() == {"requests", "responses"}
        await worker.event("worker.ready")
        async with keeping_books(site.server.url, PREFIX) as books:
            await Producers(site.server.url, PREFIX, books, 100).send(50)
            await books.until_all_answered(90)
        await assert_unharmed(site.scene.database_url, books)
    finally:
        await worker.end()


@asynccontextmanager
async def under_load(
    site: Site,
) -> AsyncIterator[tuple[list[WorkerProcess], Books, Callable[[], Awaitable[None]], Witness]]:
    """Runs two workers under a steady flow, which goes on for a while when told it is enough. Producers and
    subscriber are not behind the network that is broken. The workers are never without work in hand, whatever
    the producers can still do: a response that cannot be published is what tells of an outage.
    """
    url = site.server.url
    async with (
        worker_processes(2, {**site.scene.environ, **BUSY}) as workers,
        witness(url, PREFIX) as watching,
        keeping_books(url, PREFIX) as books,
    ):
        producers, enough = Producers(url, PREFIX, books, OPEN_AT_MOST), asyncio.Event()
        producers.per_second = 100

        async def send() -> None:
            while not enough.is_set():
                await producers.send(50)

        async def enough_sent() -> None:
            wanted = len(books.confirmed) + AFTER
            await books.until(lambda: len(books.confirmed) >= wanted, 90, "sent afterwards")
            enough.set()
            await sending

        sending = asyncio.create_task(send())
        try:
            await books.until(lambda: len(books.answered) >= BEFORE, 90, "at work")
            await books.until(lambda: books.open > 0, 90, "work in flight")
            yield workers, books, enough_sent, watching
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
