"""Where a contender is measured: its queue filled, its database empty, its responses counted as they come."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import aio_pika
import asyncpg
import psutil
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from bench.contenders import Contender
from bench.peers.fill import bodies
from worker import topology
from worker.migrate import migrate
from worker.publisher import Outgoing, write_batch

PEERS = Path(__file__).parent / "peers"
_PATIENCE_SECONDS = 120
_FILL_BATCH = 200


class Servers(NamedTuple):
    amqp_url: str
    database_url: str


class Figures(NamedTuple):
    """One contender's round."""

    name: str
    requests: int
    per_second: float
    cpu_us: float
    rss_mb: float


async def measure(servers: Servers, contender: Contender, requests: int) -> Figures:
    """Fill the queue, start the contender, and time the responses from the tenth part to the last but one."""
    tag = f"b{uuid4().hex[:10]}"
    connection = await aio_pika.connect(servers.amqp_url)
    try:
        async with a_database(servers.database_url) as database_url:
            names = await _prepare(connection, tag, contender)
            environ = {
                **os.environ,
                "AMQP_URL": servers.amqp_url,
                "DATABASE_URL": database_url,
                "BENCH_QUEUE": names.requests,
                "BENCH_RESPONSES": names.responses,
                "WORKER_PREFIX": tag,
                "WORKER_QUEUE_LIMITS": "policy",
                "WORKER_HTTP_HOST": "127.0.0.1",
                "WORKER_HTTP_PORT": "0",
                "WORKER_LOG_FORMAT": "json",
                "PYTHONPATH": os.pathsep.join([str(PEERS), str(PEERS.parent.parent)]),
            }
            await _fill(connection, contender, environ, names.requests, requests)
            async with running(contender.command, environ) as process:
                figures = await _time(connection, names.responses, contender.name, requests, process)
            if contender.records:
                await check_work(database_url, requests)
            await _clean(connection, tag)
            return figures
    finally:
        await connection.close()


@asynccontextmanager
async def a_database(admin_url: str) -> AsyncIterator[str]:
    name = f"bench_{uuid4().hex[:10]}"
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute(f"create database {name}")
        url = f"{admin_url.rpartition('/')[0]}/{name}"
        await migrate(url)
        yield url
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


@asynccontextmanager
async def running(command: Sequence[str], environ: dict[str, str]) -> AsyncIterator[psutil.Process]:
    """The contender's process, and whatever processes it makes; all gone at the end."""
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
                try:
                    await asyncio.wait_for(process.wait(), 15)
                except TimeoutError:
                    continue
        log.close()


async def check_work(database_url: str, requests: int) -> None:
    """A contender that did not do all of the work has no figure."""
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


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and its children."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total


def rss_bytes(process: psutil.Process) -> int:
    return sum(int(one.memory_info().rss) for one in [process, *process.children(recursive=True)])


async def _prepare(
    connection: aio_pika.abc.AbstractConnection, tag: str, contender: Contender
) -> topology.Names:
    design = topology.design(tag, 20, limits_from_policy=True)
    await topology.apply(connection, design)
    if contender.fills_itself:
        # It declares its queue in its own way.
        channel = await (await connection.channel()).get_underlay_channel()
        await channel.queue_delete(design.names.requests)
    return design.names


async def _fill(
    connection: aio_pika.abc.AbstractConnection,
    contender: Contender,
    environ: dict[str, str],
    queue: str,
    requests: int,
) -> None:
    if contender.fills_itself:
        script = str(PEERS / contender.fills_itself)
        filling = await asyncio.create_subprocess_exec(
            sys.executable, script, "fill", str(requests), env=environ, cwd=PEERS
        )
        if await filling.wait():
            raise AssertionError(f"{contender.name} did not fill its queue")
        return
    channel = await (await connection.channel()).get_underlay_channel()
    documents = [json.dumps(body).encode() for body in bodies(requests)]
    for start in range(0, requests, _FILL_BATCH):
        await write_batch(
            channel,
            [
                Outgoing(
                    queue, "create", body,
                    spec.Basic.Properties(
                        delivery_mode=2, message_id=str(start + index), content_type="application/json"
                    ),
                )
                for index, body in enumerate(documents[start : start + _FILL_BATCH])
            ],
        )  # fmt: skip


async def _time(
    connection: aio_pika.abc.AbstractConnection,
    responses: str,
    name: str,
    requests: int,
    process: psutil.Process,
) -> Figures:
    channel = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
    marks: dict[str, tuple[int, float, float]] = {}
    done = asyncio.Event()
    count = 0

    def mark(which: str) -> None:
        marks[which] = (count, time.perf_counter(), cpu_seconds(process))

    async def take(_message: DeliveredMessage) -> None:
        nonlocal count
        count += 1
        if count >= requests // 10 and "begin" not in marks:
            mark("begin")
        if count >= requests * 95 // 100 and "end" not in marks:
            mark("end")
        if count >= requests:
            done.set()

    await channel.basic_consume(responses, take, no_ack=True)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await done.wait()
    (first, began, used_before), (last, ended, used_after) = marks["begin"], marks["end"]
    timed = last - first
    return Figures(
        name,
        requests,
        timed / (ended - began),
        (used_after - used_before) / timed * 1e6,
        rss_bytes(process) / 1e6,
    )


async def _clean(connection: aio_pika.abc.AbstractConnection, tag: str) -> None:
    for name in (*topology.names_for(tag), f"{topology.names_for(tag).requests}.dead"):
        channel = await connection.channel()
        underlay = await channel.get_underlay_channel()
        try:
            await underlay.queue_delete(name)
            await underlay.exchange_delete(name)
        except Exception:  # noqa: BLE001, S112 — what is not there need not be removed
            continue
