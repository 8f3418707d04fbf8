"""Measures how long one request takes: alone, and among others at a part of the rate that can be kept up."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Self

import aio_pika
import asyncpg
import psutil
from aio_pika.abc import AbstractIncomingMessage

from bench import report
from bench.contenders import CONTENDERS, PYTHON, THIS_WORKER
from bench.costs import Cost
from bench.figures import Figures
from bench.peers.fill import bodies
from bench.stage import (
    PEERS,
    Servers,
    Site,
    a_site,
    listening,
    message_id_of,
    publish,
    rss_bytes,
    running,
    say,
    underlying,
)
from bench.throughput import measure
from worker.rabbitmq.arriving import Arrived

SUITE = "latency"
_WARM_UP = 50
_TICK_SECONDS = 0.002
_LOAD_SECONDS = 15.0
_PARTS = (0.1, 0.25, 0.5, 0.75)
OPEN = 2000  # unanswered at once, while it is found out what can be kept up
BATCH = 100


class Times(NamedTuple):
    """Times of many requests, in milliseconds."""

    p50: float
    p99: float


async def run(servers: Servers, requests: int) -> str:
    lone = await lone_times(servers, max(200, requests // 5))
    emptied = (await measure(servers, CONTENDERS[0], requests)).per_second
    most = await kept_up(servers)
    say(f"kept up: {most:,.0f} a second; a full queue is emptied with {emptied:,.0f} a second")
    busy = {part: await loaded(servers, most * part) for part in _PARTS}
    report.save(
        SUITE,
        {
            "lone_ms": {name: times._asdict() for name, times in lone.items()},
            "kept_up_per_second": most,
            "emptied_per_second": emptied,
            "loaded_ms": {f"{part:.0%}": times._asdict() for part, times in busy.items()},
        },
    )
    floor = lone[_FLOOR]
    heads = ["alone", "p50, ms", "p99, ms", "p50 beside the floor", "p99 beside the floor"]
    alone = [
        [name, f"{it.p50:.2f}", f"{it.p99:.2f}", f"{it.p50 / floor.p50:.2f} ×", f"{it.p99 / floor.p99:.2f} ×"]
        for name, it in lone.items()
    ]
    among = [
        [f"{part:.0%} of what can be kept up, {most * part:,.0f}/s", f"{it.p50:.2f}", f"{it.p99:.2f}",
         f"{it.p99 / it.p50:.1f} ×"]
        for part, it in busy.items()
    ]  # fmt: skip
    return f"{report.table(heads, alone)}\n\n" + report.table(
        ["among others", "p50, ms", "p99, ms", "p99 ÷ p50"], among
    )


_FLOOR = "RPC echo and two commits"


async def lone_times(servers: Servers, rounds: int) -> dict[str, Times]:
    """Sends one request at a time to the three in turn, so that disturbances fall on all of them."""
    async with (
        a_site(servers) as site,
        running(THIS_WORKER, site.environ),
        running((PYTHON, str(PEERS / "rpc_peer.py")), site.environ),
        Asking(site) as asking,
    ):
        database = await asyncpg.connect(site.database_url)
        await database.execute("create table commits (id bigint generated always as identity, body text)")
        seconds: dict[str, list[float]] = {"RPC echo": [], "two commits": [], "this worker": []}

        async def two_commits(body: str) -> None:
            for _ in range(2):
                await database.execute("insert into commits (body) values ($1)", body)

        for number, body in enumerate(bodies(rounds + _WARM_UP)):
            text = json.dumps(body)
            acts: dict[str, Awaitable[None]] = {
                "RPC echo": asking.ask("", f"{site.names.requests}.rpc", text),
                "two commits": two_commits(text),
                "this worker": asking.ask(site.names.requests, "create", text),
            }
            for name, act in acts.items():
                begun = time.perf_counter()
                await act
                if number >= _WARM_UP:
                    seconds[name].append(time.perf_counter() - begun)
        await database.close()
    floor = [sum(both) for both in zip(seconds["RPC echo"], seconds["two commits"], strict=True)]
    return {
        "RPC echo": times_of(seconds["RPC echo"]),
        "two commits": times_of(seconds["two commits"]),
        _FLOOR: times_of(floor),
        "this worker": times_of(seconds["this worker"]),
    }


class Asking:
    """A requester in plain aio-pika: it publishes, and waits for the response in its own queue."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._number = 0

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._site.environ["AMQP_URL"])
        self._channel = await self._connection.channel()
        await self._channel.declare_queue(
            f"{self._site.names.requests}.rpc", durable=True, arguments={"x-queue-type": "quorum"}
        )
        self._replies = await self._channel.declare_queue(exclusive=True)
        await self._replies.consume(self._heard, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.queue_delete(f"{self._site.names.requests}.rpc")
        await self._connection.close()

    async def ask(self, exchange: str, key: str, body: str) -> None:
        self._number += 1
        mine = f"{self._number}"
        answered = self._waiting[mine] = asyncio.get_running_loop().create_future()
        to = await self._channel.get_exchange(exchange, ensure=False) if exchange else None
        await (to or self._channel.default_exchange).publish(
            aio_pika.Message(
                body.encode(),
                correlation_id=mine,
                reply_to=self._replies.name,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            ),
            routing_key=key,
        )
        async with asyncio.timeout(30):
            await answered

    async def _heard(self, message: AbstractIncomingMessage) -> None:
        if waiting := self._waiting.pop(message.correlation_id or "", None):
            waiting.set_result(None)


async def kept_up(servers: Servers) -> float:
    """Return how many a second are answered while as many are published, on the same cores."""
    async with a_site(servers) as site, running(THIS_WORKER, site.environ) as process, Asking(site) as asking:
        for body in bodies(_WARM_UP):
            await asking.ask(site.names.requests, "create", json.dumps(body))
        return (await keep_open(site, "kept up", process, _LOAD_SECONDS)).per_second


async def keep_open(
    site: Site, name: str, process: psutil.Process, seconds: float, *, correlated: bool = False
) -> Figures:
    """Keep so many requests unanswered, and see what that costs after the first third of the time."""
    room, answered = asyncio.Semaphore(OPEN // BATCH), 0
    clock, meter = time.perf_counter, site.meter

    def heard(_message: Arrived) -> None:
        nonlocal answered
        answered += 1
        if answered % BATCH == 0:
            room.release()

    async with listening(site.connection, site.names.responses, heard):
        channel = await underlying(site.connection, confirms=True)
        documents = bodies(1_000_000)
        begun = clock()
        first: tuple[int, float, Cost] | None = None
        async with asyncio.TaskGroup() as publishing:
            while (now := clock() - begun) < seconds:
                if first is None and now > seconds / 3:
                    first = answered, now, meter.cost(process)
                await room.acquire()
                batch = [next(documents) for _ in range(BATCH)]
                publishing.create_task(publish(channel, site.names.requests, batch, correlated=correlated))
            assert first is not None
            number, lasted = answered - first[0], clock() - begun - first[1]
            cost = meter.cost(process).since(first[2]).over(number)
    return Figures(name, answered, number / lasted, *cost, rss_bytes(process) / 1e6)


async def loaded(servers: Servers, per_second: float) -> Times:
    """Publishes at this rate whether or not answers come: a slow answer does not slow the requests."""
    took: list[float] = []

    def heard(at: float, seconds: float) -> None:
        if at > 2:
            took.append(seconds)

    async with a_site(servers) as site, running(THIS_WORKER, site.environ), Asking(site) as asking:
        for body in bodies(_WARM_UP):
            await asking.ask(site.names.requests, "create", json.dumps(body))
        await pour(site, per_second, _LOAD_SECONDS, heard)
    found = times_of(took)
    say(f"{per_second:,.0f} a second: p50 {found.p50:.2f} ms, p99 {found.p99:.2f} ms, of {len(took):,}")
    return found


async def pour(site: Site, per_second: float, seconds: float, heard: Callable[[float, float], None]) -> int:
    """Publishes at this rate for so long; says of each request when it was sent, since the beginning, and how
    long it took. Returns how often it published some.
    """
    sent: dict[str, float] = {}
    over, ended, times = asyncio.Event(), False, 0
    begun = time.perf_counter()

    def answered(message: Arrived) -> None:
        at = sent.pop(message_id_of(message), None)
        if at is not None:
            heard(at - begun, time.perf_counter() - at)
        if ended and not sent:
            over.set()

    async with listening(site.connection, site.names.responses, answered):
        channel = await underlying(site.connection, confirms=True)
        documents = bodies(int(per_second * seconds) + 1)
        due = 0.0
        async with asyncio.TaskGroup() as publishing:
            while (now := time.perf_counter() - begun) < seconds:
                batch = []
                while due < now * per_second:
                    batch.append(next(documents))
                    due += 1
                if batch:
                    times += 1
                    at = time.perf_counter()
                    sent.update((str(body["request_id"]), at) for body in batch)
                    publishing.create_task(publish(channel, site.names.requests, batch))
                await asyncio.sleep(_TICK_SECONDS)
        ended = True
        async with asyncio.timeout(60):
            while sent and not over.is_set():
                await over.wait()
    return times


def times_of(seconds: Sequence[float]) -> Times:
    cuts = statistics.quantiles(seconds, n=100)
    return Times(cuts[49] * 1000, cuts[98] * 1000)
