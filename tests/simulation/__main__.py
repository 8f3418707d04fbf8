"""Runs seeds, as many as are asked for: `make simulate SEEDS=100000`.

Run in the folder of the repository, with `tests` on the path:

    python -m simulation --seeds 100000 --processes 2   those from 0 on; goes on after a broken promise
    python -m simulation --seed 4711                    one, and tells all that happens in it
    python -m simulation --guards                       the first seed that finds that a guard is missing
"""

import argparse
import gc
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from simulation.breaks import GUARDS, first_to_find
from simulation.run import run_seed, simulated

_AT_ONCE = 250  # seeds
_COLLECTED_EVERY = 20
_AT_MOST = 8  # times so many in a process: those that it has killed or frozen stay in its memory


class Tally(NamedTuple):
    """What came of some seeds."""

    broken: dict[int, list[str]]
    happened: Counter[str]


def run_some(seeds: range) -> Tally:
    """Run these seeds, and count what happened."""
    broken: dict[int, list[str]] = {}
    happened = Counter[str]()
    with simulated():
        for seed in seeds:
            run = run_seed(seed)
            happened += run.happened
            if run.problems:
                broken[seed] = run.problems
            if seed % _COLLECTED_EVERY == 0:
                gc.collect()
    return Tally(broken, happened)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--begin", type=int, default=0, help="the first one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone, and tell what happens in it")
    parser.add_argument("--guards", action="store_true", help="take away one guard after the other")
    given = parser.parse_args()
    if given.seed is not None:
        return _tell(given.seed)
    if given.guards:
        return _without_guards()
    return _run(range(given.begin, given.begin + given.seeds), given.processes)


def _tell(seed: int) -> int:
    with simulated():
        run = run_seed(seed, level=logging.INFO)
    print(run.plan)
    for at, what in run.trace:
        print(f"{at:10.6f} {what}")
    print(*(run.problems or ["every promise was kept"]), sep="\n")
    return int(bool(run.problems))


def _without_guards() -> int:
    missed = 0
    for guard in GUARDS:
        found = first_to_find(guard)
        missed += found is None
        print(f"without {guard!r}: {'not found' if found is None else f'seed {found.seed}: {found.problem}'}")
    print(f"{missed} of {len(GUARDS)} were not found")
    return int(missed > 0)


def _run(seeds: range, processes: int) -> int:
    begun, broken, happened = time.monotonic(), 0, Counter[str]()
    parts = [seeds[start : start + _AT_ONCE] for start in range(0, len(seeds), _AT_ONCE)]
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=_AT_MOST) as pool:
        for done, tally in enumerate(pool.imap(run_some, parts), start=1):
            happened += tally.happened
            broken += len(tally.broken)
            for seed, problems in tally.broken.items():
                print(f"seed {seed}: {problems[:3]}", flush=True)
            if done % 4 == 0:
                print(f"{done * _AT_ONCE:,} seeds, {broken} broken, {time.monotonic() - begun:,.0f} s",
                      file=sys.stderr, flush=True)  # fmt: skip
    print(f"{len(seeds):,} seeds in {time.monotonic() - begun:,.0f} s: {broken} broke a promise")
    print(_in_words(happened.most_common()))
    return int(broken > 0)


def _in_words(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counts)


if __name__ == "__main__":
    sys.exit(main())
