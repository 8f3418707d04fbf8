"""Measures fair shares: what quiet organisations have of them beside one that floods, and what they cost.

Everything is compared within one run. The sizes are such that all of it takes about ten minutes with three
rounds.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, repeat
from pathlib import Path
from typing import NamedTuple

from bench import beside_a_flood, flooder, many_waiting, report
from bench.beside_a_flood import WITHOUT
from bench.contenders import THIS_WORKER
from bench.figures import Figures
from bench.peers.fill import ORG
from bench.quiet_orgs import NUMBER
from bench.stage import ROOT, Servers, a_site_of, check_work, fill, running, say, until_quiet
from bench.throughput import timed

SUITE = "fairness"
_HOOK_SECONDS, _HOOK_CALLS = 0.05, 20
_HANDLER = {
    "WORKER_HANDLER": "slow_hook:create",
    "WORKER_HANDLER_CONCURRENCY": str(_HOOK_CALLS),
    "BENCH_HOOK_SECONDS": str(_HOOK_SECONDS),
}
# The traffic that goes on beside a flood. The built-in creation can do with it; for the handler it is too
# much, so that its backlog grows until the end.
_TRAFFIC = 0.25  # of what was measured as the most
_HANDLER_TRAFFIC = 2.0  # of what it can do


class Sizes(NamedTuple):
    requests: int  # of a full queue that is timed
    rounds: int
    flood: int = 50_000
    flood_of_handler: int = 8_000
    seconds: float = 30  # for which the traffic goes on
    waiting: int = 20_000
    orgs: int = 10_000
    due: int = 100_000


_QUICK = Sizes(
    requests=1_000, rounds=1, flood=2_000, flood_of_handler=200, seconds=4, waiting=400, orgs=200, due=1_000
)


class Variant(NamedTuple):
    name: str
    checkout: Path = ROOT
    environ: Mapping[str, str] = {}


SHARED, UNSHARED = Variant("with fair shares"), Variant("without", environ=WITHOUT)


def _many() -> Iterator[str]:
    """Names a hundred organisations as chance has it: the same each time."""
    chance = random.Random(1)  # noqa: S311 — guards nothing
    while True:
        yield f"org-{chance.randrange(100)}"


def _one_with_nearly_all() -> Iterator[str]:
    return cycle(org for n in range(NUMBER) for org in [*repeat(flooder.ORG, 99), f"quiet-{n}"])


_ONE = "one organisation alone"
_MIXES: Mapping[str, Callable[[], Iterable[str]]] = {
    _ONE: lambda: repeat(ORG),
    "100, none over its share": _many,
    "one with 99 %, ten with 1 %": _one_with_nearly_all,
}


class Round(NamedTuple):
    mix: str
    variant: str
    figures: Figures


async def run(servers: Servers, requests: int, rounds: int, before: Path | None, *, quick: bool) -> str:
    """Measures all of it; or, where there is another checkout, only what full queues show of both."""
    sizes = _QUICK if quick else Sizes(requests, rounds)
    variants = [SHARED, UNSHARED] + ([Variant("before", before)] if before else [])
    full = await _full_queues(servers, sizes, variants)
    if before:
        if not quick:
            report.save(f"{SUITE}-before", {"full_queues": _as_lists(full)})
        return _table_of_queues(full, variants)
    most = statistics.median(
        one.figures.per_second for one in full if (one.mix, one.variant) == (_ONE, UNSHARED.name)
    )
    built_in = await beside_a_flood.compare(
        servers, "the built-in creation", {}, _TRAFFIC * most, sizes.flood, sizes.seconds
    )
    handler = await beside_a_flood.compare(
        servers,
        f"a handler of {_HOOK_SECONDS * 1000:.0f} ms, {_HOOK_CALLS} at once",
        _HANDLER,
        _HANDLER_TRAFFIC * _HOOK_CALLS / _HOOK_SECONDS,
        sizes.flood_of_handler,
        sizes.seconds,
    )
    lines = [
        await many_waiting.lines(servers, orgs, sizes.waiting)
        for _ in range(sizes.rounds)
        for orgs in (10, sizes.orgs)
    ]
    due = await many_waiting.due_at_once(servers, sizes.due, _TRAFFIC * most / 100)
    if not quick:
        report.save(
            SUITE,
            {
                "full_queues": _as_lists(full),
                "built_in": beside_a_flood.figures(built_in),
                "handler": beside_a_flood.figures(handler),
                "lines": [one._asdict() for one in lines],
                "due": due,
            },
        )
        beside_a_flood.draw(SUITE, built_in)
        beside_a_flood.draw(f"{SUITE}-handler", handler)
    return "\n\n".join(
        [
            beside_a_flood.tables(built_in),
            beside_a_flood.tables(handler),
            _table_of_queues(full, variants),
            _table_of_lines(lines),
            many_waiting.due_tables(due),
        ]
    )


def _as_lists(rounds: Sequence[Round]) -> list[tuple[str, str, dict[str, object]]]:
    return [(one.mix, one.variant, one.figures._asdict()) for one in rounds]


async def _full_queues(servers: Servers, sizes: Sizes, variants: Sequence[Variant]) -> list[Round]:
    """Times each mix of organisations with each of these workers, in turn."""
    rounds = []
    for number in range(1, sizes.rounds + 1):
        for mix, orgs in _MIXES.items():
            for variant in variants:
                figures = await _full_queue(servers, variant, orgs(), sizes.requests)
                rounds.append(Round(mix, variant.name, figures))
                say(f"round {number}: {mix}, {variant.name}: {figures.per_second:,.0f} a second")
    return rounds


async def _full_queue(servers: Servers, variant: Variant, orgs: Iterable[str], requests: int) -> Figures:
    async with a_site_of(variant.checkout, servers, variant.environ) as site:
        await fill(site.connection, site.names.requests, requests, orgs)
        await until_quiet(site.meter)
        async with running(THIS_WORKER, site.environ) as process:
            # From the first to the last: what waits in Postgres is taken in sooner than it is done.
            figures = await timed(site, variant.name, process, requests, 1, requests)
        await check_work(site.database_url, requests)
        return figures


def _table_of_queues(rounds: Sequence[Round], variants: Sequence[Variant]) -> str:
    """Tells the medians, and the median of how one variant was beside the other in each round."""
    shared, *others = [one.name for one in variants]
    heads = ["a full queue of", *(f"{name}, /s" for name in (shared, *others))]
    for name in others:
        heads += [f"{shared} ÷ {name}", f"processor time {shared} ÷ {name}"]
    rows = []
    for mix in _MIXES:
        of = {
            variant.name: [one.figures for one in rounds if (one.mix, one.variant) == (mix, variant.name)]
            for variant in variants
        }
        row = [mix, *(f"{statistics.median(one.per_second for one in some):,.0f}" for some in of.values())]
        for name in others:
            pairs = list(zip(of[shared], of[name], strict=True))
            row += [
                _ratios([mine.per_second / other.per_second for mine, other in pairs]),
                _ratios([_cost(mine) / _cost(other) for mine, other in pairs]),
            ]
        rows.append(row)
    return report.table(heads, rows)


def _cost(figures: Figures) -> float:
    return figures.cpu_us + figures.broker_us + figures.postgres_us


def _ratios(ratios: Sequence[float]) -> str:
    middle = f"{statistics.median(ratios):.2f} ×"
    return f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else middle


def _table_of_lines(lines: Sequence[Figures]) -> str:
    heads = [f"{lines[0].requests:,} waiting, of", "begun and done, /s", "beside the first", "its CPU, µs"]
    few, many = [
        [one for one in lines if one.name == name] for name in dict.fromkeys(one.name for one in lines)
    ]
    rows = [
        [
            some[0].name,
            f"{statistics.median(one.per_second for one in some):,.0f}",
            _ratios([mine.per_second / first.per_second for mine, first in zip(some, few, strict=True)]),
            f"{statistics.median(one.cpu_us for one in some):,.0f}",
            f"{statistics.median(one.postgres_us for one in some):,.0f}",
        ]
        for some in (few, many)
    ]
    return report.table([*heads, "Postgres, µs"], rows)
