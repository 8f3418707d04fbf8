"""Cancels tasks for good, and tells a cancellation of the running task from one that only comes up in it."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 2.5  # longer than a connection takes to close in order


def is_being_cancelled() -> bool:
    """Return whether somebody has cancelled the running task itself, so that it has to end.

    Not every CancelledError means that. The client library cancels the futures of a lost channel: whoever
    waits on one gets a CancelledError, and has to reconnect. A handler may let out the cancellation of a task
    of its own: its attempt has failed. Only the task knows how often it was itself asked to end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel these tasks until each of them has ended; what they raise at their end is dropped.

    Once is not always enough. A cancellation is lost in a library when what it waits for is there at the same
    moment: `asyncio.wait_for` of Python 3.11 returns it then. A task that serves for ever would go on.
    """
    every = list(tasks)
    left = {task for task in every if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    for task in every:
        if not task.cancelled():
            task.exception()
