"""Holds the simulation against this machine: measures what stages cost, and points that it has to predict.

All of it is measured in turns, so that a machine that gets slower does so for costs and for points alike.
"""

import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from bench import report
from bench.calibrating import at_a_rate, full_queue, idle_cores, time_waits
from bench.calibration import Calibration, costs_of, with_kernel
from bench.contenders import OURS, THIS_WORKER
from bench.latency import BATCH, OPEN, kept_up, lone_times
from bench.simulate import Costs, Load, Open, Plan, simulate
from bench.stage import Servers, say
from bench.throughput import measure

SUITE = "sizing"
WITHIN = 0.2  # of what was measured
_LONE = 300
_CALIBRATED = (0.15, 0.6)  # parts of what can be kept up
_PREDICTED = (0.1, 0.25, 0.5, 0.75)
_SECONDS = 8.0
_SIMULATED_SECONDS = 5.0
_BUSY = 0.05  # cores in use by others: more is not quiet
# As it comes a worker would read all of such a queue ahead, and a second one would get nothing.
_PREFETCH = {"WORKER_PREFETCH": str(Plan().prefetch)}


class Point(NamedTuple):
    """What was measured of a plan with this load: requests a second, or p50 in ms where a rate is given."""

    name: str
    plan: Plan
    load: Load
    measured: float

    def predicted(self, costs: Costs) -> float:
        result = simulate(costs, self.plan, self.load, _SIMULATED_SECONDS)
        return result.p50 if isinstance(self.load, float) else result.per_second


async def run(servers: Servers, requests: int, turns: int) -> str:
    idle = await idle_cores(servers)
    if idle > _BUSY:
        say(f"the machine is not quiet, {idle:.2f} of its cores are in use: these figures are worth nothing")
    plan = Plan(cores=os.cpu_count())
    full = {
        "a full queue": (plan, {}),
        "a full queue, two processes": (plan._replace(workers=2), {}),
        "a full queue, batches of 16": (plan._replace(batch_size=16), {"WORKER_BATCH_SIZE": "16"}),
        "a full queue, one batch at a time": (plan._replace(batches=1), {"WORKER_BATCHES": "1"}),
    }
    seen: dict[str, list[Any]] = defaultdict(list)
    for turn in range(1, turns + 1):
        say(f"turn {turn} of {turns}")
        seen["waits"].append(await time_waits(servers))
        seen["alone"].append((await lone_times(servers, _LONE))["this worker"].p50)
        cost, per_second = await full_queue(servers, requests, _PREFETCH)
        seen["costs of a full queue"].append(with_kernel(cost, per_second, idle))
        for name, (planned, environ) in full.items():
            contender = OURS._replace(
                name=name,
                command=(*THIS_WORKER, "--processes", str(planned.workers)),
                environ=MappingProxyType(_PREFETCH | environ),
            )
            seen[name].append((await measure(servers, contender, requests)).per_second)
            say(f"{name}: {seen[name][-1]:,.0f} a second")
        seen["kept up"].append(await kept_up(servers))
        for part in sorted(_CALIBRATED + _PREDICTED):
            found = await at_a_rate(servers, seen["kept up"][0] * part, _SECONDS)
            seen[f"{part:.0%}"].append(found._replace(cost=with_kernel(found.cost, found.rate, idle)))
    middle = {name: _middle(turns) for name, turns in seen.items()}
    calibration = Calibration(
        middle["costs of a full queue"],
        [middle[f"{part:.0%}"] for part in _CALIBRATED],
        middle["waits"],
        middle["alone"],
    )
    costs = costs_of(calibration)
    points = [Point(name, planned, None, middle[name]) for name, (planned, _) in full.items()]
    points.append(Point(f"kept up, with {OPEN:,} unanswered", plan, Open(OPEN, BATCH), middle["kept up"]))
    for part in _PREDICTED:
        found = middle[f"{part:.0%}"]
        name = f"{part:.0%} of what can be kept up, {found.rate:,.0f}/s"
        points.append(Point(name, plan, found.rate, found.p50))
    report.save(
        SUITE,
        {
            "idle_cores": idle,
            "costs": costs._asdict(),
            "points": [point._asdict() for point in points],
            "seen": {name: [_plain(one) for one in some] for name, some in seen.items()},
        },
    )
    draw(SUITE, costs, plan, points)
    return judged(costs, points)


def judged(costs: Costs, points: Sequence[Point]) -> str:
    """Return the table of what was measured, and what was predicted for it."""
    rows, near = [], 0
    for point in points:
        predicted = point.predicted(costs)
        ratio = predicted / point.measured
        unit = "ms" if isinstance(point.load, float) else "/s"
        within = abs(ratio - 1) <= WITHIN
        near += within
        rows.append(
            [
                point.name, f"{point.measured:,.4g} {unit}", f"{predicted:,.4g} {unit}", f"{ratio:.2f} ×",
                "yes" if within else "**no**",
            ]
        )  # fmt: skip
    table = report.table(["point", "measured", "simulated", "ratio", f"within {WITHIN:.0%}"], rows)
    return f"{table}\n\n{near} of {len(points)} are within {WITHIN:.0%}."


def draw(name: str, costs: Costs, plan: Plan, points: Sequence[Point]) -> None:
    """Draw how the p50 grows with the rate, simulated and measured."""
    measured = [(point.load, point.measured) for point in points if isinstance(point.load, float)]
    most = simulate(costs, plan, Open(OPEN, BATCH), _SIMULATED_SECONDS).per_second
    parts = [most * part / 20 for part in range(1, 19)]
    curve = [(rate, simulate(costs, plan, rate, _SIMULATED_SECONDS).p50) for rate in parts]
    report.lines(
        name,
        {"simulated": curve, "measured": measured},
        ("requests a second", "p50, ms"),
        log=True,
    )


def _middle(turns: Sequence[Any]) -> Any:  # noqa: ANN401 — a number, or a named tuple of such
    """Return the median; of tuples a tuple of medians."""
    if isinstance(turns[0], tuple):
        return type(turns[0])(*map(_middle, zip(*turns, strict=True)))
    return statistics.median(turns)


def _plain(value: Any) -> Any:  # noqa: ANN401 — as above
    """Return a tuple as a dictionary, for JSON."""
    if not isinstance(value, tuple):
        return value
    return {name: _plain(one) for name, one in zip(type(value)._fields, value, strict=True)}  # type: ignore[attr-defined]  # it is a named one
