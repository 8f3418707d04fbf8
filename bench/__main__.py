"""`python -m bench`: this worker beside its peers, on the same servers, in turn.

python -m bench                       everything, three rounds
python -m bench --rounds 1 --only "this worker" "aio-pika echo, no database"
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.contenders import CONTENDERS
from bench.stage import Figures, Servers, measure
from worker.stack import local_stack

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20_000, help="for the fastest; the slow get a share")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these contenders alone")
    given = parser.parse_args()
    figures = asyncio.run(_run(given.requests, given.rounds, given.only))
    print(table(figures))
    save(figures, given.requests, given.rounds)
    return 0


async def _run(requests: int, rounds: int, only: Sequence[str]) -> list[Figures]:
    chosen = [one for one in CONTENDERS if not only or one.name in only]
    figures: list[Figures] = []
    async with local_stack(_say, environ=os.environ) as stack:
        servers = Servers(stack.amqp_url, stack.database_url)
        for round_number in range(1, rounds + 1):
            for contender in chosen:
                found = await measure(servers, contender, max(500, int(requests * contender.share)))
                figures.append(found)
                _say(
                    f"round {round_number}: {found.name}: {found.per_second:,.0f} a second, "
                    f"{found.cpu_us:,.0f} µs CPU each, {found.rss_mb:.0f} MB"
                )
    return figures


def table(figures: Sequence[Figures]) -> str:
    """Medians, and how they compare with the first contender's."""
    by_name: dict[str, list[Figures]] = defaultdict(list)
    for one in figures:
        by_name[one.name].append(one)
    first = statistics.median(one.per_second for one in next(iter(by_name.values())))
    lines = [
        "| contender | requests a second | this worker is | µs CPU a request | MB |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, rows in by_name.items():
        rate = statistics.median(one.per_second for one in rows)
        cpu = statistics.median(one.cpu_us for one in rows)
        rss = statistics.median(one.rss_mb for one in rows)
        lines.append(f"| {name} | {rate:,.0f} | {first / rate:.1f} times | {cpu:,.0f} | {rss:.0f} |")
    return "\n".join(lines)


def save(figures: Sequence[Figures], requests: int, rounds: int) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "throughput.json").write_text(
        json.dumps(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "requests": requests,
                "rounds": rounds,
                "figures": [one._asdict() for one in figures],
            },
            indent=1,
        )
        + "\n"
    )
    _plot(figures)


def _plot(figures: Sequence[Figures]) -> None:
    import matplotlib as mpl  # noqa: PLC0415 — only who measures needs it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    names = list(dict.fromkeys(one.name for one in figures))
    rates = [statistics.median(one.per_second for one in figures if one.name == name) for name in names]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(names) + 1.2))
    bars = axes.barh(
        names, rates, color=["#2563eb" if "this worker" in name else "#9ca3af" for name in names]
    )
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel("requests a second, median")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(RESULTS / "throughput.png", dpi=120)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
