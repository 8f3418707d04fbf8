"""Measures requests a second from a queue that is full at the start: this worker and its peers, in turn."""

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

import psutil

from bench import goals, report
from bench.card import card_of, in_words, series
from bench.contenders import CONTENDERS, HOOK_CALLS, HOOK_SECONDS, SLOW_HOOK, Contender
from bench.costs import Cost
from bench.figures import Figures
from bench.stage import (
    PEERS,
    Servers,
    Site,
    a_site,
    check_work,
    fill,
    listening,
    rss_bytes,
    running,
    say,
    underlying,
    until_quiet,
)
from worker.rabbitmq.arriving import Arrived

SUITE = "throughput"
_PATIENCE_SECONDS = 300


async def run(servers: Servers, requests: int, rounds: int, only: Sequence[str]) -> str:
    card = await card_of(*servers)
    chosen = [one for one in CONTENDERS if not only or one.name in only]
    figures: list[Figures] = []
    for number in range(1, rounds + 1):
        for contender in chosen:
            found = await measure(servers, contender, max(500, int(requests * contender.share)))
            figures.append(found)
            say(
                f"round {number}: {found.name}: {found.per_second:,.0f} a second; processor time "
                f"{found.cpu_us:,.0f} µs, broker {found.broker_us:,.0f}, Postgres {found.postgres_us:,.0f}, "
                f"load {found.load_us:,.0f}"
            )
    medians = [_median([one for one in figures if one.name == contender.name]) for contender in chosen]
    if not only:
        name = f"{SUITE}-rabbitmq-{series(card['RabbitMQ'])}"
        report.save(
            name,
            {
                "card": card,
                "requests": requests,
                "rounds": rounds,
                "figures": [one._asdict() for one in figures],
            },
        )
        report.bars(
            name,
            [one.name for one in medians],
            [one.per_second for one in medians],
            f"requests a second, median; RabbitMQ {card['RabbitMQ']}, Postgres {card['Postgres']}",
        )
    tables = (in_words(card), _table(medians), goals.table(medians), _terms(chosen))
    return "\n\n".join(part for part in tables if part)


async def measure(servers: Servers, contender: Contender, requests: int) -> Figures:
    """Fills the queue, starts the contender, times its responses from the tenth part to the last but one."""
    async with a_site(servers, **contender.environ) as site:
        published_us = await _fill(site, contender, requests) / requests * 1e6
        await until_quiet(site.meter)
        async with running(contender.command, site.environ) as process:
            first, last = requests // 10, requests * 95 // 100
            figures = await timed(site, contender.name, process, requests, first, last)
        if contender.records:
            await check_work(site.database_url, requests)
        return figures._replace(load_us=published_us + figures.load_us)


async def _fill(site: Site, contender: Contender, requests: int) -> float:
    """Returns the processor seconds that it takes to publish them."""
    if not contender.fills_itself:
        before = time.process_time()
        await fill(site.connection, site.names.requests, requests)
        return time.process_time() - before
    # It declares its queue in its own way.
    channel = await underlying(site.connection, confirms=False)
    await channel.queue_delete(site.names.requests)
    filling = await asyncio.create_subprocess_exec(
        sys.executable, str(PEERS / contender.fills_itself), "fill", str(requests),
        env=site.environ, cwd=PEERS, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    seconds, _ = await filling.communicate()
    if filling.returncode:
        raise AssertionError(f"{contender.name} did not fill its queue")
    return float(seconds)


async def timed(
    site: Site, name: str, process: psutil.Process, requests: int, first: int, last: int
) -> Figures:
    """Waits for the responses to so many requests; times them from the first of these two to the last."""
    marks: dict[int, tuple[float, Cost]] = {}
    done = asyncio.Event()
    clock, meter = asyncio.get_running_loop().time, site.meter
    count = 0

    def heard(_message: Arrived) -> None:
        nonlocal count
        count += 1
        if count in (first, last):
            marks[count] = clock(), meter.cost(process)
        if count == requests:
            done.set()

    async with (
        listening(site.connection, site.names.responses, heard),
        asyncio.timeout(_PATIENCE_SECONDS),
    ):
        await done.wait()
    (began, before), (ended, after) = marks[first], marks[last]
    number = last - first
    cost = after.since(before).over(number)
    return Figures(name, requests, number / (ended - began), *cost, rss_bytes(process) / 1e6)


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
            f"{one.broker_us:,.0f}", f"{one.postgres_us:,.0f}", f"{one.load_us:,.0f}",
            f"{one.all_four_us:,.0f}", f"{one.rss_mb:.0f}",
        ]
        for one in medians
    ]  # fmt: skip
    heads = [
        "contender", "requests/s", "this worker is", "its CPU, µs", "RabbitMQ, µs", "Postgres, µs",
        "load, µs", "all four, µs", "MB",
    ]  # fmt: skip
    text = report.table(heads, rows)
    for one in medians:
        if one.name == SLOW_HOOK.name:
            ideal = HOOK_CALLS / HOOK_SECONDS
            text += (
                f"\n\nThe slow hook's ideal is {ideal:,.0f}/s: {one.per_second / ideal:.0%} of it is kept."
            )
    return text


def _terms(chosen: Sequence[Contender]) -> str:
    return "\n".join(f"- {one.name}: {one.tuning}. It leaves out: {one.leaves_out}." for one in chosen)
