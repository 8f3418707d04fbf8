"""Visits the whole model, and says how large it is: `make model`.

Run in the folder of the repository, with `tests` on the path:

    python -m model                            what docs/reliability.md has figures of; takes minutes
    python -m model --spin                     the same by Spin, of the model that core.pml tells it
    python -m model --requests 2 --faults 2    two requests, with two faults in all
    python -m model --without fence            a counterexample
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from model.checker import Found, explore
from model.guards import GUARDS
from model.histories import words_of_the_law, words_of_the_model
from model.protocol import Protocol
from model.removed import explore_without
from model.states import beginning
from support.spin import Verifier

_SCOPES = ((1, 4), (2, 2))
_SPIN_SCOPES, _SPIN_CIRCLES = ((1, 3), (2, 1)), ((1, 2),)
_FAULTS, _LONGEST = 3, 4  # with three faults every history of four rows comes about


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, choices=(1, 2))
    parser.add_argument("--faults", type=int, default=2, help="how many there may be in all")
    parser.add_argument("--without", choices=list(GUARDS), help="remove this guard")
    parser.add_argument("--spin", action="store_true")
    given = parser.parse_args()
    if given.spin:
        return _visit_by_spin()
    if given.without:
        print(f"without {given.without!r} ({GUARDS[given.without]})")
        print(explore_without(given.without).text)
        return 0
    scopes = _SCOPES if given.requests is None else ((given.requests, given.faults),)
    broken = [found for found in (_visit(*scope) for scope in scopes) if found.broken]
    if given.requests is None:
        words, _ = words_of_the_model(_FAULTS)
        same = {word for word in words if len(word) <= _LONGEST} == words_of_the_law(_LONGEST)
        print(f"histories of up to {_LONGEST} rows are those of the law: {same}")
        return 1 if broken or not same else 0
    return 1 if broken else 0


def _visit_by_spin() -> int:
    with TemporaryDirectory() as folder:
        spin = Verifier(Path(folder))
        for requests, faults in _SPIN_SCOPES:
            found = spin.visit(requests, faults)
            print(f"{requests} requests, 2 workers, {faults} faults: {found.text}", flush=True)
            if found.broken:
                return 1
        for requests, faults in _SPIN_CIRCLES:
            found = spin.visit_for_circles(requests, faults)
            print(f"{requests} requests, 2 workers, {faults} faults, circles: {found.text}", flush=True)
            if found.broken:
                return 1
    return 0


def _visit(requests: int, faults: int) -> Found:
    begun = time.process_time()
    found = explore(Protocol(), beginning(requests, 2, faults))
    took = time.process_time() - begun
    print(f"{requests} requests, 2 workers, {faults} faults: {found.text}; {took:.0f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
