"""Shows that to find requests and to count them takes as long with ten million on record as with ten, on the
command line and on the console's pages.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple

import asyncpg

from bench import pages, report
from bench.pages import Times
from bench.stage import Servers, a_site, say
from worker.monitoring.readiness import Readiness
from worker.operations import counts, listing, overview, search
from worker.operations.filters import Filter, Page
from worker.postgres import database
from worker.postgres.database import Database

SUITE = "finding"
GOAL_MS = 100.0  # p95
_LOOKS = 200
_FEW = 10
_ORGS = 1_000  # and one in five requests is of the first of them
_DAYS = 7
_UNFOLDED = 500  # batches whose changes of the counts nobody has added yet: those of a busy second
_AT_ONCE = 250_000
_FIRST_PAGE = Page()
_FINISHED = """
insert into requests (request_id, status, attempt, org_id, user_id, fingerprint, body, session_id,
  correlation_id, response, error_code, received_at, started_at, finished_at, lease)
select gen_random_uuid(), case when code is null then 'completed' else 'failed' end, 1,
  case when n % 5 = 0 then 'org-0' else 'org-' || n % $4 end, 'user-' || n % 50021,
  'plain:0123456789abcdef', $5, 'ts_260101_' || n, 'order-' || n,
  case when code is null then $6 else '{"error": "rooms answered 50' || n % 7 || '"}' end, code, at, at,
  at + (n % 997) * interval '1 ms', 1000 + n / 128
from (
  select n, $3::timestamptz + n * $7::interval as at,
    case n % 60 when 1 then 'timeout' when 21 then 'rejected' when 41 then 'attempts_exhausted' end as code
  from generate_series($1::bigint, $2::bigint) as n
) as each_one
"""
_CONFIRMED = """
insert into confirmed_leases (lease)
select generate_series(1000 + $1::bigint / 128, 1000 + $2::bigint / 128) on conflict do nothing
"""
_UNFINISHED = """
insert into requests (request_id, status, attempt, org_id, fingerprint, body, session_id, lease, started_at,
  waits_in, waits_for, begins_at)
select gen_random_uuid(), case when begun then 'processing' else 'pending' end, begun::integer, org_id,
  'plain:0123456789abcdef', $2, 'ts_260102_' || n, case when begun then 1 end,
  case when begun then now() end, case when not begun then org_id end,
  case when not begun then 'over_share' end, case when not begun then now() end
