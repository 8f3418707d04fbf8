"""Provides what a measurement needs: queues and a database of its own, a process, its work and its cost."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import aio_pika
import asyncpg
import psutil
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.channel import Channel
from pamqp import commands as spec

from bench.costs import Meter
from bench.peers.fill import ORG, bodies
from worker.messages.large_bodies import Whole
from worker.postgres.migrate import migrate
from worker.rabbitmq import topology
from worker.rabbitmq.arriving import Arrived
from worker.rabbitmq.eager_reading import divert_deliveries
from worker.rabbitmq.writing import Outgoing, write_batch

PEERS = Path(__file__).parent / "peers"
ROOT = PEERS.parent.parent
_FILL_BATCH = 200
_ANY_SIZE = 1 << 30
_QUIET = 0.1  # of a core


class Servers(NamedTuple):
    amqp_url: str
    database_url: str


class Site(NamedTuple):
    """Queues and a database for one measurement, and the environment of its workers."""

    connection: AbstractConnection
    tag: str
    names: topology.Names
    database_url: str
    environ: dict[str, str]
    meter: Meter  # made before anything is timed: to find the servers' processes takes time


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def a_site(servers: Servers, **environ: str) -> AbstractAsyncContextManager[Site]:
    return a_site_of(ROOT, servers, environ)


@asynccontextmanager
async def a_site_of(checkout: Path, servers: Servers, environ: Mapping[str, str]) -> AsyncIterator[Site]:
    """Makes the site of a worker of this checkout of the project, or of another one."""
    tag = f"b{uuid4().hex[:10]}"
    connection = await aio_pika.connect(servers.amqp_url)
    try:
        async with a_database(servers, checkout) as database_url:
            design = topology.design(tag, limits_from_policy=True)
            await topology.apply(connection, design)
            yield Site(
                connection,
                tag,
                design.names,
                database_url,
                {
                    **os.environ,
                    "AMQP_URL": servers.amqp_url,
                    "DATABASE_URL": database_url,
                    "BENCH_QUEUE": design.names.requests,
                    "BENCH_RESPONSES": design.names.responses,
                    "WORKER_PREFIX": tag,
                    "WORKER_QUEUE_LIMITS": "policy",
                    "WORKER_HTTP_HOST": "127.0.0.1",
                    "WORKER_HTTP_PORT": "0",
                    "WORKER_LOG_FORMAT": "json",
                    "PYTHONPATH": os.pathsep.join([str(PEERS), str(checkout)]),
                    **environ,
                },
                Meter(servers.amqp_url, database_url),
            )
            await _clean(connection, design.names)
    finally:
        await connection.close()


@asynccontextmanager
async def a_database(servers: Servers, checkout: Path) -> AsyncIterator[str]:
    name = f"bench_{uuid4().hex[:10]}"
    admin = await asyncpg.connect(servers.database_url)
    try:
        await admin.execute(f"create database {name}")
        url = f"{servers.database_url.rpartition('/')[0]}/{name}"
        if checkout == ROOT:
            await migrate(url)
        else:
            await _migrate_by(checkout, Servers(servers.amqp_url, url))
        yield url
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


async def _migrate_by(checkout: Path, servers: Servers) -> None:
    """Makes the tables that another checkout of the project has."""
    environ = {
        "AMQP_URL": servers.amqp_url,
        "DATABASE_URL": servers.database_url,
        "PYTHONPATH": str(checkout),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", "migrate", env={**os.environ, **environ}, cwd=PEERS,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await process.wait():
        raise AssertionError(f"the tables of {checkout} could not be made")


@asynccontextmanager
async def running(command: Sequence[str], environ: Mapping[str, str]) -> AsyncIterator[psutil.Process]:
    """Runs a process; ends it and all of its children at the end."""
    log = Path(environ.get("BENCH_LOG", os.devnull)).open("ab")  # noqa: SIM115, ASYNC230 — lives as long as the process
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, cwd=PEERS, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield psutil.Process(process.pid)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is None:
                os.killpg(process.pid, number)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 15)
        log.close()


async def underlying(connection: AbstractConnection, *, confirms: bool) -> Channel:
    opened = await connection.channel(publisher_confirms=confirms)
    channel = await opened.get_underlay_channel()
    assert isinstance(channel, Channel)
    return channel


async def until_up(database_url: str, workers: int = 1) -> None:
    """Waits until so many workers are there."""
    database = await asyncpg.connect(database_url)
    while await database.fetchval("select count(*) from workers") < workers:  # noqa: ASYNC110 — another program sends no event
        await asyncio.sleep(0.05)
    await database.close()


async def fill(
    connection: AbstractConnection,
    queue: str,
    requests: int,
    orgs: Iterable[str] = repeat(ORG),
    headers: Mapping[str, int] | None = None,
) -> list[str]:
    """Publishes so many requests, each confirmed, of these organisations in turn; returns their ids in that
    order.
    """
    channel = await underlying(connection, confirms=True)
    ids: list[str] = []
    documents = bodies(requests, orgs)
    while batch := list(islice(documents, _FILL_BATCH)):
        await publish(channel, queue, batch, headers)
        ids += [str(body["request_id"]) for body in batch]
        if len(ids) % 100_000 == 0:
            say(f"  {len(ids):,} of {requests:,} queued")
    return ids


async def publish(
    channel: AbstractChannel,
    exchange: str,
    batch: Sequence[dict[str, object]],
    headers: Mapping[str, int] | None = None,
    *,
    correlated: bool = False,
) -> None:
    await write_batch(
        channel,
        [
            Outgoing(
                exchange, "create", json.dumps(body).encode(),
                spec.Basic.Properties(
                    delivery_mode=2, message_id=str(body["request_id"]), content_type="application/json",
                    headers=dict(headers) if headers else None,
                    correlation_id=str(body["request_id"]) if correlated else None,
                ),
            )
            for body in batch
        ],
    )  # fmt: skip


@asynccontextmanager
async def listening(
    connection: AbstractConnection, queue: str, heard: Callable[[Arrived], None]
) -> AsyncIterator[None]:
    """Hears every message of a queue, as cheaply as possible: the listener shares the cores."""
    channel = await underlying(connection, confirms=False)
    divert_deliveries(channel, {queue.encode(): heard}, lambda _size, _properties: Whole(), _ANY_SIZE)
    await channel.basic_consume(queue, _nothing, no_ack=True, consumer_tag=queue)
    try:
        yield
    finally:
        await channel.close()


async def response_times(site: Site, requests: int, times: list[float] | None = None) -> list[float]:
    """Returns the time at which each of the responses came."""
    times = [] if times is None else times
    clock = asyncio.get_running_loop().time
    done = asyncio.Event()

    def heard(_message: Arrived) -> None:
        times.append(clock())
        if len(times) == requests:
            done.set()

    async with listening(site.connection, site.names.responses, heard):
        await done.wait()
    return times


def message_id_of(message: Arrived) -> str:
    return message.properties_read().message_id or ""


async def _nothing(_message: object) -> None:
    raise AssertionError("deliveries are diverted")


async def until_quiet(meter: Meter, patience_seconds: float = 90) -> None:
    """Waits until the broker is idle: after it was filled it works for some seconds more."""
    ends = time.monotonic() + patience_seconds
    while time.monotonic() < ends:
        before = meter.broker_seconds()
        await asyncio.sleep(1)
        if meter.broker_seconds() - before < _QUIET:
            return
    say("  the broker is still at work on what it was given")


def rss_bytes(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):
            total += one.memory_info().rss
    return total


async def check_work(database_url: str, requests: int) -> None:
    """Raises an error if a contender did not do all of the work."""
    connection = await asyncpg.connect(database_url)
    try:
        completed = await connection.fetchval(
            "select count(*) from requests where status = 'completed' and response is not null"
        )
        steps = await connection.fetchval("select count(*) from request_transitions")
        sessions = await connection.fetchval("select count(*) from sessions")
    finally:
        await connection.close()
    if (completed, steps, sessions) != (requests, 3 * requests, requests):
        raise AssertionError(
            f"{requests} requests, but {completed} completed, {steps} steps, {sessions} sessions"
        )


async def _clean(connection: AbstractConnection, names: topology.Names) -> None:
    for name in names:
        for remove in ("queue_delete", "exchange_delete"):
            channel = await underlying(connection, confirms=False)
            with suppress(Exception):  # what is not there need not be removed
                await getattr(channel, remove)(name)
                await channel.close()
