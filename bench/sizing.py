"""Holds the simulation against this machine: measures what stages cost, and points that it has to predict."""

import json
import os
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

from bench import report
from bench.contenders import OURS, THIS_WORKER
from bench.figures import Figures
from bench.latency import Asking, kept_up, loaded, lone_times
from bench.peers.fill import bodies
from bench.simulate import Costs, Plan, simulate
from bench.stage import Servers, a_site, running, say
from bench.throughput import measure

SUITE = "sizing"
WITHIN = 0.2  # of what was measured
_LONE = 300
_PARTS = (0.1, 0.25, 0.5, 0.75)
_IN_USE = 0.95  # of the cores: the rest is the kernel's, in nobody's account
_SECONDS = 5.0


class Point(NamedTuple):
    """What was measured of a plan, and what the simulation says. A rate of None: with a full queue."""

    name: str
    plan: Plan
    rate: float | None
    measured: float  # requests a second with a full queue, else the p50 in milliseconds

    def predicted(self, costs: Costs) -> float:
        result = simulate(costs, self.plan, self.rate, _SECONDS)
        return result.per_second if self.rate is None else result.p50


async def run(servers: Servers, requests: int) -> str:
    full = await measure(servers, OURS, requests)
    costs = await _costs(servers, full)
    say(f"costs: {costs}")
    plan = Plan(cores=(os.cpu_count() or 1) * _IN_USE)
    points = [Point("a full queue", plan, None, full.per_second)]
    for name, changed, environ in (
        ("a full queue, two processes", plan._replace(workers=2), {}),
        ("a full queue, batches of 16", plan._replace(batch_size=16), {"WORKER_BATCH_SIZE": "16"}),
        ("a full queue, one batch at a time", plan._replace(batches=1), {"WORKER_BATCHES": "1"}),
    ):
        command = (*THIS_WORKER, "--processes", str(changed.workers))
        contender = OURS._replace(name=name, command=command, environ=MappingProxyType(environ))
        points.append(Point(name, changed, None, (await measure(servers, contender, requests)).per_second))
    most = await kept_up(servers)
    for part in _PARTS:
        rate = most * part
        p50 = (await loaded(servers, rate)).p50
        points.append(Point(f"{part:.0%} of what can be kept up, {rate:,.0f}/s", plan, rate, p50))
    report.save(SUITE, {"costs": costs._asdict(), "points": [point._asdict() for point in points]})
    draw(SUITE, costs, plan, points)
    return judged(costs, points)


def judged(costs: Costs, points: Sequence[Point]) -> str:
    """Return the table of what was measured, and what was predicted for it."""
    rows = []
    for point in points:
        predicted = point.predicted(costs)
        ratio = predicted / point.measured
        unit = "ms" if point.rate else "/s"
        near = "yes" if abs(ratio - 1) <= WITHIN else "**no**"
        rows.append(
            [point.name, f"{point.measured:,.4g} {unit}", f"{predicted:,.4g} {unit}", f"{ratio:.2f} ×", near]
        )
    return report.table(["point", "measured", "simulated", "ratio", f"within {WITHIN:.0%}"], rows)


def draw(name: str, costs: Costs, plan: Plan, points: Sequence[Point]) -> None:
    """Draw how the p50 grows with the rate, simulated and measured."""
    most = simulate(costs, plan, None, _SECONDS).per_second
    parts = [most * part / 20 for part in range(1, 19)]
    curve = [(rate, simulate(costs, plan, rate, _SECONDS).p50) for rate in parts]
    measured = [(point.rate, point.measured) for point in points if point.rate]
    report.lines(
        name,
        {"simulated": curve, "measured": measured},
        ("requests a second", "p50, ms"),
        log=True,
    )


async def _costs(servers: Servers, full: Figures) -> Costs:
    """Take what a batch costs beside its requests from what a lone request costs: it is a batch of one."""
    lone = await _lone_costs(servers)
    times = await lone_times(servers, _LONE)

    def split(of_lone: float, of_many: float) -> tuple[float, float]:
        """Return what a request costs, and what a batch does."""
        of_batch = max(0.0, of_lone - of_many) / (1 - 1 / Plan().batch_size)
        return max(0.0, of_lone - of_batch), of_batch

    worker_us, worker_batch_us = split(lone.cpu_us, full.cpu_us)
    broker_us, broker_batch_us = split(lone.broker_us, full.broker_us)
    postgres_us, postgres_batch_us = split(lone.postgres_us, full.postgres_us)
    load_us, load_batch_us = split(lone.load_us, full.load_us)
    return Costs(
        worker_us=worker_us, worker_batch_us=worker_batch_us,
        broker_us=broker_us, broker_batch_us=broker_batch_us / 4,  # a lone one comes in and goes out, twice
        postgres_us=postgres_us, postgres_batch_us=postgres_batch_us,
        load_us=load_us, load_batch_us=load_batch_us / 2,
        postgres_commit_seconds=times["two commits"].p50 / 2000,
    )  # fmt: skip


async def _lone_costs(servers: Servers) -> Figures:
    """Ask for one at a time, so that each is a batch."""
    async with a_site(servers) as site, running(THIS_WORKER, site.environ) as process, Asking(site) as asking:
        texts = [json.dumps(body) for body in bodies(_LONE + 1)]
        await asking.ask(site.names.requests, "create", texts[0])
        before = site.meter.cost(process)
        for text in texts[1:]:
            await asking.ask(site.names.requests, "create", text)
        after = site.meter.cost(process)
    own, broker, postgres, load = (
        (now - then) / _LONE * 1e6 for then, now in zip(before, after, strict=True)
    )
    return Figures("one at a time", _LONE, 0, own, broker, postgres, load, 0)
