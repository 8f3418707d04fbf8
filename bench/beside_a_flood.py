"""Measures quiet organisations: alone, and beside one that floods, with fair shares and without."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from bench import flooder, report
from bench.contenders import THIS_WORKER
from bench.flooder import Flood, flooding
from bench.quiet_orgs import Asked, QuietOrgs, Times, times_of
from bench.stage import Servers, Site, a_site, running, say, until_up

WITHOUT = {"WORKER_FAIR_SHARES": "false"}
_QUIET_PART = 0.01  # of the traffic
_LEAD_SECONDS = 3.0
_LOOK_SECONDS = 0.2
_DONE_AT = """
select extract(epoch from finished_at)::float8 from requests
where org_id = $1 and finished_at is not null order by finished_at offset $2 limit 1
"""


class Run(NamedTuple):
    """One run. All times are in seconds since the flood began."""

    asked: Sequence[Asked]
    published: float  # those that came at once
    taken_in: float | None  # the queue was empty; None: not within the run
    flood_done: float  # as many of the flood were done as came at once


class Compared(NamedTuple):
    creation: str
    flood: Flood
    alone: Sequence[Asked]
    shared: Run
    unshared: Run


async def compare(
    servers: Servers, creation: str, environ: Mapping[str, str], traffic: float, at_once: int, seconds: float
) -> Compared:
    """Takes the three runs, with this traffic a second besides what comes at once."""
    flood = Flood(at_once, traffic * (1 - _QUIET_PART), seconds)
    compared = Compared(
        creation=creation,
        flood=flood,
        alone=await _alone(servers, environ, flood),
        shared=await _beside(servers, environ, flood),
        unshared=await _beside(servers, {**environ, **WITHOUT}, flood),
    )
    for line in _rows(compared):
        say(f"  {creation}: {', '.join(line)}")
    return compared


async def _alone(servers: Servers, environ: Mapping[str, str], flood: Flood) -> Sequence[Asked]:
    async with a_site(servers, **environ) as site, running(THIS_WORKER, site.environ):
        await until_up(site.database_url)
        async with QuietOrgs(site, _per_second(flood)) as quiet:
            await asyncio.sleep(_LEAD_SECONDS)
            begun = time.time()
            await asyncio.sleep(flood.seconds)
            return _since(begun, await quiet.stop())


async def _beside(servers: Servers, environ: Mapping[str, str], flood: Flood) -> Run:
    async with a_site(servers, **environ) as site, running(THIS_WORKER, site.environ):
        await until_up(site.database_url)
        async with QuietOrgs(site, _per_second(flood)) as quiet:
            await asyncio.sleep(_LEAD_SECONDS)
            async with flooding(site, flood) as begun:
                taken_in = await _until_taken_in(site, flood, begun.at + flood.seconds)
                await asyncio.sleep(begun.at + flood.seconds - time.time())
                asked = await quiet.stop()
                done_at = await _until_done(site, flood.at_once)
    return Run(
        asked=_since(begun.at, asked),
        published=begun.published_at - begun.at,
        taken_in=taken_in and taken_in - begun.at,
        flood_done=done_at - begun.at,
    )


def _per_second(flood: Flood) -> float:
    return flood.per_second * _QUIET_PART / (1 - _QUIET_PART)


def _since(begun: float, asked: Sequence[Asked]) -> list[Asked]:
    return sorted(one._replace(at=one.at - begun) for one in asked)


async def _until_taken_in(site: Site, flood: Flood, ends: float) -> float | None:
    """Returns when the queue holds no more than what comes in a tenth of a second."""
    channel = await site.connection.channel()
    while (now := time.time()) < ends:
        queue = await channel.declare_queue(site.names.requests, passive=True)
        if (queue.declaration_result.message_count or 0) <= flood.per_second / 10:
            return now
        await asyncio.sleep(_LOOK_SECONDS)
    return None


async def _until_done(site: Site, requests: int) -> float:
    """Returns when so many requests of the flood were done."""
    database = await asyncpg.connect(site.database_url)
    done_at = None
    while not done_at:
        done_at = await database.fetchval(_DONE_AT, flooder.ORG, requests - 1)
        await asyncio.sleep(1)
    await database.close()
    return float(done_at)


def tables(compared: Compared) -> str:
    heads = [compared.creation, "requests", "p50, ms", "p99, ms", "p99 beside alone"]
    flood = [
        [name, f"{run.published:.1f}", _seconds(run.taken_in), f"{run.flood_done:.1f}"]
        for name, run in (("with fair shares", compared.shared), ("without", compared.unshared))
    ]
    return "\n\n".join(
        [
            report.table(heads, _rows(compared)),
            report.table(
                [
                    f"the flood: {compared.flood.at_once:,} at once, then {compared.flood.per_second:,.0f}/s",
                    "published in, s", "the queue taken in after, s", "as many done after, s",
                ],
                flood,
            ),
        ]
    )  # fmt: skip


def _rows(compared: Compared) -> list[list[str]]:
    alone = times_of([one for one in compared.alone if one.at >= 0])  # without the first, of a cold start
    rows = [_row("alone", alone, None)]
    for name, run in (("with fair shares", compared.shared), ("without", compared.unshared)):
        until, after = _divided(run)
        rows.append(_row(f"{name}, until the queue is taken in", times_of(until), alone))
        rows.append(_row(f"{name}, after it", times_of(after), alone))
    return rows


def _divided(run: Run) -> tuple[list[Asked], list[Asked]]:
    """Returns what was asked while the flood stood in the queue, and afterwards."""
    since = [one for one in run.asked if one.at >= 0]
    if run.taken_in is None:
        return since, []
    return [one for one in since if one.at < run.taken_in], [one for one in since if one.at >= run.taken_in]


def _row(name: str, times: Times | None, alone: Times | None) -> list[str]:
    if not times:
        return [name, "none", "", "", ""]
    beside = f"{times.p99 / alone.p99:.1f} ×" if alone else ""
    return [name, f"{times.requests:,}", f"{times.p50:,.1f}", f"{times.p99:,.1f}", beside]


def _seconds(seconds: float | None) -> str:
    return "not in this time" if seconds is None else f"{seconds:.1f}"


def figures(compared: Compared) -> dict[str, Any]:
    return {
        "flood": compared.flood._asdict(),
        "alone": compared.alone,
        "with": compared.shared._asdict(),
        "without": compared.unshared._asdict(),
    }


def draw(name: str, compared: Compared) -> None:
    curves = {
        "alone": compared.alone,
        "beside a flood, with fair shares": compared.shared.asked,
        "beside a flood, without": compared.unshared.asked,
    }
    report.lines(
        name,
        {label: _slowest(asked) for label, asked in curves.items()},
        ("seconds since the flood began", "ms, the slowest of a second"),
        log=True,
    )


def _slowest(asked: Sequence[Asked]) -> list[tuple[float, float]]:
    by_second: dict[int, float] = defaultdict(float)
    for one in asked:
        by_second[int(one.at // 1)] = max(by_second[int(one.at // 1)], one.seconds * 1000)
    return sorted(by_second.items())
