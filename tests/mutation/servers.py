"""Judges what survived by tests with real servers, which are started once for all of it."""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from mutation.mutants import Mutant
from mutation.oracle import ROOT, passes, traced
from support.servers import servers

# Tests with the worker in their own process, and with servers that they leave whole.
TESTS: Final = [
    f"tests/integration/test_{name}.py" for name in (
        "bad_input", "cancel", "confirmed_leases", "database", "deadline", "deliveries", "duplicates",
        "end_to_end", "ended_workers", "events", "frames", "gathering", "handler", "handler_outage",
        "history_in_the_row", "keys", "lifespan", "lines", "long_calls", "metrics", "observability",
        "pausing", "publisher", "reading", "reply_to", "retries", "routing", "secrets", "shards", "steering",
        "traces", "unpublishable", "unreadable", "waiting", "whose", "write_batch")
]  # fmt: skip
_MOST_SECONDS = 20.0  # of tests for a mutant, as long as they took without one


class Ran(NamedTuple):
    """What a test ran, and how long it took."""

    test: str
    seconds: float
    lines: dict[str, list[int]]  # by file


@contextmanager
def started() -> Iterator[None]:
    """Start RabbitMQ and Postgres, for the tests of all processes that begin meanwhile."""
    with asyncio.Runner() as runner:
        running = servers()
        stack = runner.run(running.__aenter__())
        named = {
            "AMQP_URL": stack.amqp_url,
            "DATABASE_URL": stack.database_url,
            "TEST_SERVERS": "environment",
        }
        os.environ.update(named)
        try:
            yield
        finally:
            for name in named:
                del os.environ[name]
            runner.run(running.__aexit__(None, None, None))


def watched(files: Iterable[str]) -> list[Ran]:
    """Run the tests, and say of each that passes which lines of these files it ran."""
    watch = _Watch({str(ROOT / file): file for file in files})
    passes(TESTS, watch, until_one_fails=False)
    return watch.ran


class _Watch:
    def __init__(self, names: dict[str, str]) -> None:
        self.ran: list[Ran] = []
        self._names = names
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        seen: set[tuple[str, int]] = set()
        begun = time.monotonic()
        with traced(self._names, seen):
            done = yield
        lines: dict[str, list[int]] = defaultdict(list)
        for name, line in sorted(seen):
            lines[self._names[name]].append(line)
        if item.nodeid not in self._failed:
            self.ran.append(Ran(item.nodeid, time.monotonic() - begun, lines))
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)


def tests_of(mutant: Mutant, file: str, ran: Iterable[Ran]) -> list[str]:
    """Return tests that run the statement: the quickest of each file with tests, then another of each."""
    by_file: dict[str, list[Ran]] = defaultdict(list)
    for one in sorted(ran, key=lambda one: one.seconds):
        if any(line in mutant.lines for line in one.lines.get(file, ())):
            by_file[one.test.partition("::")[0]].append(one)
    chosen: list[str] = []
    seconds = 0.0
    for together in zip_longest(*by_file.values()):
        for one in sorted(filter(None, together), key=lambda one: one.seconds):
            seconds += one.seconds
            if chosen and seconds > _MOST_SECONDS:
                return chosen
            chosen.append(one.test)
    return chosen


def ran_once(file: Path, files: Iterable[str]) -> list[Ran]:
    """Find out once which test runs which lines."""
    if not file.exists():
        child = os.fork()
        if not child:
            file.write_text(json.dumps(watched(files)), "utf-8")
            os._exit(0)
        os.waitpid(child, 0)
    return [Ran(*one) for one in json.loads(file.read_text("utf-8"))]
