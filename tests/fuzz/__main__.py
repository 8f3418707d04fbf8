"""Judges hostile messages, as many as are asked for: `make fuzz CASES=1000000`.

Run in the folder of the repository, with `tests` on the path:

    python -m fuzz --cases 1000000                    those from 0 on; goes on after a broken promise
    python -m fuzz --case 4711                        one, and shows it
    python -m fuzz --case 4711 --keep many-names --about "a name for each of 4,000 zeros"
"""

import argparse
import heapq
import random
import sys
import time
from collections import Counter

from fuzz.cases import SEED, case
from fuzz.corpus import kept
from fuzz.judging import Judged, judge

_TOLD_EVERY = 20_000
_SLOWEST = 12
_MEASURED = 40  # one in so many is measured for its memory


def judged(number: int, seed: int = SEED, *, memory: bool | None = None) -> Judged:
    """Judge the case of this number. Raises AssertionError for a promise that is broken."""
    chance = random.Random(number)  # noqa: S311 — a run is to be like the one before
    return judge(case(number, seed), chance, memory=number % _MEASURED == 0 if memory is None else memory)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--begin", type=int, default=0, help="the number of the first one")
    parser.add_argument("--seed", type=int, default=SEED, help="another one makes other cases")
    parser.add_argument("--case", type=int, help="this one alone, and show it")
    parser.add_argument("--keep", metavar="NAME", help="with --case: write it into the corpus")
    parser.add_argument("--about", default="", help="with --keep: what is special about it")
    given = parser.parse_args()
    if given.case is None:
        return _run(range(given.begin, given.begin + given.cases), given.seed)
    one = case(given.case, given.seed)
    print(one._replace(body=one.body[:4_000]), f"\n{len(one.body):,} bytes")
    if given.keep:
        print(kept(given.keep, given.about, one))
    print(judged(given.case, given.seed, memory=True))
    return 0


def _run(numbers: range, seed: int) -> int:
    broken, outcomes, slowest = 0, Counter[str](), list[tuple[float, int, int]]()
    begun = time.monotonic()
    for done, number in enumerate(numbers, start=1):
        try:
            found = judged(number, seed)
        except Exception as error:  # noqa: BLE001 — an error of any kind is what is looked for
            broken += 1
            print(f"case {number}: {type(error).__name__}: {str(error)[:500]}", flush=True)
        else:
            outcomes[found.outcome.code or found.outcome.kind] += 1
            one = found.seconds, number, len(case(number, seed).body) if found.seconds > 0.005 else 0
            heapq.heappush(slowest, one) if len(slowest) < _SLOWEST else heapq.heappushpop(slowest, one)
        if done % _TOLD_EVERY == 0:
            print(
                f"{done:,} cases, {broken} broken, {time.monotonic() - begun:,.0f} s",
                file=sys.stderr,
                flush=True,
            )
    print(f"{len(numbers):,} cases of seed {seed}: {broken} broke a promise")
    print(", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.most_common()))
    for seconds, number, size in sorted(slowest, reverse=True):
        print(f"  case {number}: {seconds * 1000:.1f} ms of processor time, {size:,} bytes")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
