"""A process whose stop does not come to its end is ended, and says where it waits."""

import json
import subprocess
import sys

STUCK = """
import asyncio, time
import structlog
from worker.process import stop_limit

structlog.configure(processors=[structlog.processors.JSONRenderer()])

async def heeds_no_cancellation():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            {then}

async def main():
    stop = asyncio.Event()
    limit = asyncio.create_task(stop_limit.limit(stop, {seconds}))
    stuck = asyncio.create_task(heeds_no_cancellation())
    await asyncio.sleep(0)
    stop.set()
    await limit

asyncio.run(main())
"""


def _ran(then: str, seconds: float) -> subprocess.CompletedProcess[str]:
    code = STUCK.format(then=then, seconds=seconds)
    return subprocess.run(  # noqa: S603 — this interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )


def test_it_is_ended_and_says_where_it_waits() -> None:
    for then in ("pass", "time.sleep(60)"):  # the loop goes on, or does not
        done = _ran(then, 0.2)
        assert done.returncode == 70, done
        told = json.loads(done.stdout)
        assert told["event"] == "worker.stop_stuck"
        assert any("heeds_no_cancellation:" in each for each in told["waits"]), told


def test_one_that_stops_in_time_is_left_alone() -> None:
    done = _ran("raise", 20)
    assert (done.returncode, done.stdout) == (0, ""), done
