"""Requests are spread over shards, workers share these out, and nothing is lost or doubled meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection
from support.faults.load import Books, Producers, keeping_books
from support.harness import Desk, NewWorker, eventually, good_request, metric_becomes, response_in
from support.harness import run_in_process as running_workers

from worker.operations.promises import verify
from worker.rabbitmq import topology
from worker.rabbitmq.shards import MOST, queues_of, share_of
from worker.settings import Settings

MORE = 200  # answers from each state
SECONDS = 60.0  # within which shards find other readers: a place is held for five, and a machine may be slow


@pytest_asyncio.fixture
async def connection(settings: Settings) -> AsyncIterator[AbstractConnection]:
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as opened:
        yield opened


def design(prefix: str, spread: int, known: int = 1) -> topology.Topology:
    return topology.design(prefix, limits_from_policy=False, spread=spread, known=known)


def shards(prefix: str, number: int) -> tuple[str, ...]:
    return queues_of(topology.names_for(prefix).requests, number)


async def until_read(
    connection: AbstractConnection, prefix: str, *readers: int, seconds: float = SECONDS
) -> None:
    """Waits until the shards have so many consumers, one number for each shard."""
    found: list[int] = []

    async def look() -> bool:
        depths = [await topology.depth(connection, queue) for queue in shards(prefix, len(readers))]
        found[:] = [depth.consumers if depth else -1 for depth in depths]
        return found == list(readers)

    try:
        await eventually(look, seconds)
    except TimeoutError:
        raise AssertionError(f"{found} and not {list(readers)} read within {seconds:g} s") from None


async def ask_all(desk: Desk, number: int) -> None:
    """Sends so many requests, and waits until each is completed."""
    for _ in range(number):
        await desk.send(good_request(), correlation_id=str(uuid4()))
    assert {response_in(await desk.next()).status for _ in range(number)} == {"completed"}


def test_each_shard_has_a_reader_and_each_reader_a_shard() -> None:
    for number in range(1, MOST + 1):
        for readers in (1, 2, 3, 7, 63, 64, 65, 130):
            shares = [share_of(place, readers, number) for place in range(readers)]
            assert set().union(*shares) == set(range(1, number + 1))
            sizes = {len(share) for share in shares}
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1


def test_without_shards_nothing_is_declared_for_them() -> None:
    of_old = design("p", 1)

    assert not [exchange for exchange in of_old.exchanges if exchange.kind.startswith("x-")]
    assert [queue.name for queue in of_old.queues] == [
        "p.requests", "p.cancels", "p.undelivered", "p.responses", "p.dead",
    ]  # fmt: skip
    assert of_old.bindings[0] == ("p.requests", "p.requests", "create")
    assert of_old.surplus_bindings == of_old.exchange_bindings == of_old.shard_bindings == ()


async def test_a_change_of_their_number_loses_and_doubles_no_message(
    connection: AbstractConnection, prefix: str
) -> None:
    """A producer publishes all the time; each message comes into one queue."""
    await topology.apply(connection, design(prefix, 1))
    changing, published = asyncio.Event(), 0

    async def publish() -> None:
        nonlocal published
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(topology.names_for(prefix).requests, ensure=False)
        while not changing.is_set():
            for _ in range(20):
                await exchange.publish(
                    aio_pika.Message(b"{}", correlation_id=str(uuid4())), "create", mandatory=True
                )
                published += 1

    publishing = asyncio.create_task(publish())
    known = 1
    for spread in (4, 2, 1, 3, 1, 4, 4, 1):
        known = max(known, spread)
        before = published
        await topology.apply(connection, design(prefix, spread, known))

        async def went_on(before: int = before) -> bool:
            return published > before + 100

        await eventually(went_on)
        assert not publishing.done()
    changing.set()
    await publishing

    async def lie() -> int:
        return sum([await ready(connection, queue) for queue in shards(prefix, 4)])

    async def all_lie() -> bool:
        return await lie() >= published

    await eventually(all_lie)
    assert await lie() == published
    assert await topology.verify(connection, design(prefix, 4)) == ([], [])


async def test_of_what_has_no_correlation_id_each_is_answered(
    connection: AbstractConnection, prefix: str, new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker(shards=3)
    await until_read(connection, prefix, 1, 1, 1)
    for _ in range(10):
        await desk.send(good_request())

    assert {response_in(await desk.next()).status for _ in range(10)} == {"completed"}


async def test_workers_that_come_and_go_share_out_the_shards(
    connection: AbstractConnection, prefix: str, settings: Settings, desk: Desk, db: asyncpg.Connection
) -> None:
    async with running_workers(settings) as start:
        first = await start(shards=4)
        await until_read(connection, prefix, 1, 1, 1, 1)
        await ask_all(desk, 60)
        for number in range(1, 5):
            await metric_becomes(1, first, "worker_shard_served", shard=str(number))
            queue = shards(prefix, 4)[number - 1]
            await metric_becomes(0, first, "worker_queue_messages", queue=queue, state="ready")
        second = await start(shards=4)
        third = await start(shards=4)
        await until_shared(db, [[1, 4], [2], [3]])
        await until_read(connection, prefix, 1, 1, 1, 1)
        await ask_all(desk, 60)

        await second.stop()
        await until_shared(db, [[1, 3], [2, 4]])
        await until_read(connection, prefix, 1, 1, 1, 1)
        await ask_all(desk, 60)

        await first.vanish()
        await until_read(connection, prefix, 1, 1, 1, 1)
        await metric_becomes(0, third, "worker_shards_unserved")
        await ask_all(desk, 60)
        others = [await start(shards=4) for _ in range(4)]
        await until_shared(db, [[1], [2], [3], [4], [1]])
        await ask_all(desk, 60)
        for worker in (third, *others):
            await worker.stop()
    assert await db.fetchval("select count(*) from shard_readers where holds_until > now()") == 0


async def test_a_worker_that_is_paused_leaves_its_shards_to_others(
    connection: AbstractConnection, prefix: str, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(shards=2)
    await new_worker(shards=2)
    await until_shared(db, [[1], [2]])
    paused = await db.fetchval("select worker::text from shard_readers where serves = '{1}'")
    await db.execute(
        "insert into pauses (scope, name, reason, paused_by) values ('worker', $1, 'a test', 'me')", paused
    )
    await until_shared(db, [[1, 2]])
    await until_read(connection, prefix, 1, 1)
    await ask_all(desk, 20)
    await db.execute("delete from pauses")
    await until_shared(db, [[1], [2]])


@pytest.mark.timeout(400)
async def test_their_number_changes_under_load_and_each_request_is_answered_once(
    connection: AbstractConnection, prefix: str, settings: Settings, db: asyncpg.Connection
) -> None:
    """A rollout from 1 to 2, 4 and back to 1, always with workers of two numbers side by side."""
    amqp_url = settings.amqp_url.get_secret_value()
    async with running_workers(settings) as start, keeping_books(amqp_url, prefix) as books:
        workers = [await start(), await start()]
        async with producing(Producers(amqp_url, prefix, books, 500)):
            await goes_on(books, "without shards")
            for number in (2, 4, 1):
                for _ in range(2):
                    workers.append(await start(shards=number))
                    await goes_on(books, f"with {number} shards coming")
                    await workers.pop(0).stop()
                    await goes_on(books, f"with {number} shards")
        await books.until_all_answered(90)
        await until_shared(db, [[1, 3], [2, 4]])
        assert [await ready(connection, queue) for queue in shards(prefix, 4)] == [0, 0, 0, 0]

    assert await verify(settings.database_url.get_secret_value(), books.confirmed, books.received) == []
    assert len(books.received) == len(books.confirmed), "no request came twice"
    assert len(books.confirmed) > 10 * MORE


async def test_what_lies_in_a_shard_that_gets_no_more_is_answered(
    connection: AbstractConnection, prefix: str, new_worker: NewWorker, desk: Desk
) -> None:
    first = await new_worker(shards=3)
    await until_read(connection, prefix, 1, 1, 1)
    await first.stop()
    for _ in range(60):
        await desk.send(good_request(), correlation_id=str(uuid4()))
    lying = [await ready(connection, queue) for queue in shards(prefix, 3)]
    assert min(lying) > 0

    await new_worker()
    assert {response_in(await desk.next()).status for _ in range(60)} == {"completed"}
    await ask_all(desk, 30)


async def ready(connection: AbstractConnection, queue: str) -> int:
    depth = await topology.depth(connection, queue)
    assert depth is not None
    return depth.ready


async def until_shared(db: asyncpg.Connection, expected: list[list[int]]) -> None:
    """Waits until the workers read these shards, in the order of their start."""
    found: list[list[int]] = []

    async def look() -> bool:
        rows = await db.fetch(
            "select serves from shard_readers where holds_until > now() order by started_at, worker"
        )
        found[:] = [row["serves"] for row in rows]
        return found == expected

    try:
        await eventually(look, SECONDS)
    except TimeoutError:
        raise AssertionError(f"{found} and not {expected} is read") from None


@asynccontextmanager
async def producing(producers: Producers) -> AsyncIterator[None]:
    """Produces all the while."""
    producers.per_second = 200.0
    enough = asyncio.Event()

    async def produce() -> None:
        while not enough.is_set():
            await producers.send(50)

    sending = asyncio.create_task(produce())
    try:
        yield
        enough.set()
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def goes_on(books: Books, what: str) -> None:
    answered = len(books.answered)
    await books.until(lambda: len(books.answered) > answered + MORE, 90, f"going on {what}")
