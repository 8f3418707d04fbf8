"""Holds a run's figures against the goals: reached, or not."""

from collections.abc import Iterable, Mapping

from bench import report
from bench.contenders import ECHO, FLOOR, OURS, PEERS_WITH_RECORD
from bench.figures import Figures

MOST_CPU_US = 75  # processor time of the worker, for a request
MOST_POSTGRES_US = 32
LEAST_OF_ECHO = 1.8
LEAST_OF_PEER = 12
LEAST_OF_FLOOR = 0.75


def table(medians: Iterable[Figures]) -> str:
    """Make the table of the goals that these figures can be held against."""
    found = {one.name: one for one in medians}
    ours = found.get(OURS.name)
    if ours is None:
        return ""
    rows = [
        [f"at most {MOST_CPU_US} µs of the worker's processor time a request", f"{ours.cpu_us:,.0f} µs",
         _said(reached=ours.cpu_us <= MOST_CPU_US)],
        [f"at most {MOST_POSTGRES_US} µs of Postgres'", f"{ours.postgres_us:,.0f} µs",
         _said(reached=ours.postgres_us <= MOST_POSTGRES_US)],
    ]  # fmt: skip
    peers = [found[one.name].per_second for one in PEERS_WITH_RECORD if one.name in found]
    beside = (
        (
            f"{LEAST_OF_PEER} times the best peer with the same durability",
            max(peers, default=0),
            LEAST_OF_PEER,
        ),
        (f"{LEAST_OF_ECHO} times the aio-pika echo", _rate(found, ECHO.name), LEAST_OF_ECHO),
        (
            f"{LEAST_OF_FLOOR} of aiormq in batches without a database",
            _rate(found, FLOOR.name),
            LEAST_OF_FLOOR,
        ),
    )
    for goal, rate, least in beside:
        if rate:
            times = ours.per_second / rate
            rows.append([goal, f"{times:.2f} ×", _said(reached=times >= least)])
    return report.table(["goal", "found", ""], rows)


def _rate(found: Mapping[str, Figures], name: str) -> float:
    return found[name].per_second if name in found else 0


def _said(*, reached: bool) -> str:
    return "reached" if reached else "**not reached**"
