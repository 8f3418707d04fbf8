"""Ends this process when its stop does not: some code that it waits for heeds no cancellation."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from typing import Any

import structlog

EXIT_STUCK = 70  # an error in this program, or in the handler
_INNERMOST = 3
_log = structlog.get_logger(__name__)


async def limit(stop: asyncio.Event, seconds: float) -> None:
    """End the process so many seconds after `stop` is set, if it is still there. Nothing is lost by it: that
    is what leases and unsettled deliveries are for.

    A thread does it: the event loop may be what does not go on, and it counts also after the loop has ended.
    """
    await stop.wait()
    told = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    last = threading.Timer(seconds, told.run, (_end, loop, seconds))
    last.daemon = True
    last.start()


def _end(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    waits = sorted(_where(task) for task in asyncio.all_tasks(loop))
    _log.error(
        "worker.stop_stuck", seconds=seconds, waits=waits, consequence="it is ended; its leases run out"
    )
    os._exit(EXIT_STUCK)


def _where(task: "asyncio.Task[Any]") -> str:
    """Return where a task waits: the innermost of its functions, each with its line."""
    places: list[str] = []
    step: Coroutine[Any, Any, Any] | None = task.get_coro()  # type: ignore[assignment]  # or a generator that is like one
    while step is not None and (frame := getattr(step, "cr_frame", None)) is not None:
        places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        step = getattr(step, "cr_await", None)
    return " > ".join(places[-_INNERMOST:]) or task.get_name()
