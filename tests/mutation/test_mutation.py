"""Mutants are made of each kind, and judged by what they do."""

import json
import os
import subprocess
import sys

import pytest
from mutation.__main__ import FILES, KINDS, judged
from mutation.mutants import Source
from mutation.oracle import ROOT, SURVIVED, UNIT_TESTS
from mutation.servers import CHOSEN

CODE = '''
class Line:
    """Docs."""

    def take(self, most: int = 1) -> list[int]:
        if not self.open or most < 1:
            return []
        self.taken += most
        _log.info("line.taken", number=most + 1)
        self.changed.set()
        return sorted(self.line, self.key)[: min(most, 2)]
'''
JUDGE = """
import json, sys
from mutation.__main__ import _verdict_of
from mutation.mutants import Source
from mutation.oracle import ROOT, Judge, import_for_tests

import_for_tests()
file, change, seeds = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
source = Source(file, (ROOT / file).read_text("utf-8"))
(mutant,) = [one for one in source.mutants if one.name.startswith(f"{file} {change}")]
print(_verdict_of(Judge(source, dict.fromkeys(mutant.lines, seeds), most=1), mutant))
"""
CHANGES = {
    "if not self.open or most < 1: return [] -> pass",
    "not self.open or most < 1 -> not self.open and most < 1",
    "not self.open -> self.open",
    "most < 1 -> most <= 1",
    "1 -> 2",
    "return [] -> return",
    "self.taken += most -> pass",
    "self.taken += most -> self.taken -= most",
    "self.changed.set() -> pass",
    "return sorted(self.line, self.key)[:min(most, 2)] -> return",
    "sorted(self.line, self.key) -> sorted(self.key, self.line)",
    "min(most, 2) -> max(most, 2)",
    "2 -> 3",
}


def test_each_mutant_has_one_change_that_means_something() -> None:
    source = Source("line.py", CODE)

    assert {one.name.removeprefix("line.py Line.take: ") for one in source.mutants} == CHANGES
    assert len({source.compiled(one) for one in source.mutants}) == len(CHANGES)
    assert source.compiled(source.mutants[0]) == source.compiled(source.mutants[0])


@pytest.mark.parametrize(
    ("file", "change", "verdict"),
    [
        ("worker/steps/accepting.py", "Accepting._insert: return await in_halves", "seed 0: "),
        ("worker/steps/slots.py", "Turns.give_back: self._grant() -> pass", UNIT_TESTS),
        ("worker/steps/finishing.py", "Finishing._answers: await rest() -> pass", SURVIVED),
    ],
)
def test_a_mutant_is_killed_unless_nothing_tells(file: str, change: str, verdict: str) -> None:
    """Judged in a process in which no other test has left anything: what survives passes unit tests there."""
    seeds = [] if verdict == UNIT_TESTS else [0]
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    judging = subprocess.run(  # noqa: S603 — our own program
        [sys.executable, "-c", JUDGE, file, change, json.dumps(seeds)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert judging.stdout.startswith(verdict), judging.stdout + judging.stderr


def test_each_survivor_that_was_judged_is_still_a_mutant() -> None:
    names = {one.name for file in FILES for one in Source(file, (ROOT / file).read_text("utf-8")).mutants}

    assert judged().keys() - names == set()
    assert {reason.partition(":")[0] for reason in judged().values()} <= KINDS


@pytest.mark.parametrize("file", CHOSEN)
def test_the_tests_with_servers_that_were_chosen_are_there(file: str) -> None:
    assert file in FILES
    for module, _, test in (one.partition("::") for one in CHOSEN[file]):
        text = (ROOT / "tests" / "integration" / f"test_{module}.py").read_text("utf-8")
        assert f"def test_{test}(" in text, (module, test)
