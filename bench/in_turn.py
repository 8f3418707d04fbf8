"""Compares a worker with itself: the same queue again and again, with something and without, in turn."""

import asyncio
import random
import signal
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import exp, log
from typing import Any, NamedTuple

import psutil

from bench import report
from bench.stage import Site, check_work, fill, response_times, say, until_quiet

_FOLDED_SECONDS = 1.3  # after the last response what was appended has been added up; it counts, too
_RESAMPLES = 2_000
_PATIENCE_SECONDS = 300

Switch = Callable[[bool], Awaitable[None]]
"""Puts in place what is compared, or takes it away."""


class Round(NamedTuple):
    """Requests a second, and processor time for a request."""

    per_second: float
    worker_us: float
    postgres_us: float


class Ratio(NamedTuple):
    """How many times as much it is with it: as the pairs have it, and between which bounds, of a hundred
    repetitions, 95 would lie.
    """

    middle: float
    low: float
    high: float


class Compared(NamedTuple):
    rounds: dict[bool, list[Round]]
    ratios: dict[str, Ratio]


async def compare(site: Site, process: psutil.Process, requests: int, pairs: int, switch: Switch) -> Compared:
    """Measures pairs of short rounds, and which one is first changes from pair to pair."""
    rounds: dict[bool, list[Round]] = {True: [], False: []}
    await _round(site, process, requests)  # the first one is slower, whatever it does
    for number in range(pairs):
        for with_it in (True, False) if number % 2 == 0 else (False, True):
            await switch(with_it)
            rounds[with_it].append(await _round(site, process, requests))
        say(
            f"pair {number + 1} of {pairs}: {rounds[True][-1].per_second:,.0f} a second with it, "
            f"{rounds[False][-1].per_second:,.0f} without"
        )
    await check_work(site.database_url, (2 * pairs + 1) * requests)
    return Compared(rounds, {name: _ratio(rounds, field) for name, field in _FIGURES.items()})


def figures(compared: Compared) -> dict[str, Any]:
    """Returns what is saved."""
    return {
        "with": [one._asdict() for one in compared.rounds[True]],
        "without": [one._asdict() for one in compared.rounds[False]],
        "ratios": {name: ratio._asdict() for name, ratio in compared.ratios.items()},
    }


async def _round(site: Site, process: psutil.Process, requests: int) -> Round:
    """Fills the queue while the worker stands still, lets it go on, and times it."""
    process.send_signal(signal.SIGSTOP)
    try:
        await fill(site.connection, site.names.requests, requests)
        await until_quiet(site.meter)
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


def told(compared: Compared, what: str, goal: float) -> str:
    """Tells the table, and whether the rate loses at most so much of itself."""
    rows = [
        [
            name,
            *(
                f"{statistics.median(getattr(one, field) for one in compared.rounds[each]):,.0f}"
                for each in (False, True)
            ),
            f"{compared.ratios[name].middle:.3f} ×",
            f"{compared.ratios[name].low:.3f} to {compared.ratios[name].high:.3f}",
        ]
        for name, field in _FIGURES.items()
    ]
    rate = compared.ratios["requests a second"]
    if rate.low >= 1 - goal:
        verdict = f"{what} costs at most {goal:.0%} of the rate."
    elif rate.high < 1 - goal:
        verdict = f"{what} costs more than {goal:.0%} of the rate."
    else:
        verdict = (
            f"Whether it costs more than {goal:.0%} of the rate, these rounds do not tell: more --pairs."
        )
    heads = ["median, per request or second", "without", "with", "within pairs", "95 % of repetitions"]
    return f"{report.table(heads, rows)}\n\n{verdict}"
