"""What a supervisor does with signals, with children that are no workers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from worker.process import own_command
from worker.process.supervisor import supervise

# As a worker that does not listen for signals yet: Ctrl-C raises an exception anywhere in it.
STARTING = """
import sys, time
try:
    print("begun", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
async def _signals_as_before() -> AsyncIterator[None]:
    yield
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.usefixtures("_signals_as_before")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_workers_that_are_stopped_while_they_start_are_no_failure(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_command, "command", lambda *_: (sys.executable, "-c", STARTING))
    begun = ""
    with capture_logs() as events:
        supervising = asyncio.create_task(supervise(2, 0))
        async with asyncio.timeout(60):
            while begun.count("begun") < 2:
                await asyncio.sleep(0.01)  # what a child writes sets no event here
                begun += capfd.readouterr().out
            os.kill(os.getpid(), number)
            assert await supervising == 0
    assert events[-1] == {"event": "supervisor.stopped", "log_level": "info", "codes": [0, 0]}
