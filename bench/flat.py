"""Shows that cost does not grow with what went before: the queue, the tables, a worker's memory."""

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

import asyncpg

from bench import report
from bench.contenders import THIS_WORKER
from bench.stage import (
    Servers,
    Site,
    a_site,
    check_work,
    fill,
    response_times,
    rss_bytes,
    running,
    say,
    until_quiet,
)

SUITE = "flat"
_PARTS = """
select inhrelid::regclass::text from pg_inherits
where inhparent = 'sessions'::regclass and pg_relation_size(inhrelid) > 0
"""
TABLES = ("requests", "recorded_transitions", "sessions", "leases", "confirmed_leases", "workers")
_SAMPLE_SECONDS = 2.0
_OLD_ROWS = """
insert into requests (request_id, status, attempt, org_id, user_id, fingerprint, body, session_id, response,
  started_at, finished_at, published_at, received_at)
select gen_random_uuid(), 'completed', 1, 'org-1', null, 'plain:0123456789abcdef', $3, 'ts_260101_' || n, $4,
  now(), now(), now(), now() - interval '1 day'
from generate_series($1::bigint, $2::bigint) as n
"""
_OLD_ROWS_AT_ONCE = 250_000


async def run(servers: Servers, timed: int, rounds: int, queued: int, rows: int) -> str:
    """Measures `timed` requests without and with many rows, in turn; then a long queue to its end."""
    empty: list[float] = []
    full: list[float] = []
    async with a_site(servers) as small, a_site(servers) as large:
        await _add_rows(large, rows)
        for _ in range(rounds):
            empty.append(await _rate(small, timed))
            full.append(await _rate(large, timed))
            say(f"{empty[-1]:,.0f} a second without, {full[-1]:,.0f} with {rows:,} rows")
    async with a_site(servers) as site:
        long = await _long_queue(site, queued, timed)
    report.save(
        SUITE, {"timed": timed, "empty": empty, "rows": rows, "with_rows": full, "queued": queued, **long}
    )
    report.lines(
        "memory",
        {"resident memory": [(x / 1e3, y) for x, y in long["memory"]]},
        ("requests done, thousands", "MB"),
        160,
    )
    report.lines(
        "rate", {"rate": [(x / 1e3, y) for x, y in long["rates"]]}, ("requests done, thousands", "a second")
    )
    return _tables(statistics.median(empty), statistics.median(full), rows, queued, long)


def _tables(empty: float, full: float, rows: int, queued: int, long: dict[str, Any]) -> str:
    speed = [
        ["an empty queue behind them, empty tables", f"{empty:,.0f}", ""],
        [f"{rows:,} rows in `requests`", f"{full:,.0f}", f"{full / empty:.2f} ×"],
        [f"{queued:,} requests queued", f"{long['first_per_second']:,.0f}",
         f"{long['first_per_second'] / empty:.2f} ×"],
        [f"{queued:,} requests queued, to the last", f"{long['all_per_second']:,.0f}",
         f"{long['all_per_second'] / empty:.2f} ×"],
    ]  # fmt: skip
    memory = [y for _, y in long["memory"]]
    resident = (
        f"Resident memory over {queued:,} requests, MB: {memory[len(memory) // 10]:.0f} after a tenth, "
        f"{memory[-1]:.0f} at the end, {max(memory):.0f} at most."
    )
    sizes = [
        [it["name"], f"{it['mb']:,.1f}", f"{it['rebuilt_mb']:,.1f}", f"{it['mb'] / it['rebuilt_mb']:.2f} ×"]
        for it in long["sizes"]
        if it["rebuilt_mb"] > 1
    ]
    updates = [
        [it["relname"], f"{it['n_tup_ins']:,}", f"{it['n_tup_upd']:,}", f"{it['hot'] or 0:.1%}",
         f"{it['n_dead_tup']:,}", str(it["autovacuum_count"])]
        for it in long["updates"]
    ]  # fmt: skip
    return "\n\n".join(
        [
            report.table(["with", "requests/s", "beside nothing"], speed),
            resident,
            report.table([f"after {queued:,} requests", "MB", "MB when rebuilt", "bloat"], sizes),
            report.table(
                ["table", "inserts", "updates", "HOT", "dead rows at the end", "autovacuums"], updates
            ),
        ]
    )


