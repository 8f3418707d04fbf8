"""Measures what the stages of a request cost on this machine, for the simulation.

Processor time is that of the four parts at a full queue and at rates that are kept up. What the disk takes is
the time of a commit that waits for it, less that of one that does not.
"""

import asyncio
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Mapping

import asyncpg
import psutil

from bench.calibration import Paced, Waits
from bench.contenders import THIS_WORKER
from bench.costs import Cost
from bench.latency import Asking, pour, times_of
from bench.peers.fill import bodies
from bench.stage import ROOT, Servers, a_database, a_site, fill, running, say, until_quiet
from bench.throughput import timed

_WARM_UP = 50
_EARLY_SECONDS = 2.0  # the first are slower, whatever they are
_IDLE_SECONDS = 3.0
_WRITES = 200
_SMALL_BYTES = 100
_LOG_BYTES = 2100  # of Postgres, for a request: docs/performance.md
_MANY = 64  # requests whose log is that of a large commit


async def idle_cores(servers: Servers) -> float:
    """Return how many cores others than the four parts use while nothing is done here."""
    async with a_site(servers) as site:
        await until_quiet(site.meter)
        before = site.meter.cost(psutil.Process())
        await asyncio.sleep(_IDLE_SECONDS)
        used = site.meter.cost(psutil.Process()).since(before)
    return max(0.0, used.machine - used.broker - used.postgres - used.load) / _IDLE_SECONDS


async def full_queue(servers: Servers, requests: int, environ: Mapping[str, str]) -> tuple[Cost, float]:
    """See what a request of a full queue costs, and how many a second there are."""
    async with a_site(servers, **environ) as site:
        await fill(site.connection, site.names.requests, requests)
        await until_quiet(site.meter)
        async with running(THIS_WORKER, site.environ) as process:
            first, last = requests // 10, requests * 95 // 100
            found = await timed(site, "calibration", process, requests, first, last)
    cost = Cost(found.cpu_us, found.broker_us, found.postgres_us, found.load_us, found.machine_us)
    return cost, found.per_second


async def at_a_rate(servers: Servers, rate: float, seconds: float) -> Paced:
    """Publish at this rate whether or not answers come; see what that costs, and how long it takes."""
    took: list[float] = []

    def heard(at: float, lasted: float) -> None:
        if at > _EARLY_SECONDS:
            took.append(lasted)

    async with a_site(servers) as site, running(THIS_WORKER, site.environ) as process, Asking(site) as asking:
        for body in bodies(_WARM_UP):
            await asking.ask(site.names.requests, "create", json.dumps(body))
        before, begun = site.meter.cost(process), time.perf_counter()
        publishes = await pour(site, rate, seconds, heard)
        cost, lasted = site.meter.cost(process).since(before), time.perf_counter() - begun
        requests, batches = (count - _WARM_UP for count in await _sessions(site.database_url))
    found = Paced(rate, cost.over(requests), requests / batches, requests / publishes, *times_of(took))
    say(
        f"{rate:,.0f} a second: p50 {found.p50:.2f} ms, p99 {found.p99:.2f} ms; "
        f"{cost.machine / lasted:.2f} cores; in a batch {found.in_batch:.1f}, published at once "
        f"{found.at_once:.1f}"
    )
    return found


async def _sessions(database_url: str) -> tuple[int, int]:
    """Return how many there are, and in how many transactions they were made: each is that of a batch."""
    database = await asyncpg.connect(database_url)
    counts = await database.fetchrow("select count(*), count(distinct xmin::text) from sessions")
    await database.close()
    return counts[0], counts[1]


async def time_waits(servers: Servers) -> Waits:
    """Time commits that wait for the disk, in turn with some that do not; and writes to a file that grows, as
    the broker's log does.
    """
    texts = {size: secrets.token_hex(size // 2) for size in (_SMALL_BYTES, _MANY * _LOG_BYTES)}
    seconds: dict[tuple[int, str], list[float]] = {}
    async with a_database(servers, ROOT) as url:
        database = await asyncpg.connect(url)
        await database.execute("create table commits (body text)")
        await database.execute("alter table commits alter body set storage external")
        for _ in range(_WRITES):
            for size, text in texts.items():
                for waits in ("on", "off"):
                    await database.execute(f"set synchronous_commit = {waits}")
                    begun = time.perf_counter()
                    await database.execute("insert into commits values ($1)", text)
                    seconds.setdefault((size, waits), []).append(time.perf_counter() - begun)
        await database.close()
    middle = {which: statistics.median(some) for which, some in seconds.items()}
    one, many = (max(0.0, middle[size, "on"] - middle[size, "off"]) for size in texts)
    return Waits(one, max(0.0, many - one) / _MANY, _growing_file())


def _growing_file() -> float:
    """Return what a write takes until it is on the disk where this program's servers have their data."""
    seconds = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_WRITES):
            os.write(file.fileno(), secrets.token_bytes(_SMALL_BYTES))
            begun = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)
