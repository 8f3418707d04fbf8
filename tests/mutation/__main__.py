"""Judges mutants of the steps and of what speaks to RabbitMQ and Postgres: `make mutation`.

Run in the folder of the repository, with `tests` on the path:

    python -m mutation                         all; what is judged already is not judged again
    python -m mutation --seconds 60            for a minute; the next run goes on
    python -m mutation --most 6 worker/steps   the first 6 of each file there, in an order that is drawn once
    python -m mutation --survivors             those that survived, once more
    python -m mutation --servers               those that survived, by tests with servers
    python -m mutation --confirm               survivors that a test with servers kills, by that test

`build/mutation/` keeps the verdicts; `survivors.txt` beside this file says of each survivor why it may live.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

from mutation.mutants import Mutant, Source
from mutation.oracle import (
    NOT_JUDGED,
    REAL_SERVERS,
    ROOT,
    SURVIVED,
    SURVIVED_ALL,
    UNIT_TESTS,
    Judge,
    Reached,
    import_for_tests,
    reached,
)
from mutation.servers import started, tests_of

FILES: Final = [
    *sorted(str(one.relative_to(ROOT)) for one in (ROOT / "worker" / "steps").glob("[!_]*.py")),
    *(f"worker/rabbitmq/{name}.py" for name in (
        "arriving", "channel_session", "confirms", "dispatcher", "fair_buffer", "in_hand", "intake",
        "known_queues", "one_by_one", "publisher", "writing")),
    *(f"worker/postgres/{name}.py" for name in (
        "leases", "put_off", "rows", "store", "waiting_answers", "waiting_line")),
]  # fmt: skip
KINDS: Final = {REAL_SERVERS, "equivalent", "told", "speed"}  # why a survivor may live
_ALIVE: Final = (SURVIVED, SURVIVED_ALL)
_KEPT = ROOT / "build" / "mutation"
_SURVIVORS = Path(__file__).with_name("survivors.txt")
_DRAWN = 17  # the order of the mutants of a file


class Task(NamedTuple):
    judge: Judge
    mutant: Mutant
    tests: list[str] | None = None  # with servers, to judge it


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "under", nargs="*", default=["worker/"], help="only files whose path begins like this"
    )
    parser.add_argument("--most", type=int, help="of each file")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="then stop")
    parser.add_argument("--seeds", type=int, default=12, help="so many of those that run the statement")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--survivors", action="store_true", help="judge those that survived once more")
    parser.add_argument("--servers", action="store_true", help="judge them by tests with servers")
    parser.add_argument("--confirm", action="store_true", help="see survivors fail the tests that are named")
    given = parser.parse_args()
    import_for_tests()
    until = time.monotonic() + given.seconds
    files = [file for file in FILES if file.startswith(tuple(given.under))]
    tasks, made = _tasks(files, given.most, given.seeds)
    if given.confirm:
        with started():
            return _confirm(tasks)
    verdicts = _kept()
    if given.servers:
        with started():
            looked_at = judged()
            to_judge = [
                task
                for task in tasks
                if verdicts.get(task.mutant.name) == SURVIVED and task.mutant.name not in looked_at
            ]
            with_tests = [task._replace(tests=tests_of(task.mutant)) for task in to_judge]
            _judge(with_tests, verdicts, given.processes, until)
    else:
        if given.survivors:
            verdicts = {name: verdict for name, verdict in verdicts.items() if verdict not in _ALIVE}
        _judge([task for task in tasks if task.mutant.name not in verdicts], verdicts, given.processes, until)
    return _tell([task.mutant.name for task in tasks], verdicts, made)


def _tasks(files: list[str], most: int | None, seeds: int) -> tuple[list[Task], int]:
    lines = _reached_once()
    tasks: list[tuple[int, Task]] = []
    made = 0
    for file in files:
        source = Source(str(file), (ROOT / file).read_text("utf-8"))
        made += len(source.mutants)
        drawn = random.Random(f"{_DRAWN} {file}").sample(source.mutants, len(source.mutants))  # noqa: S311 — an order
        judge = Judge(source, {int(line): run_by for line, run_by in lines[file].items()}, seeds)
        tasks += [(place, Task(judge, mutant)) for place, mutant in enumerate(drawn[:most])]
    # One of each file, then another of each: wherever it is stopped, each has had its share.
    return [task for _, task in sorted(tasks, key=itemgetter(0))], made


def _reached_once() -> Reached:
    """Find out which seeds run which lines, once for a version of the code."""
    code = hashlib.sha256()
    for file in sorted([*(ROOT / "worker").rglob("*.py"), *(ROOT / "tests" / "simulation").glob("*.py")]):
        code.update(file.read_bytes())
    kept = _KEPT / f"lines-{code.hexdigest()[:16]}.json"
    if not kept.exists():
        print("finds out which seed runs which line", file=sys.stderr, flush=True)
        found = reached(FILES)
        _KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found), "utf-8")
    return json.loads(kept.read_text("utf-8"))  # type: ignore[no-any-return] # it was written above


def _kept() -> dict[str, str]:
    file = _KEPT / "verdicts.jsonl"
    if not file.exists():
        return {}
    verdicts = dict(json.loads(line) for line in file.read_text("utf-8").splitlines())
    return {name: verdict for name, verdict in verdicts.items() if not verdict.startswith(NOT_JUDGED)}


def _judge(tasks: list[Task], verdicts: dict[str, str], processes: int, until: float) -> None:
    running: dict[int, tuple[Task, int]] = {}
    begun, sound, left = time.monotonic(), set[str](), iter(tasks)
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "verdicts.jsonl").open("a", encoding="utf-8") as kept:
        for done in count(1):
            while len(running) < processes and time.monotonic() < until and (task := next(left, None)):
                child, readable = task.judge.begin(task.mutant, task.tests)
                running[child] = task, readable
            if not running:
                return
            child, status = os.wait()
            if child not in running:  # a server's
                continue
            (judge, mutant, _), readable = running.pop(child)
            verdict = _read(readable, status)
            if verdict == UNIT_TESTS and judge.source.file not in sound:
                if _verdict_of(judge, None) == UNIT_TESTS:
                    sys.exit(f"the unit tests of {judge.source.file} fail without a mutant")
                sound.add(judge.source.file)
            verdicts[mutant.name] = verdict
            print(json.dumps([mutant.name, verdict]), file=kept, flush=True)
            if done % 20 == 0:
                seconds = time.monotonic() - begun
                print(f"{done} of {len(tasks)} judged, {seconds:,.0f} s", file=sys.stderr, flush=True)


def _verdict_of(judge: Judge, mutant: Mutant | None, tests: list[str] | None = None) -> str:
    child, readable = judge.begin(mutant, tests)
    _, status = os.waitpid(child, 0)
    return _read(readable, status)


def _read(readable: int, status: int) -> str:
    with os.fdopen(readable, "rb") as told:
        said = told.read()
    return str(json.loads(said)) if said else f"ended by {os.waitstatus_to_exitcode(status)}"


def judged() -> dict[str, str]:
    """Return why each survivor that was looked at may live: a name, and the line below it."""
    lines = [line for line in _SURVIVORS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(zip(lines[::2], (line.strip() for line in lines[1::2]), strict=True))


def _confirm(tasks: list[Task]) -> int:
    """Run the tests with servers that are said to tell: with the mutant each has to fail, and to pass
    without. Returns 1 if one does not.
    """
    missed = 0
    reasons = judged()
    as_it_is: dict[str, str] = {}
    for judge, mutant, _ in tasks:
        kind, _, test = reasons.get(mutant.name, "").partition(": ")
        if kind == REAL_SERVERS:
            if test not in as_it_is:
                as_it_is[test] = _verdict_of(judge, None, [test])
            verdict = _verdict_of(judge, mutant, [test])
            confirmed = as_it_is[test] == SURVIVED_ALL and verdict.startswith(REAL_SERVERS)
            missed += not confirmed
            print(f"{'confirmed' if confirmed else 'NOT CONFIRMED'} {mutant.name} by {test}", flush=True)
    return int(missed > 0)


def _tell(names: Iterable[str], verdicts: dict[str, str], made: int) -> int:
    reasons = judged()
    tried = [name for name in names if name in verdicts]
    survivors = [name for name in tried if verdicts[name] in _ALIVE]
    unjudged = [name for name in survivors if name not in reasons]
    by = Counter(_by(verdicts[name]) for name in tried)
    print(
        f"{len(tried):,} of {made:,} mutants: " + ", ".join(f"{what} {n:,}" for what, n in by.most_common())
    )
    kinds = Counter(reasons[name].partition(":")[0] for name in survivors if name in reasons)
    print(
        "survivors: "
        + ", ".join(f"{kind} {n:,}" for kind, n in [*kinds.most_common(), ("not judged", len(unjudged))])
    )
    for name in unjudged:
        print(name)
    return int(bool(unjudged))


def _by(verdict: str) -> str:
    if verdict.startswith("seed"):
        return "killed by a seed"
    if verdict == UNIT_TESTS:
        return "killed by unit tests"
    if verdict.startswith(REAL_SERVERS):
        return "killed by tests with servers"
    if verdict.startswith("ended"):
        return "killed for its time or memory"
    return verdict


if __name__ == "__main__":
    sys.exit(main())