async def _rate(site: Site, requests: int) -> float:
    """Returns the rate from the tenth part on, as in the table of throughput."""
    await fill(site.connection, site.names.requests, requests)
    await until_quiet(site.meter)
    async with running(THIS_WORKER, site.environ):
        times = await response_times(site, requests)
    return _per_second(times, requests // 10, requests * 95 // 100)


async def _long_queue(site: Site, queued: int, timed: int) -> dict[str, Any]:
    await fill(site.connection, site.names.requests, queued)
    await until_quiet(site.meter)
    memory: list[tuple[int, float]] = []
    rates: list[tuple[float, float]] = []
    times: list[float] = []
    async with running(THIS_WORKER, site.environ) as process:
        listening = asyncio.create_task(response_times(site, queued, times))
        before = 0
        while not listening.done():
            await asyncio.wait([listening], timeout=_SAMPLE_SECONDS)
            memory.append((len(times), rss_bytes(process) / 1e6))
            if not listening.done():
                rates.append((len(times), (len(times) - before) / _SAMPLE_SECONDS))
            before = len(times)
            if len(memory) % 15 == 0:
                say(f"  {len(times):,} of {queued:,} answered, {memory[-1][1]:.0f} MB")
        await listening
    await check_work(site.database_url, queued)
    return {
        "first_per_second": _per_second(times, timed // 10, timed),
        "all_per_second": _per_second(times, timed // 10, queued - 1),
        "memory": memory,
        "rates": rates[1:],
        **await bloat(site.database_url),
    }


def _per_second(times: Sequence[float], first: int, last: int) -> float:
    return (last - first) / (times[last] - times[first])


async def _add_rows(site: Site, rows: int) -> None:
    """Adds finished requests of the day before, as close together as a worker leaves them: with room
    left on their pages, the new ones would be put among them.
    """
    database = await asyncpg.connect(site.database_url)
    body = '{"operation":"create_session","payload":{"name":"' + "x" * 80 + '"}}'
    response = '{"type":"CreateSessionResponse","payload":"' + "x" * 300 + '"}'
    await database.execute("alter table requests disable trigger user")
    await database.execute("alter table requests set (fillfactor = 60)")
    for start in range(0, rows, _OLD_ROWS_AT_ONCE):
        end = min(start + _OLD_ROWS_AT_ONCE, rows)
        await database.execute(_OLD_ROWS, start + 1, end, body, response)
        if end % 1_000_000 == 0:
            say(f"  {end:,} of {rows:,} rows")
    await database.execute("alter table requests set (fillfactor = 30)")
    await database.execute("alter table requests enable trigger user")
    await database.execute("vacuum analyze requests")
    await database.execute("checkpoint")
    await database.close()


async def bloat(database_url: str) -> dict[str, Any]:
    """Returns the sizes of tables and indexes as they are, and as they would be if written anew."""
    database = await asyncpg.connect(database_url)
    tables = [*TABLES, *(name for (name,) in await database.fetch(_PARTS))]
    updates = await database.fetch(
        "select relname, n_tup_ins, n_tup_upd, n_tup_hot_upd::float8 / nullif(n_tup_upd, 0) as hot,"
        " n_dead_tup, autovacuum_count from pg_stat_user_tables"
        " where relname = any ($1) order by n_tup_ins desc",
        tables,
    )
    sized = (
        "select c.relname as name, pg_relation_size(c.oid) / 1e6::float8 as mb"
        " from pg_class c left join pg_index i on i.indexrelid = c.oid"
        " left join pg_class t on t.oid = i.indrelid"
        " where coalesce(t.relname, c.relname) = any ($1) and c.relkind in ('r', 'i')"
        " order by coalesce(t.relname, c.relname), c.relkind desc"
    )
    before = await database.fetch(sized, tables)
    for name in TABLES:
        await database.execute(f"vacuum full {name}")
    after = {row["name"]: row["mb"] for row in await database.fetch(sized, tables)}
    await database.close()
    return {
        "updates": [dict(row) for row in updates],
        "sizes": [{"name": row["name"], "mb": row["mb"], "rebuilt_mb": after[row["name"]]} for row in before],
    }
