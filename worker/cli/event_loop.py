"""Runs the event loop of a command."""

import asyncio
import importlib
import importlib.util
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from worker.process.signals import heeded

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine as asyncio.run does, on uvloop where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    result: T = importlib.import_module("uvloop").run(main)
    return result


async def until_signalled(main: Coroutine[Any, Any, T]) -> T:
    """Await the coroutine. SIGTERM and the end of the terminal cancel it as Ctrl-C does, so that it gives
    back what it holds; then KeyboardInterrupt is raised.
    """
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    signalled = False

    def stop() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    for number in heeded(signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if signalled:
            raise KeyboardInterrupt from None
        raise