from (
  select n, 'org-' || n % 20 as org_id, n % 2 = 0 as begun from generate_series(1, $1::integer) as n
) as each_one
"""
_COUNT = """
with counted as (
  select coalesce(org_id, '') as org_id, status, coalesce(error_code, '') as code, count(*) as number
  from requests group by 1, 2, 3
), of_all as (
  insert into request_totals select status, code, sum(number) from counted group by 1, 2
)
insert into request_counts select org_id, status, code, number from counted
"""
_CHANGES = """
insert into count_changes
select array['org-' || n % 20], array['completed'], array[''], array[0::bigint]
from generate_series(1, $1::integer) as n
"""

Look = Callable[[Database, random.Random], Awaitable[object]]


class Known(NamedTuple):
    """Requests that are on record, to look for."""

    ids: list[str]
    correlations: list[str]
    failed: str
    since: datetime


class Measured(NamedTuple):
    looks: dict[str, Times]
    pages: dict[str, Times]


async def run(servers: Servers, rows: int) -> str:
    """Measures each kind of look, and each page, on a database with so many requests, and with ten."""
    few = await _measure(servers, _FEW)
    many = await _measure(servers, rows)
    report.save(
        SUITE,
        {
            "rows": rows,
            "few_rows": _FEW,
            "looks": _LOOKS,
            "ms": _figures(few.looks, many.looks),
            "pages_ms": _figures(few.pages, many.pages),
        },
    )
    return "\n\n".join(
        [
            _table("look", rows, few.looks, many.looks, GOAL_MS),
            _table("page", rows, few.pages, many.pages, pages.GOAL_MS),
        ]
    )


def _figures(few: Mapping[str, Times], many: Mapping[str, Times]) -> dict[str, object]:
    return {name: {"few": few[name]._asdict(), "many": many[name]._asdict()} for name in many}


def _table(what: str, rows: int, few: Mapping[str, Times], many: Mapping[str, Times], goal_ms: float) -> str:
    lines = [[name, *(f"{value:,.1f}" for value in (*few[name], *many[name]))] for name in many]
    slow = [name for name, times in many.items() if times.p95 > goal_ms]
    verdict = (
        f"Over the goal of {goal_ms:g} ms: {', '.join(slow)}." if slow else f"No p95 is over {goal_ms:g} ms."
    )
    heads = [what, f"{_FEW} requests, p50 ms", "p95 ms", f"{rows:,} requests, p50 ms", "p95 ms"]
    return f"{report.table(heads, lines)}\n\n{verdict}"


async def _measure(servers: Servers, rows: int) -> Measured:
    async with a_site(servers) as site:
        known = await _fill(site.database_url, rows)
        opened = Database(site.database_url, 1, None, Readiness([database.PART]))
        await opened.open()
        try:
            total = sum(each.number for each in await counts.kept(opened))
            if total != rows:
                raise AssertionError(f"the counts say {total:,} of {rows:,}")
            looks = {name: await _timed(opened, name, look) for name, look in _looks(known).items()}
        finally:
            await opened.close()
        return Measured(looks, await pages.timed(site.environ, known.ids, known.failed))


async def _timed(opened: Database, name: str, look: Look) -> Times:
    dice = random.Random(17)  # noqa: S311 — no secret, and the same each time
    times = []
    for _ in range(_LOOKS):
        begun = perf_counter()
        await look(opened, dice)
        times.append((perf_counter() - begun) * 1e3)
    cuts = quantiles(times, n=20)
    found = Times(cuts[9], cuts[18])
    say(f"  {name}: p50 {found.p50:,.1f} ms, p95 {found.p95:,.1f} ms")
    return found


def _looks(known: Known) -> dict[str, Look]:
    def an_org(dice: random.Random) -> str:
        return f"org-{dice.choice((0, dice.randrange(_ORGS)))}"

    def a_time(dice: random.Random) -> datetime:
        return known.since + timedelta(days=_DAYS * dice.random())

    def a_list(filter_of: Callable[[random.Random], Filter], shown: Page = _FIRST_PAGE) -> Look:
        return lambda opened, dice: listing.page(opened, filter_of(dice), shown)

    return {
        "list: the newest": a_list(lambda _: Filter()),
        "list: of an organisation": a_list(lambda dice: Filter(org=an_org(dice))),
        "list: completed": a_list(lambda _: Filter(status="completed")),
        "list: failed": a_list(lambda _: Filter(status="failed")),
        "list: failed, of an organisation": a_list(lambda dice: Filter(status="failed", org=an_org(dice))),
        "list: waiting": a_list(lambda _: Filter(status="waiting")),
        "list: processing": a_list(lambda _: Filter(status="processing")),
        "list: by code": a_list(lambda dice: Filter(code=dice.choice(("timeout", "rejected")))),
        "list: of an hour": a_list(
            lambda dice: Filter(since=(at := a_time(dice)), until=at + timedelta(hours=1))
        ),
        "list: failed for a reason": a_list(
            lambda dice: Filter(status="failed", reason=f"50{dice.randrange(7)}")
        ),
        "list: a user among 50,000": a_list(lambda dice: Filter(user=f"user-{dice.randrange(50_000)}")),
        "list: what took longest": a_list(lambda _: Filter(), Page(sort="took")),
        "search: a correlation id": lambda opened, dice: search.by_id(
            opened, dice.choice(known.correlations)
        ),
        "search: eight characters": lambda opened, dice: search.by_id(opened, dice.choice(known.ids)[:8]),
        "counts of all": lambda opened, _: counts.kept(opened),
        "counts of an organisation": lambda opened, dice: counts.kept(opened, an_org(dice)),
        "the busiest organisations": lambda opened, _: overview.orgs(
            opened, known.since + timedelta(days=_DAYS, hours=-1), 20
        ),
    }


async def _fill(url: str, rows: int) -> Known:
    """Puts requests of the last days on record, and a few that are not finished; then counts them as a
    migration does.
    """
    unfinished = min(200, rows // 2)
    since = datetime.now(UTC) - timedelta(days=_DAYS)
    step = timedelta(days=_DAYS) / rows
    body = '{"operation":"create_session","payload":{"name":"' + "x" * 80 + '"}}'
    response = '{"type":"CreateSessionResponse","payload":"' + "x" * 150 + '"}'
    connection = await asyncpg.connect(url)
    await connection.execute("alter table requests disable trigger user")
    await connection.execute("alter table requests set (fillfactor = 60)")  # as close as a worker leaves them
    for start in range(0, rows - unfinished, _AT_ONCE):
        end = min(start + _AT_ONCE, rows - unfinished)
        await connection.execute(_FINISHED, start + 1, end, since, _ORGS, body, response, step)
        await connection.execute(_CONFIRMED, start + 1, end)
        if end % 1_000_000 == 0:
            say(f"  {end:,} of {rows:,} requests")
    await connection.execute("insert into leases (id, lease_until) values (1, now())")
    await connection.execute(_UNFINISHED, unfinished, body)
    await connection.execute("alter table requests enable trigger user")
    await connection.execute(_COUNT)
    await connection.execute(_CHANGES, _UNFOLDED)
    await connection.execute("vacuum analyze")
    await connection.execute("checkpoint")
    some = await connection.fetch(
        "select request_id::text, correlation_id from requests where correlation_id = any ($1::text[])",
        [f"order-{number}" for number in range(1, rows, max(1, rows // 1_000))],
    )
    failed = await connection.fetchval(
        "select request_id::text from requests where error_code is not null limit 1"
    )
    await connection.close()
    ids, correlations = ([row[name] for row in some] for name in ("request_id", "correlation_id"))
    return Known(ids=ids, correlations=correlations, failed=failed, since=since)
