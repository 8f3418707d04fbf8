"""Measures requests that each ask for one retry: at a steady rate, how late the retries are and what they
cost; and as fast as can be, beside the same requests without retries.
"""

import asyncio
import statistics
import time

import asyncpg
import psutil

from bench import report
from bench.contenders import THIS_WORKER
from bench.costs import used_by
from bench.peers.fill import bodies
from bench.stage import (
    Servers,
    a_site,
    fill,
    listening,
    message_id_of,
    publish,
    running,
    say,
    underlying,
    until_quiet,
    until_up,
)
from worker.rabbitmq.arriving import Arrived

SUITE = "retries"
_RETRY_SECONDS = 1.0  # what the handler asks for
_TICK_SECONDS = 0.05
_HANDLER = "once_more_hook:create"
_OVERDUE = """
select count(*) as due, coalesce(extract(epoch from now() - min(due_at)), 0)::float8 as overdue
from requests where due_at <= now()
"""


async def run(servers: Servers, requests: int, rate: float, seconds: float) -> str:
    paced = await _paced(servers, rate, seconds)
    say(f"  {paced['done_per_second']:.0f}/s done, the oldest {paced['overdue_most']:.2f} s overdue at most")
    without = await _as_fast_as_can_be(servers, requests, -1)
    with_one = await _as_fast_as_can_be(servers, requests, 0)
    report.save(
        SUITE, {"paced": paced, "attempts_per_second": {"no retry": without, "one retry each": with_one * 2}}
    )
    heads = [
        "one retry each",
        "done/s",
        "p50, s",
        "p99, s",
        "oldest overdue, s",
        "due at most",
        "CPU of the worker",
    ]
    row = [
        f"{rate:.0f}/s for {seconds:.0f} s, retry after {_RETRY_SECONDS:.0f} s",
        f"{paced['done_per_second']:.1f}",
        *(f"{paced[name]:.2f}" for name in ("p50", "p99", "overdue_most")),
        f"{paced['due_most']:.0f}",
        f"{paced['cpu']:.0%}",
    ]
    fast = [
        ["no retry", f"{without:,.0f}", f"{without:,.0f}"],
        ["one retry each", f"{with_one:,.0f}", f"{with_one * 2:,.0f}"],
    ]
    return f"{report.table(heads, [row])}\n\n" + report.table(
        [f"{requests:,} requests as fast as can be", "requests/s", "attempts/s"], fast
    )


async def _paced(servers: Servers, rate: float, seconds: float) -> dict[str, float]:
    """Sends `rate` requests a second for so long; only work done within this time counts."""
    sent: dict[str, float] = {}
    took: list[float] = []
    overdue: list[tuple[int, float]] = []
    total = int(rate * seconds)
    finished = asyncio.Event()

    def heard(message: Arrived) -> None:
        took.append(time.perf_counter() - sent[message_id_of(message)])
        if len(took) == total:
            finished.set()

    environ = {"WORKER_HANDLER": _HANDLER, "BENCH_RETRY_SECONDS": str(_RETRY_SECONDS)}
    async with a_site(servers, **environ) as site:
        db = await asyncpg.connect(site.database_url)

        async def watch() -> None:
            while True:
                row = await db.fetchrow(_OVERDUE)
                assert row is not None
                overdue.append((row["due"], row["overdue"]))
                await asyncio.sleep(0.25)

        async with (
            running(THIS_WORKER, site.environ) as process,
            listening(site.connection, site.names.responses, heard),
        ):
            await until_up(site.database_url)
            watching = asyncio.create_task(watch())
            channel = await underlying(site.connection, confirms=True)
            documents = bodies(total)
            before, begun = used_by([process]), time.perf_counter()
            while len(sent) < total:
                wanted = min(total, int((time.perf_counter() - begun) * rate)) - len(sent)
                batch = [next(documents) for _ in range(wanted)]
                for body in batch:
                    sent[str(body["request_id"])] = time.perf_counter()
                if batch:
                    await publish(channel, site.names.requests, batch)
                await asyncio.sleep(_TICK_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)  # what is asked for is not late yet
            elapsed, done, after = time.perf_counter() - begun, len(took), used_by([process])
            async with asyncio.timeout(600):
                await finished.wait()
            watching.cancel()
        await db.close()
    return {
        "rate": rate, "done_per_second": done / seconds, "p50": statistics.median(took),
        "p99": statistics.quantiles(took, n=100)[98], "overdue_most": max(late for _, late in overdue),
        "due_most": max(due for due, _ in overdue), "cpu": (after - before) / elapsed,
    }  # fmt: skip


async def _as_fast_as_can_be(servers: Servers, requests: int, retry_seconds: float) -> float:
    """Returns requests a second, from a full queue. A negative time means no retry."""
    count = 0
    done = asyncio.Event()

    def heard(_message: Arrived) -> None:
        nonlocal count
        count += 1
        if count == requests:
            done.set()

    environ = {"WORKER_HANDLER": _HANDLER, "BENCH_RETRY_SECONDS": str(retry_seconds)}
    async with a_site(servers, **environ) as site:
        await fill(site.connection, site.names.requests, requests)
        await until_quiet(site.meter)
        async with (
            listening(site.connection, site.names.responses, heard),
            running(THIS_WORKER, site.environ) as process,
        ):
            await until_up(site.database_url)
            begun = time.perf_counter()
            async with asyncio.timeout(1800):
                await done.wait()
            seconds = time.perf_counter() - begun
            assert psutil.pid_exists(process.pid)
    return requests / seconds
