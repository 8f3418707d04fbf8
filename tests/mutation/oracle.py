"""Judges mutants: by seeds of the simulation that run the changed statement, then by unit tests of the file.

A mutant is judged in a process of its own, forked from one that has imported everything: the function gets
its changed code there. No servers, and nothing to undo.
"""

import contextlib
import importlib
import inspect
import json
import os
import re
import resource
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import pytest
from mutation.mutants import Mutant, Source
from simulation.run import run_seed, simulated

ROOT: Final = Path(__file__).parents[2]
SURVIVED: Final = "survived"
UNIT_TESTS: Final = "unit tests"
NOT_JUDGED: Final = "cannot be judged"  # by a mistake of this program's; the next run tries again
_SEEDS = 300  # are looked at, for which statements they run
_MOST_SECONDS = 60  # of processor time; for ever in circles is killed, too
_MOST_MEMORY = 3 << 30  # bytes
_UNIT = ROOT / "tests" / "unit"

Reached = dict[str, dict[int, list[int]]]  # file, line, seeds


def reached(files: Iterable[str], seeds: range = range(_SEEDS)) -> Reached:
    """Run seeds, and say of each line which of them run it."""
    names = {str(ROOT / file): file for file in files}
    found: Reached = {file: defaultdict(list) for file in names.values()}
    for seed in seeds:
        seen: set[tuple[str, int]] = set()
        with simulated(), _traced(names, seen):
            problems = run_seed(seed).problems
        assert not problems, "the code is wrong before anything is changed"
        for name, line in sorted(seen):
            found[names[name]][line].append(seed)
    return found


@contextlib.contextmanager
def _traced(names: dict[str, str], seen: set[tuple[str, int]]) -> Iterator[None]:
    def in_function(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            seen.add((frame.f_code.co_filename, frame.f_lineno))
        return in_function

    def at_call(frame: FrameType, _event: str, _argument: object) -> Any:
        return in_function if frame.f_code.co_filename in names else None

    sys.settrace(at_call)
    try:
        yield
    finally:
        sys.settrace(None)


class Judge:
    """Judges the mutants of one file."""

    def __init__(self, source: Source, lines: dict[int, list[int]], most: int) -> None:
        """`lines`: by which seeds each is run. `most`: so many of them judge a mutant."""
        self.source = source
        self._lines = lines
        self._most = most
        self._worth: defaultdict[int, float] = defaultdict(float)  # of seeds that run what few others do
        for seeds in lines.values():
            for seed in seeds:
                self._worth[seed] += 1 / len(seeds)

    @cached_property
    def tests(self) -> list[str]:
        """The unit tests that import the file."""
        package, _, name = self.source.file.removesuffix(".py").replace("/", ".").rpartition(".")
        imports = re.compile(rf"{re.escape(package)}(\.{name}\b| import .*\b{name}\b)")
        return [str(one) for one in sorted(_UNIT.glob("test_*.py")) if imports.search(one.read_text("utf-8"))]

    def seeds(self, mutant: Mutant) -> list[int]:
        """Return the seeds that run the statement, first those that run what few others do."""
        run_it = {seed for line in mutant.lines for seed in self._lines.get(line, [])}
        return sorted(run_it, key=lambda seed: -self._worth[seed])[: self._most]

    def begin(self, mutant: Mutant | None, test: str | None = None) -> tuple[int, int]:
        """Judge a mutant in another process. Returns its id, and where the verdict can be read. `test`: by
        this one alone. Without a mutant the code is judged as it is.
        """
        readable, writable = os.pipe()
        if child := os.fork():
            os.close(writable)
            return child, readable
        try:
            verdict = self._verdict(mutant, test)
        except BaseException as error:  # noqa: BLE001 — nothing may go on in this process
            verdict = f"{NOT_JUDGED}: {error!r}"
        os.write(writable, json.dumps(verdict).encode())
        os._exit(0)

    def _verdict(self, mutant: Mutant | None, test: str | None) -> str:
        if mutant and not self._put_in_place(mutant):
            return "cannot be made"
        with open(os.devnull, "w") as nothing:  # noqa: PTH123 — a device
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        if test:
            return SURVIVED if passes([test]) else "killed"
        _limit()  # not where servers are started: they would have the same limits
        with simulated():
            for seed in self.seeds(mutant) if mutant else ():
                try:
                    problems = run_seed(seed).problems
                except BaseException as error:  # noqa: BLE001 — whatever the mutant raises
                    problems = [repr(error)]
                if problems:
                    return f"seed {seed}: {problems[0][:200]}"
        return UNIT_TESTS if self.tests and not passes(self.tests) else SURVIVED

    def _put_in_place(self, mutant: Mutant) -> bool:
        code = self.source.compiled(mutant)
        assert isinstance(code, CodeType)
        function = _function(self.source.file, mutant.path)
        if code.co_freevars != function.__code__.co_freevars:
            return False
        function.__code__ = code
        return True


def passes(tests: list[str]) -> bool:
    """Run tests in this process, with two of the plugins: to load all takes longer than most tests do."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ["pytest_asyncio.plugin", "pytest_timeout", "no:cacheprovider", "no:unraisableexception"]
    how = ["-x", "-q", "-o", "timeout=30", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*(f"-p{name}" for name in plugins), *how, *tests]) == pytest.ExitCode.OK


def _function(file: str, path: tuple[str, ...]) -> FunctionType:
    owner: Any = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for name in path:
        owner = vars(owner)[name]
    if isinstance(owner, property):
        owner = owner.fget
    found = inspect.unwrap(getattr(owner, "__func__", getattr(owner, "func", owner)))
    assert isinstance(found, FunctionType)
    return found


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
