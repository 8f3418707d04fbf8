"""Gives pytest the fixtures for tests on real servers: `session_worker` runs a handler there.

pytest loads this file wherever this package is installed, so it imports nothing else until a fixture is used.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.testing.running import StartWorker

T = TypeVar("T")


@pytest.fixture(scope="session")
def session_worker_settings() -> "Iterator[Settings]":
    """Give the settings of a worker on real servers, with queues and tables of this test session's own."""
    from worker.testing.installation import own_installation  # noqa: PLC0415 — see above

    with _held_open(own_installation(_say, os.environ)) as settings:
        yield settings


@pytest.fixture
def session_worker(session_worker_settings: "Settings") -> "StartWorker":
    """Start a worker with a handler in the test's own event loop, and a client that is connected to it:
    `async with session_worker(handler) as running`.
    """
    from worker.testing.running import StartWorker  # noqa: PLC0415 — see above

    return StartWorker(session_worker_settings)


@contextmanager
def _held_open(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Hold it open in a thread, with an event loop of its own: the tests' loops come and go."""
    entered: Future[T] = Future()
    over: Future[None] = Future()

    async def hold() -> None:
        async with context as value:
            entered.set_result(value)
            await asyncio.wrap_future(over)

    with ThreadPoolExecutor(1, "session-worker") as thread:
        holding = thread.submit(lambda: asyncio.run(hold()))
        try:
            first: list[Future[Any]] = [holding, entered]
            wait(first, return_when=FIRST_COMPLETED)
            if not entered.done():
                holding.result()
            yield entered.result()
        finally:
            over.set_result(None)
        holding.result()


def _say(line: str) -> None:
    print(line, file=sys.stderr)
