"""Measures requests a second from a queue that is full at the start: this worker and its peers, in turn."""

import asyncio
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from bench import report
from bench.contenders import CONTENDERS, HOOK_CALLS, HOOK_SECONDS, SLOW_HOOK, Contender
from bench.stage import (
    PEERS,
    Cost,
    Servers,
    Site,
    a_site,
    check_work,
    cost,
    fill,
    listening,
    rss_bytes,
    running,
    say,
    underlying,
    until_quiet,
)
from worker.rabbitmq.eager_reading import Arrived

SUITE = "throughput"
_PATIENCE_SECONDS = 300


class Figures(NamedTuple):
    """One contender's round; processor time is per request."""

    name: str
    requests: int
    per_second: float
    cpu_us: float
    broker_us: float
    postgres_us: float
    rss_mb: float


async def run(servers: Servers, requests: int, rounds: int, only: Sequence[str]) -> str:
    chosen = [one for one in CONTENDERS if not only or one.name in only]
    figures: list[Figures] = []
    for number in range(1, rounds + 1):
        for contender in chosen:
            found = await measure(servers, contender, max(500, int(requests * contender.share)))
            figures.append(found)
            say(
                f"round {number}: {found.name}: {found.per_second:,.0f} a second; processor time "
                f"{found.cpu_us:,.0f} µs, broker {found.broker_us:,.0f}, Postgres {found.postgres_us:,.0f}"
            )
    medians = [_median([one for one in figures if one.name == contender.name]) for contender in chosen]
    if not only:
        report.save(
            SUITE, {"requests": requests, "rounds": rounds, "figures": [one._asdict() for one in figures]}
        )
        report.bars(
            SUITE,
            [one.name for one in medians],
            [one.per_second for one in medians],
            "requests a second, median",
        )
    return _table(medians)


async def measure(servers: Servers, contender: Contender, requests: int) -> Figures:
    """Fills the queue, starts the contender, times its responses from the tenth part to the last but one."""
    async with a_site(servers, **contender.environ) as site:
        await _fill(site, contender, requests)
        await until_quiet()
        async with running(contender.command, site.environ) as process:
            first, last = requests // 10, requests * 95 // 100
            figures = await timed(site, contender.name, process, requests, first, last)
        if contender.records:
            await check_work(site.database_url, requests)
        return figures


async def _fill(site: Site, contender: Contender, requests: int) -> None:
    if not contender.fills_itself:
        await fill(site.connection, site.names.requests, requests)
        return
    # It declares its queue in its own way.
    channel = await underlying(site.connection, confirms=False)
    await channel.queue_delete(site.names.requests)
    filling = await asyncio.create_subprocess_exec(
        sys.executable, str(PEERS / contender.fills_itself), "fill", str(requests),
        env=site.environ, cwd=PEERS,
    )  # fmt: skip
    if await filling.wait():
        raise AssertionError(f"{contender.name} did not fill its queue")


async def timed(
    site: Site, name: str, process: psutil.Process, requests: int, first: int, last: int
) -> Figures:
    """Waits for the responses to so many requests; times them from the first of these two to the last."""
    marks: dict[int, tuple[float, Cost]] = {}
    done = asyncio.Event()
    clock = asyncio.get_running_loop().time
    count = 0

    def heard(_message: Arrived) -> None:
        nonlocal count
        count += 1
        if count in (first, last):
            marks[count] = clock(), cost(process)
        if count == requests:
            done.set()

    async with (
        listening(site.connection, site.names.responses, heard),
        asyncio.timeout(_PATIENCE_SECONDS),
    ):
        await done.wait()
    (began, before), (ended, after) = marks[first], marks[last]
    number = last - first
    own, broker, postgres = ((now - then) / number * 1e6 for then, now in zip(before, after, strict=True))
    return Figures(name, requests, number / (ended - began), own, broker, postgres, rss_bytes(process) / 1e6)


def _median(rounds: Sequence[Figures]) -> Figures:
    by_field: dict[str, list[float]] = defaultdict(list)
    for one in rounds:
        for field, value in zip(one._fields[2:], one[2:], strict=True):
            by_field[field].append(value)
    middle = {field: statistics.median(values) for field, values in by_field.items()}
    return Figures(rounds[0].name, rounds[0].requests, **middle)


def _table(medians: Sequence[Figures]) -> str:
    ours = medians[0].per_second
    rows = [
        [
            one.name, f"{one.per_second:,.0f}", f"{ours / one.per_second:.1f} ×", f"{one.cpu_us:,.0f}",
            f"{one.broker_us:,.0f}", f"{one.postgres_us:,.0f}", f"{one.rss_mb:.0f}",
        ]
        for one in medians
    ]  # fmt: skip
    heads = ["contender", "requests/s", "this worker is", "its CPU, µs", "RabbitMQ, µs", "Postgres, µs", "MB"]
    text = report.table(heads, rows)
    for one in medians:
        if one.name == SLOW_HOOK.name:
            ideal = HOOK_CALLS / HOOK_SECONDS
            text += (
                f"\n\nThe slow hook's ideal is {ideal:,.0f}/s: {one.per_second / ideal:.0%} of it is kept."
            )
    return text
