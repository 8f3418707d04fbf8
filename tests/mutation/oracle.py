"""Judges mutants: by seeds of the simulation that run the changed statement, then by unit tests of the file.

A mutant is judged in a process of its own, forked from one that has imported everything: the function gets
its changed code there. No servers, and nothing to undo.
"""

import contextlib
import faulthandler
import gc
import importlib
import inspect
import json
import os
import re
import resource
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import hypothesis
import pytest
from mutation.mutants import Mutant, Source
from simulation.run import run_seed, simulated

ROOT: Final = Path(__file__).parents[2]
SURVIVED: Final = "survived"
SURVIVED_ALL: Final = "survived, and tests with servers, too"
UNIT_TESTS: Final = "unit tests"
REAL_SERVERS: Final = "real servers"  # a test with real servers tells
NOT_JUDGED: Final = "cannot be judged"  # by a mistake of this program's; the next run tries again
_SEEDS = 300  # are looked at, for which statements they run
_LONGEST, _LONGEST_WITH_SERVERS = 60, 300  # seconds; with servers a mutant mostly waits
_SEEDS_FIRST = 2  # most that a seed kills is killed by one of these: the unit tests come next
_MOST_SECONDS = 6  # of processor time; for ever in circles is killed, too
_MOST_MEMORY = 3 << 30  # bytes
_UNIT = ROOT / "tests" / "unit"
_OF_OTHERS = {"test_docs.py", "test_reader.py"}  # they take long, and test what is in other folders

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


class _FirstFailed:
    """Tells which test failed first."""

    test: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.test is None:
            self.test = report.nodeid


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
        return [
            str(one)
            for one in sorted(_UNIT.glob("test_*.py"))
            if one.name not in _OF_OTHERS and imports.search(one.read_text("utf-8"))
        ]

    def seeds(self, mutant: Mutant) -> list[int]:
        """Return the seeds that run the statement, first those that run what few others do."""
        run_it = {seed for line in mutant.lines for seed in self._lines.get(line, [])}
        return sorted(run_it, key=lambda seed: -self._worth[seed])[: self._most]

    def begin(self, mutant: Mutant | None, tests: list[str] | None = None) -> tuple[int, int]:
        """Judge a mutant in another process. Returns its id, and where the verdict can be read. `tests`: by
        these alone, which need servers. Without a mutant the code is judged as it is.
        """
        readable, writable = os.pipe()
        if child := os.fork():
            os.close(writable)
            return child, readable
        try:
            verdict = self._verdict(mutant, tests)
        except BaseException as error:  # noqa: BLE001 — nothing may go on in this process
            verdict = f"{NOT_JUDGED}: {error!r}"
        os.write(writable, json.dumps(verdict).encode())
        os._exit(0)

    def _verdict(self, mutant: Mutant | None, tests: list[str] | None) -> str:
        if mutant and not self._put_in_place(mutant):
            return "cannot be made"
        with open(os.devnull, "w") as nothing:  # noqa: PTH123 — a device
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        if tests is not None:
            failed = _failing(tests)
            return f"{REAL_SERVERS}: {failed}" if failed else SURVIVED_ALL
        _limit()  # not where servers are started: they would have the same limits
        seeds = self.seeds(mutant) if mutant else []
        if told := _told_by(seeds[:_SEEDS_FIRST]):
            return told
        if self.tests and not _passes_apart(self.tests):
            return UNIT_TESTS
        return _told_by(seeds[_SEEDS_FIRST:]) or SURVIVED

    def _put_in_place(self, mutant: Mutant) -> bool:
        code = self.source.compiled(mutant)
        assert isinstance(code, CodeType)
        function = _function(self.source.file, mutant.path)
        if code.co_freevars != function.__code__.co_freevars:
            return False
        function.__code__ = code
        return True


def _failing(tests: list[str]) -> str | None:
    """Return the first of these that fails twice: once may be for the sake of the machine."""
    faulthandler.dump_traceback_later(_LONGEST_WITH_SERVERS, exit=True)
    first = _FirstFailed()
    if not tests or passes(tests, first) or first.test is None or passes([first.test]):
        return None
    return first.test


def _told_by(seeds: Sequence[int]) -> str | None:
    if not seeds:
        return None
    gc.freeze()  # else what was imported is looked through first, which takes as long as ten seeds
    with simulated():
        for seed in seeds:
            try:
                problems = run_seed(seed).problems
            except BaseException as error:  # noqa: BLE001 — whatever the mutant raises
                problems = [repr(error)]
            if problems:
                return f"seed {seed}: {problems[0][:200]}"
    return None


def import_for_tests() -> None:
    """Import what tests need once, and not in each process that runs some."""
    for name in ("pytest_asyncio.plugin", "support.harness", "support.responder"):
        importlib.import_module(name)
    hypothesis.settings.register_profile("mutation", deadline=None, derandomize=True, database=None)
    hypothesis.settings.load_profile("mutation")  # else a busy machine kills mutants


def _passes_apart(tests: list[str]) -> bool:
    """Run tests in another process: seeds come after them in this one."""
    child = os.fork()
    if not child:
        passed = False
        gc.freeze()
        faulthandler.dump_traceback_later(_LONGEST, exit=True)  # some mutants wait for ever
        try:
            passed = passes(tests)
        finally:
            os._exit(not passed)
    return os.waitpid(child, 0)[1] == 0


def passes(tests: list[str], watch: object = None) -> bool:
    """Run tests in this process, with two of the plugins: to load all takes longer than most tests do."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = [
        "pytest_asyncio.plugin",
        "pytest_timeout",
        "no:cacheprovider",
        "no:unraisableexception",
        "no:faulthandler",
    ]
    how = ["-x", "-q", "-o", "timeout=30", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    watching = [] if watch is None else [watch]
    return pytest.main([*(f"-p{name}" for name in plugins), *how, *tests], watching) == pytest.ExitCode.OK


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
    for what, most in ((resource.RLIMIT_CPU, _MOST_SECONDS), (resource.RLIMIT_AS, _MOST_MEMORY)):
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))  # a test sets limits of its own
