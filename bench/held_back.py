"""Measures a worker under load while a transaction that nobody ends keeps dead rows from being removed."""

import asyncio
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import asyncpg

from bench import report
from bench.contenders import THIS_WORKER
from bench.latency import Asking, pour, times_of
from bench.peers.fill import bodies
from bench.stage import Servers, Site, a_site, running, say

SUITE = "held-back"
_WARM_UP = 50
_EACH = 10  # seconds, of a point of the curve
_BEFORE = _AFTER = _LAST = 2.0  # minutes
_DEAD = """
select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where schemaname = current_schema()
"""


class Stretch(NamedTuple):
    """What was measured in some of the time."""

    per_second: float
    p50: float
    p99: float
    usual_p99: float  # the median of those of ten seconds each


class Run(NamedTuple):
    """One run: what was sent took so long, and so many dead rows were there when the transaction ended."""

    took: Mapping[int, Sequence[float]]  # by when it was sent, in steps
    dead_rows: int


async def run(servers: Servers, rate: float, minutes: float) -> str:
    """Takes the same load twice, without such a transaction and with one: checkpoints come in both."""
    begin, end = _BEFORE * 60, (_BEFORE + minutes) * 60
    last = f"{min(_LAST, minutes):.0f}"
    stretches = {
        "before it": (0.0, begin),
        f"the {minutes:.0f} minutes": (begin, end),
        f"the last {last} of them": (max(begin, end - _LAST * 60), end),
        "a minute after it": (end + _AFTER * 30, end + _AFTER * 60),
    }
    runs = {
        name: await _run(servers, rate, (begin, end), holds=holds)
        for name, holds in (("without", False), ("with", True))
    }
    found = {
        name: {stretch: _stretch(one.took, *times) for stretch, times in stretches.items()}
        for name, one in runs.items()
    }
    points = {name: _points(one.took) for name, one in runs.items()}
    report.save(
        SUITE,
        {
            "rate": rate,
            "minutes": minutes,
            "dead_rows": {name: one.dead_rows for name, one in runs.items()},
            "stretches": {
                name: {stretch: it._asdict() for stretch, it in some.items()} for name, some in found.items()
            },
            "p99_ms": points,
        },
    )
    report.lines(
        SUITE,
        {f"p99, ms, {name} a transaction": some for name, some in points.items()},
        (f"minutes; held from {_BEFORE:.0f} to {_BEFORE + minutes:.0f}", "ms"),
    )
    say(f"dead rows at the end of it: {runs['with'].dead_rows:,}, without it {runs['without'].dead_rows:,}")
    heads = [f"held for {minutes:.0f} minutes, {rate:,.0f}/s sent"]
    for name in runs:
        heads += [f"{name}: answered/s", "p50, ms", "p99, ms", "usual p99, ms"]
    heads += ["rate, with ÷ without", "p99", "usual p99"]
    return report.table(
        heads, [_row(name, found["without"][name], found["with"][name]) for name in stretches]
    )


async def _run(servers: Servers, rate: float, held: tuple[float, float], *, holds: bool) -> Run:
    took: dict[int, list[float]] = defaultdict(list)
    async with a_site(servers) as site, running(THIS_WORKER, site.environ), Asking(site) as asking:
        for body in bodies(_WARM_UP):
            await asking.ask(site.names.requests, "create", json.dumps(body))
        holding = asyncio.create_task(_hold(site, *held, holds=holds))
        await pour(
            site, rate, held[1] + _AFTER * 60, lambda at, seconds: took[int(at / _EACH)].append(seconds)
        )
        return Run(took, await holding)


def _row(name: str, without: Stretch, held: Stretch) -> list[str]:
    row = [name]
    for it in (without, held):
        row += [f"{it.per_second:,.0f}", f"{it.p50:.1f}", f"{it.p99:.0f}", f"{it.usual_p99:.0f}"]
    for mine, other in (
        (held.per_second, without.per_second),
        (held.p99, without.p99),
        (held.usual_p99, without.usual_p99),
    ):
        row.append(f"{mine / other:.2f} ×")
    return row


async def _hold(site: Site, begin: float, end: float, *, holds: bool) -> int:
    """Sees the database as it was at the beginning, until the end. Returns how many dead rows are there."""
    holder = await asyncpg.connect(site.database_url)
    await holder.execute("checkpoint")  # so that the next ones come at the same time in both runs
    await asyncio.sleep(begin)
    async with holder.transaction(isolation="repeatable_read") if holds else nullcontext():
        await holder.execute("select from requests limit 1")
        await asyncio.sleep(end - begin)
    dead = int(await holder.fetchval(_DEAD))
    await holder.close()
    return dead


def _stretch(took: Mapping[int, Sequence[float]], begin: float, end: float) -> Stretch:
    steps = [took[step] for step in range(int(begin / _EACH), int(end / _EACH)) if len(took[step]) > 1]
    some = [each for step in steps for each in step]
    times = times_of(some)
    usual = statistics.median(times_of(step).p99 for step in steps)
    return Stretch(len(some) / (end - begin), times.p50, times.p99, usual)


def _points(took: Mapping[int, Sequence[float]]) -> list[tuple[float, float]]:
    return [(step * _EACH / 60, times_of(some).p99) for step, some in sorted(took.items()) if len(some) > 1]
