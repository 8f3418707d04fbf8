"""What blocks the event loop is found out by a thread, also while nothing else goes on."""

import asyncio
import threading
import time
from typing import Any

import pytest

from worker.monitoring import blocking
from worker.monitoring.blocking import Blocking

LOOK_SECONDS = 0.01


class Log:
    """Stands for the log, and tells the one who waits for an event."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.written = threading.Event()

    def warning(self, event: str, **values: Any) -> None:
        self.events.append({"event": event, **values})
        self.written.set()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(blocking, "_log", made)
    return made


async def asked_again() -> None:
    """Lets the loop be asked once more."""
    await asyncio.sleep(5 * LOOK_SECONDS)


async def test_a_loop_that_hangs_is_told_of_while_it_hangs(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_STUCK_SECONDS", 0.15)

    told = []

    async def hangs() -> None:
        told.append(log.written.wait(20))  # the innermost frame is a library's, which says less

    with Blocking(hangs, "rooms:create", "1.4.2", LOOK_SECONDS) as found:
        await asked_again()
        await hangs()
    worst = found.take_worst()

    (event,) = log.events
    assert told == [True]
    line = hangs.__code__.co_firstlineno + 1
    assert event["event"] == "handler.blocking"
    assert (event["handler"], event["build"]) == ("rooms:create", "1.4.2")
    assert event["place"].endswith(f"test_blocking.py:{line} {hangs.__qualname__}")
    assert event["seconds"] >= 0.1
    assert worst is not None
    assert worst.place == event["place"]
    assert found.take_worst() is None, "it is told of the time since it was asked last"


async def test_a_place_is_told_once_in_a_while_and_what_is_quick_never(log: Log) -> None:
    async def blocks() -> None:
        while found._block is None:
            time.sleep(0.02)  # noqa: ASYNC251 — the fault, until it is seen

    async def waits() -> None:
        await asyncio.sleep(0.16)

    with Blocking(blocks, "rooms:create", "1.4.2", LOOK_SECONDS) as found:
        await waits()
        assert found.take_worst() is None
        for _ in range(2):
            await asked_again()
            await blocks()
            while found.take_worst() is None:  # noqa: ASYNC110 — the thread finds out that it is over
                await asyncio.sleep(LOOK_SECONDS)

    assert [event["place"].rpartition(" ")[2] for event in log.events] == [blocks.__qualname__]
