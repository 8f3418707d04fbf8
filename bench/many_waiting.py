"""Measures what it costs that many wait: in many lines or in few, and until the same moment."""

import asyncio
import time
from itertools import cycle
from typing import Any

import asyncpg

from bench import report
from bench.contenders import THIS_WORKER
from bench.figures import Figures
from bench.quiet_orgs import Asked, QuietOrgs, times_of
from bench.stage import Servers, a_site, check_work, fill, listening, running, say, until_quiet, until_up
from bench.throughput import timed
from worker.rabbitmq.arriving import Arrived

_PAUSE = "insert into pauses (scope, reason, paused_by) values ('all', 'so that all of them wait', 'bench')"
_RESUME = "delete from pauses where scope = 'all'"
_DUE_ORGS = 100
_BEFORE_SECONDS = 15.0
_FILLED_PER_SECOND = 2_500  # at least, and taken in
_PATIENCE_SECONDS = 600
_LOOK_SECONDS = 0.2
_WAITING = "select count(*) from requests where waits_in is not null"
_LATE = """
select count(*) as requests, extract(epoch from max(started_at))::float8 as last_at,
  percentile_cont(array[0.5, 0.99, 1]) within group (
    order by extract(epoch from started_at - begins_at)
  ) as late
from requests where org_id like 'due-%' and begins_at = to_timestamp($1)
"""


async def lines(servers: Servers, orgs: int, requests: int) -> Figures:
    """Lets so many requests of so many organisations wait, and then begin."""
    async with a_site(servers) as site:
        database = await asyncpg.connect(site.database_url)
        await database.execute(_PAUSE)
        await fill(site.connection, site.names.requests, requests, cycle(f"org-{n}" for n in range(orgs)))
        async with running(THIS_WORKER, site.environ) as process:
            await _until_waiting(database, requests)
            await until_quiet(site.meter)
            await database.execute(_RESUME)
            figures = await timed(site, f"{orgs:,} organisations", process, requests, 1, requests)
        await database.close()
        await check_work(site.database_url, requests)
    say(f"  {figures.name}: {figures.per_second:,.0f} a second, {figures.cpu_us:,.0f} µs each")
    return figures


async def due_at_once(servers: Servers, requests: int, others_per_second: float) -> dict[str, Any]:
    """Lets so many requests wait for the same moment; others go on asking before it and after it."""
    count = 0
    done = asyncio.Event()

    def heard(_message: Arrived) -> None:
        nonlocal count
        count += 1
        if count == requests:
            done.set()

    async with (
        a_site(servers) as site,
        running(THIS_WORKER, site.environ),
        listening(site.connection, site.names.responses, heard),
    ):
        await until_up(site.database_url)
        moment = int(time.time() + _BEFORE_SECONDS + requests / _FILLED_PER_SECOND)
        orgs = cycle(f"due-{n}" for n in range(_DUE_ORGS))
        await fill(site.connection, site.names.requests, requests, orgs, {"not_before": moment * 1000})
        await asyncio.sleep(moment - _BEFORE_SECONDS - time.time())
        async with QuietOrgs(site, others_per_second) as quiet, asyncio.timeout(_PATIENCE_SECONDS):
            await done.wait()
            asked = await quiet.stop()
        database = await asyncpg.connect(site.database_url)
        row = await database.fetchrow(_LATE, moment)
        await database.close()
    assert row is not None
    p50, p99, last = row["late"]
    return {
        "requests": requests,
        "in_line_in_time": row["requests"],
        "late": {"p50": p50, "p99": p99, "last": last},
        "before": [one for one in asked if one.at < moment],
        "meanwhile": [one for one in asked if moment <= one.at < row["last_at"]],
    }


async def _until_waiting(database: asyncpg.Connection, requests: int) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while await database.fetchval(_WAITING) < requests:  # noqa: ASYNC110 — another program sends no event
            await asyncio.sleep(_LOOK_SECONDS)


def due_tables(found: dict[str, Any]) -> str:
    late = found["late"]
    begin = [
        f"{found['in_line_in_time']:,} that were in line by then",
        *(f"{late[name]:.2f}" for name in ("p50", "p99", "last")),
    ]
    return "\n\n".join(
        [
            report.table(
                [f"{found['requests']:,} due at one moment begin after", "p50, s", "p99, s", "the last, s"],
                [begin],
            ),
            report.table(
                ["others", "requests", "p50, ms", "p99, ms"],
                [
                    _row("before that moment", found["before"]),
                    _row("until the last has begun", found["meanwhile"]),
                ],
            ),
        ]
    )


def _row(name: str, asked: list[Asked]) -> list[str]:
    times = times_of(asked)
    return (
        [name, f"{times.requests:,}", f"{times.p50:,.1f}", f"{times.p99:,.1f}"]
        if times
        else [name, "none", "", ""]
    )
