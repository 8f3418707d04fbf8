"""Shows what it costs to keep the counts: the same worker on the same tables, with and without, in turn."""

import asyncio
import random
import signal
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import exp, log
from typing import NamedTuple

import asyncpg
import psutil

from bench import report
from bench.contenders import THIS_WORKER
from bench.stage import (
    Servers,
    Site,
    a_site,
    check_work,
    fill,
    response_times,
    running,
    say,
    until_quiet,
    until_up,
)

SUITE = "counting"
GOAL = 0.03
_FUNCTIONS = ("record_beginning", "record_transition")
# As they are, but that they do not count: the history alone.
_WITHOUT = """
create or replace function record_beginning() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  select request_id, 0, 'pending', worker from begun
  union all
  select request_id, attempt, status, worker from begun where status = 'processing';
  return null;
end $$;
create or replace function record_transition() returns trigger language plpgsql
  security definer set search_path from current set enable_hashjoin = on set enable_nestloop = off as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  select is_now.request_id, is_now.attempt, is_now.status, is_now.worker
  from was join is_now using (request_id)
  where (is_now.status, is_now.attempt) is distinct from (was.status, was.attempt);
  return null;
end $$;
"""
_FOLDED_SECONDS = 1.3  # after the last response what was appended has been added up; it counts, too
_RESAMPLES = 2_000
_PATIENCE_SECONDS = 300


class Round(NamedTuple):
    """Requests a second, and processor time for a request."""

    per_second: float
    worker_us: float
    postgres_us: float


class Ratio(NamedTuple):
    """How many times as much it is with the counts: as the pairs have it, and between which bounds, of a
    hundred repetitions, 95 would lie.
    """

    middle: float
    low: float
    high: float


async def run(servers: Servers, requests: int, pairs: int) -> str:
    """Measures pairs of short rounds, and which one is first changes from pair to pair."""
    rounds: dict[bool, list[Round]] = {True: [], False: []}
    async with a_site(servers) as site, running(THIS_WORKER, site.environ) as process:
        await until_up(site.database_url)
        database = await asyncpg.connect(site.database_url)
        counting = ";".join(
            [await database.fetchval("select pg_get_functiondef($1::regproc)", name) for name in _FUNCTIONS]
        )
        await _round(site, process, requests)  # the first one is slower, whatever it does
        for number in range(pairs):
            for counts in (True, False) if number % 2 == 0 else (False, True):
                await database.execute(counting if counts else _WITHOUT)
                before = await database.fetchval("select count(*) from request_transitions")
                rounds[counts].append(await _round(site, process, requests))
                steps = await database.fetchval("select count(*) from request_transitions") - before
                if steps != 3 * requests:
                    raise AssertionError(f"{requests} requests, but {steps} steps in the history")
            with_it, without = rounds[True][-1], rounds[False][-1]
            say(
                f"pair {number + 1} of {pairs}: {with_it.per_second:,.0f} a second with the counts, "
                f"{without.per_second:,.0f} without"
            )
        await database.close()
        await check_work(site.database_url, (2 * pairs + 1) * requests)
    ratios = {name: _ratio(rounds, field) for name, field in _FIGURES.items()}
    report.save(
        SUITE,
        {
            "requests": requests,
            "with": [one._asdict() for one in rounds[True]],
            "without": [one._asdict() for one in rounds[False]],
            "ratios": {name: ratio._asdict() for name, ratio in ratios.items()},
        },
    )
    return _told(rounds, ratios)


async def _round(site: Site, process: psutil.Process, requests: int) -> Round:
    """Fills the queue while the worker stands still, lets it go on, and times it."""
    process.send_signal(signal.SIGSTOP)
    try:
        await fill(site.connection, site.names.requests, requests)
        await until_quiet()
    finally:
        process.send_signal(signal.SIGCONT)
    worker, backends = _seconds([process]), _backends(site)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        times = await response_times(site, requests)
    await asyncio.sleep(_FOLDED_SECONDS)
    first, last = requests // 10, requests * 95 // 100
    return Round(
        per_second=(last - first) / (times[last] - times[first]),
        worker_us=_used(worker, _seconds([process])) / requests * 1e6,
        postgres_us=_used(backends, _backends(site)) / requests * 1e6,
    )


def _backends(site: Site) -> dict[int, float]:
    """Returns the processor time of those that serve this database: others on the machine do not count."""
    name = site.database_url.rpartition("/")[2]
    return _seconds(
        one
        for one in psutil.process_iter(["name", "cmdline"])
        if one.info["name"] == "postgres" and name in " ".join(one.info["cmdline"] or ())
    )


def _seconds(processes: Iterable[psutil.Process]) -> dict[int, float]:
    found = {}
    for one in processes:
        with suppress(psutil.Error):
            times = one.cpu_times()
            found[one.pid] = times.user + times.system
    return found


def _used(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


_FIGURES = {
    "requests a second": "per_second",
    "processor time of Postgres": "postgres_us",
    "processor time of the worker": "worker_us",
}


def _ratio(rounds: dict[bool, list[Round]], field: str) -> Ratio:
    """Compares within each pair, so that what drifts is not compared; the bounds are by resampling pairs."""
    logs = [
        log(getattr(with_it, field) / getattr(without, field))
        for with_it, without in zip(rounds[True], rounds[False], strict=True)
    ]
    dice = random.Random(17)  # noqa: S311 — no secret, and the same each time
    means = sorted(_middle(dice.choices(logs, k=len(logs))) for _ in range(_RESAMPLES))
    low, high = means[_RESAMPLES * 25 // 1000], means[_RESAMPLES * 975 // 1000]
    return Ratio(exp(_middle(logs)), exp(low), exp(high))


def _middle(values: Sequence[float]) -> float:
    """Returns the mean of the middle half: one round beside something else does not move it."""
    sorted_ones, out = sorted(values), len(values) // 4
    return statistics.fmean(sorted_ones[out : len(sorted_ones) - out])


def _told(rounds: dict[bool, list[Round]], ratios: dict[str, Ratio]) -> str:
    rows = [
        [
            name,
            *(
                f"{statistics.median(getattr(one, field) for one in rounds[each]):,.0f}"
                for each in (False, True)
            ),
            f"{ratios[name].middle:.3f} ×",
            f"{ratios[name].low:.3f} to {ratios[name].high:.3f}",
        ]
        for name, field in _FIGURES.items()
    ]
    rate = ratios["requests a second"]
    if rate.low >= 1 - GOAL:
        verdict = f"Keeping the counts costs at most {GOAL:.0%} of the rate."
    elif rate.high < 1 - GOAL:
        verdict = f"Keeping the counts costs more than {GOAL:.0%} of the rate."
    else:
        verdict = (
            f"Whether it costs more than {GOAL:.0%} of the rate, these rounds do not tell: more --pairs."
        )
    heads = [
        "median, per request or second",
        "without the counts",
        "with them",
        "within pairs",
        "95 % of repetitions",
    ]
    return f"{report.table(heads, rows)}\n\n{verdict}"
