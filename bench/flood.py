"""Floods the worker while Postgres is slow: measures what it holds, and that every request is answered."""

import asyncio
import time

import asyncpg

from bench import report
from bench.contenders import THIS_WORKER
from bench.stage import Servers, a_site, check_work, fill, listening, message_id_of, rss_bytes, running, say
from worker.rabbitmq.arriving import Arrived

SUITE = "flood"
COMMIT_SECONDS = 0.05


async def run(servers: Servers, requests: int) -> str:
    async with a_site(servers) as site:
        took = await _slow_down(site.database_url)
        say(f"a commit takes {took * 1000:.0f} ms now")
        order: list[str] = []
        done = asyncio.Event()

        def heard(message: Arrived) -> None:
            order.append(message_id_of(message))
            if len(order) == requests:
                done.set()

        memory: list[tuple[float, float]] = []
        async with (
            running(THIS_WORKER, site.environ) as process,
            listening(site.connection, site.names.responses, heard),
        ):
            begun = time.perf_counter()

            async def watch() -> None:
                while True:
                    memory.append((time.perf_counter() - begun, rss_bytes(process) / 1e6))
                    if len(memory) % 15 == 0:
                        say(f"  {len(order):,} of {requests:,} answered, {memory[-1][1]:.0f} MB")
                    await asyncio.sleep(1)

            watching = asyncio.create_task(watch())
            published = await fill(site.connection, site.names.requests, requests)
            flooded = time.perf_counter() - begun
            async with asyncio.timeout(1800):
                await done.wait()
            seconds = time.perf_counter() - begun
            watching.cancel()
        await check_work(site.database_url, requests)
    place = {request_id: index for index, request_id in enumerate(published)}
    overtaken = max(index - place[request_id] for index, request_id in enumerate(order))
    figures = {
        "requests": requests, "commit_ms": took * 1000, "flooded_seconds": flooded, "seconds": seconds,
        "per_second": requests / seconds, "rss_mb_most": max(mb for _, mb in memory),
        "overtaken_by_at_most": overtaken, "memory": memory,
    }  # fmt: skip
    report.save(SUITE, figures)
    report.lines(SUITE, {"resident memory": memory}, ("seconds", "MB"), 160)
    rows = [
        ["a commit takes", f"{took * 1000:.0f} ms"],
        ["published in", f"{flooded:.0f} s"],
        ["answered in", f"{seconds:.0f} s, {requests / seconds:,.0f}/s"],
        ["resident memory at most", f"{figures['rss_mb_most']:.0f} MB"],
        ["a request was overtaken by at most", f"{overtaken:,} that came after it"],
    ]
    return report.table([f"{requests:,} requests at once", ""], rows)


async def _slow_down(database_url: str) -> float:
    """Makes each commit of this database wait before it is written; returns how long one takes."""
    name = database_url.rpartition("/")[2]
    database = await asyncpg.connect(database_url)
    for setting in (f"commit_delay = {COMMIT_SECONDS * 1e6:.0f}", "commit_siblings = 0"):
        await database.execute(f"alter database {name} set {setting}")
    await database.close()
    database = await asyncpg.connect(database_url)
    await database.execute("create table slow (n int)")
    begun = time.perf_counter()
    for _ in range(10):
        await database.execute("insert into slow values (1)")
    took = (time.perf_counter() - begun) / 10
    await database.close()
    if took < COMMIT_SECONDS:
        raise AssertionError(f"a commit takes {took * 1000:.1f} ms: it was not slowed down")
    return took
