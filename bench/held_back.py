"""Measures a worker under load while a transaction that nobody ends keeps dead rows from being removed."""

import asyncio
import json
from collections import defaultdict
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
_BEFORE = _AFTER = 2.0  # minutes
_DEAD = """
select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where schemaname = current_schema()
"""


class Stretch(NamedTuple):
    """What was measured in some of the time."""

    per_second: float
    p50: float
    p99: float


async def run(servers: Servers, rate: float, minutes: float) -> str:
    took: dict[int, list[float]] = defaultdict(list)  # by when they were sent, in steps
    held = _BEFORE * 60, (_BEFORE + minutes) * 60
    dead: list[int] = []
    async with a_site(servers) as site, running(THIS_WORKER, site.environ), Asking(site) as asking:
        for body in bodies(_WARM_UP):
            await asking.ask(site.names.requests, "create", json.dumps(body))
        holding = asyncio.create_task(_hold(site, *held, dead))
        await pour(
            site, rate, held[1] + _AFTER * 60, lambda at, seconds: took[int(at / _EACH)].append(seconds)
        )
        await holding
    before = _stretch(took, _EACH, held[0])
    last = _stretch(took, held[1] - _BEFORE * 60, held[1])
    after = _stretch(took, held[1] + _AFTER * 30, held[1] + _AFTER * 60)
    points = [(step * _EACH / 60, times_of(some).p99) for step, some in sorted(took.items()) if len(some) > 1]
    report.save(
        SUITE,
        {
            "rate": rate, "minutes": minutes, "dead_rows": dead[0], "before": before._asdict(),
            "last": last._asdict(), "after": after._asdict(), "p99_ms": points,
        },
    )  # fmt: skip
    report.lines(SUITE, {"p99, ms": points}, (f"minutes; held from {_BEFORE:.0f} on", "ms"))
    rows = [
        [name, f"{it.per_second:,.0f}", f"{it.p50:.1f}", f"{it.p99:.1f}",
         f"{it.per_second / before.per_second:.2f} ×", f"{it.p99 / before.p99:.2f} ×"]
        for name, it in (("before", before), ("at the end of it", last), ("a minute after it", after))
    ]  # fmt: skip
    say(f"dead rows at the end of it: {dead[0]:,}")
    return report.table(
        [
            f"held for {minutes:.0f} minutes, {rate:,.0f}/s sent",
            "answered/s",
            "p50, ms",
            "p99, ms",
            "rate",
            "p99",
        ],
        rows,
    )


async def _hold(site: Site, begin: float, end: float, dead: list[int]) -> None:
    """Sees the database as it was at the beginning, until the end."""
    holder = await asyncpg.connect(site.database_url)
    await asyncio.sleep(begin)
    async with holder.transaction(isolation="repeatable_read"):
        await holder.execute("select from requests limit 1")
        await asyncio.sleep(end - begin)
    dead.append(await holder.fetchval(_DEAD))
    await holder.close()


def _stretch(took: dict[int, list[float]], begin: float, end: float) -> Stretch:
    some = [each for step in range(int(begin / _EACH), int(end / _EACH)) for each in took[step]]
    times = times_of(some)
    return Stretch(len(some) / (end - begin), times.p50, times.p99)
