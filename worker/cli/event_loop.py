"""The event loop of a command."""

import asyncio
import importlib
import importlib.util
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from worker.process.signals import heeded

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like asyncio.run, on uvloop where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    result: T = importlib.import_module("uvloop").run(main)
    return result


async def until_signalled(main: Coroutine[Any, Any, T]) -> T:
    """Cancelled by SIGTERM, and by the end of the terminal, as by Ctrl-C, so that what it holds is given
    back; then KeyboardInterrupt.
    """
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    asked = False

    def ask() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    for number in heeded(signal.SIGHUP):
        loop.add_signal_handler(number, ask)
    try:
        return await task
    except asyncio.CancelledError:
        if asked:
            raise KeyboardInterrupt from None
        raise
