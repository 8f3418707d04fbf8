"""Workers keep every promise in each of the first seeds, and a seed is the same run each time."""

import hashlib
import os
import subprocess
import sys
from logging import INFO
from pathlib import Path

import pytest
from simulation.__main__ import run_some
from simulation.breaks import GUARDS, first_to_find
from simulation.plan import AT_A_MOMENT, FAULTS
from simulation.run import run_seed, simulated

PARTS = [range(start, start + 100) for start in range(0, 500, 100)]
REPEATED = (1, 67, 296)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", PARTS, ids=str)
def test_workers_keep_every_promise_in_each_seed(seeds: range) -> None:
    found = run_some(seeds)

    assert found.broken == {}
    assert set(FAULTS + AT_A_MOMENT) <= found.happened.keys(), "all kinds of faults"
    assert found.happened["responses"] > 2 * len(seeds)


def digest() -> str:
    """Return a digest of all that happens in some seeds."""
    made = hashlib.sha256()
    with simulated():
        for seed in REPEATED:
            run = run_seed(seed, level=INFO)
            made.update(repr((run.trace, run.problems, run.loop.steps)).encode())
    return made.hexdigest()


def test_a_seed_repeats_its_run_exactly_also_in_another_process() -> None:
    code = "from simulation.test_simulation import digest; print(digest())"
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}", "PYTHONHASHSEED": "4711"}
    other = subprocess.run(  # noqa: S603 — this test's own code
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=100
    )

    assert digest() == digest() == other.stdout.strip()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("guard", GUARDS)
def test_a_seed_finds_that_a_guard_is_missing(guard: str) -> None:
    found = first_to_find(guard)

    assert found is not None
    print(f"without {guard!r}, seed {found.seed}: {found.problem}")
