"""A request that was never attempted does not fail, however often workers stop, crash and lose connections.

`STOPS=100 pytest tests/faults/test_many_stops.py` takes the long way.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from support.faults.load import Books, Producers, keeping_books, waiting_for
from support.faults.processes import WorkerProcess
from support.faults.proxy import Proxy, proxy_to
from support.faults.scene import Scene
from support.faults.watching import Witness, witness
from support.harness import delete_topology, eventually
from support.servers import FaultyRabbit

from worker.operations.promises import verify
from worker.rabbitmq import topology
from worker.rabbitmq.topology import names_for

PREFIX = "often"
REQUESTS = 50
STOPS = int(os.environ.get("STOPS", "30"))
SEED = int(os.environ.get("STOPS_SEED", "9"))
OLD_LIMIT = 20

pytestmark = pytest.mark.timeout(300 + 10 * STOPS)


@dataclass
class Site:
    """One worker after the other, each with a slow handler that takes one call, and all requests in hand."""

    broker: FaultyRabbit
    network: Proxy
    scene: Scene
    db: asyncpg.Connection
    books: Books
    watch: Witness
    worker: WorkerProcess

    async def until_all_are_in_hand(self) -> None:
        """Waits until the worker holds all: one is called and on record, the others are just delivered.

        Until the broker notices that a consumer is gone, it counts what that one held as delivered.
        """
        async with asyncio.timeout(60):
            while await self.watch.ready_and_consumers() != (0, 1):  # noqa: ASYNC110 — a queue sends no event
                await asyncio.sleep(0.05)

    async def until_it_consumes(self, since: int) -> None:
        """Waits until the worker has begun anew to read the requests, after so many events of its log."""
        await self.worker.event("intake.consuming", since, queue=names_for(PREFIX).requests)


async def terminated(site: Site) -> None:
    site.worker.terminate()
    assert await site.worker.wait() == 0
    await site.worker.start()


async def killed(site: Site) -> None:
    await site.worker.kill()
    await site.worker.start()


async def cut(site: Site) -> None:
    since = len(site.worker.events)
    assert site.network.cut(reset=True) > 0
    await site.until_it_consumes(since)


async def closed_by_the_broker(site: Site) -> None:
    since = len(site.worker.events)
    await site.broker.ctl("close_all_connections", "--global", "for a test")
    await site.until_it_consumes(since)


QUICK: list[Callable[[Site], Awaitable[None]]] = [terminated, killed, cut, cut]
WAYS = [*QUICK, closed_by_the_broker]
MOSTLY = [*QUICK * 3, closed_by_the_broker]  # whose command takes seconds to start


async def declare(url: str, delivery_limit: int | None) -> None:
    designed = topology.design(PREFIX, limits_from_policy=False)
    if delivery_limit:
        queues = [
            queue._replace(arguments={**queue.arguments, "x-delivery-limit": delivery_limit})
            for queue in designed.queues
        ]
        designed = designed._replace(queues=tuple(queues))
    async with await aio_pika.connect(url) as connection:
        await topology.apply(connection, designed)


@asynccontextmanager
async def set_up(
    broker: FaultyRabbit, database_url: str, db: asyncpg.Connection, gate: Path, delivery_limit: int | None
) -> AsyncIterator[Site]:
    await declare(broker.url, delivery_limit)
    handler = {
        "WORKER_HANDLER": "support.faults.handlers:waits_for_the_gate",
        "WORKER_HANDLER_CONCURRENCY": "1",
        "WORKER_HANDLER_TIMEOUT_SECONDS": "3600",
        "WORKER_PREFETCH": str(2 * REQUESTS),
        "WORKER_GRACE_SECONDS": "0",
        "WORKER_MAX_ATTEMPTS": "1000",  # the one that is called each time is not what is meant here
    }
    async with proxy_to(broker.url) as (network, url):
        scene = Scene(url, database_url, PREFIX, more=handler)
        worker = WorkerProcess(scene.environ)
        try:
            async with (
                witness(broker.url, PREFIX) as watch,
                keeping_books(broker.url, PREFIX) as books,
            ):
                await worker.start()
                await Producers(broker.url, PREFIX, books, REQUESTS).send(REQUESTS, waiting_for(gate))
                yield Site(broker, network, scene, db, books, watch, worker)
        finally:
            await worker.end()
            await delete_topology(broker.url, PREFIX)


async def break_often(site: Site, stops: int) -> None:
    chance = random.Random(SEED)  # noqa: S311 — which way it breaks is no secret
    for number in range(stops):
        await site.until_all_are_in_hand()
        way = WAYS[number] if number < len(WAYS) else chance.choice(MOSTLY)
        await way(site)
    await site.until_all_are_in_hand()


async def most_returned(url: str) -> int:
    """Returns how often the message at the head of the queue came back, and leaves it there."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(names_for(PREFIX).requests, ensure=False)
        message = await eventually(lambda: queue.get(fail=False))  # it may come back a moment later
        await message.nack(requeue=True)
        return int(str(message.headers.get("x-delivery-count", 0)))


async def assert_all_completed_once(site: Site) -> None:
    assert await verify(site.scene.database_url, site.books.confirmed, site.books.received) == []
    ends = await site.db.fetch("select status, count(*) from requests group by 1")
    assert [tuple(row) for row in ends] == [("completed", REQUESTS)]
    assert len({copy.body for copy in site.books.received}) == REQUESTS


async def test_what_was_never_attempted_does_not_fail_for_stops_crashes_and_cut_connections(
    broker: FaultyRabbit, database_url: str, db: asyncpg.Connection, gate: Path
) -> None:
    async with set_up(broker, database_url, db, gate, None) as site:
        await break_often(site, STOPS)

        assert not site.books.answered
        attempted = await db.fetchval("select count(*) from requests")
        assert attempted < REQUESTS, "most were returned each time, and never attempted"
        await site.worker.kill()
        assert await most_returned(broker.url) > STOPS * 3 // 4, "returned indeed"
        gate.touch()  # noqa: ASYNC240 — one call
        await site.worker.start()
        await site.books.until_all_answered(120)

        assert await site.watch.seen() == {}, "none went to the undelivered or the dead"
        await assert_all_completed_once(site)


async def test_a_queue_with_an_older_limit_gives_its_requests_a_second_life(
    broker: FaultyRabbit, database_url: str, db: asyncpg.Connection, gate: Path
) -> None:
    """The broker removes requests that came back too often; they were not attempted, and are served."""
    async with set_up(broker, database_url, db, gate, OLD_LIMIT) as site:
        await site.worker.event("topology.delivery_limit_low")
        await break_often(site, OLD_LIMIT + 5)
        gate.touch()  # noqa: ASYNC240 — one call
        await site.books.until_all_answered(120)

        taken = await site.watch.seen()
        assert taken[names_for(PREFIX).undelivered] > REQUESTS // 2
        assert names_for(PREFIX).dead not in taken
        await assert_all_completed_once(site)
