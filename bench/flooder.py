"""Floods a queue in the name of one organisation: so many requests at once, then a steady stream of them.

    python -m bench.flooder PREFIX AT_ONCE PER_SECOND SECONDS

A process of its own, so that it delays nobody who measures. It prints the time at which it began, and the
time at which those at once were published; it takes the responses out of their queue, until it is ended.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from typing import NamedTuple

import aio_pika

from bench.peers.fill import bodies
from bench.stage import ROOT, Site, fill, listening, publish, underlying
from worker.rabbitmq import eager_reading
from worker.rabbitmq.topology import names_for

ORG = "flood"
_TICK_SECONDS = 0.02


class Flood(NamedTuple):
    at_once: int
    per_second: float  # afterwards
    seconds: float


class Begun(NamedTuple):
    """Times of the clock."""

    at: float
    published_at: float  # those at once


@asynccontextmanager
async def flooding(site: Site, flood: Flood) -> AsyncIterator[Begun]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.flooder", site.tag, *map(str, flood),
        env=site.environ, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    try:
        yield Begun(float(await process.stdout.readline()), float(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


async def _flood(prefix: str, flood: Flood) -> None:
    names = names_for(prefix)
    eager_reading.read_eagerly()
    async with (
        await aio_pika.connect(os.environ["AMQP_URL"]) as connection,
        listening(connection, names.responses, lambda _message: None),
    ):
        print(time.time(), flush=True)
        await fill(connection, names.requests, flood.at_once, repeat(ORG))
        print(time.time(), flush=True)
        channel = await underlying(connection, confirms=True)
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < flood.seconds:
            if due := int(passed * flood.per_second) - sent:
                await publish(channel, names.requests, list(bodies(due, repeat(ORG))))
                sent += due
            await asyncio.sleep(_TICK_SECONDS)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_flood(sys.argv[1], Flood(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))))
