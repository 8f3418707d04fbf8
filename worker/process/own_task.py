"""Cancels tasks for good, and tells a cancellation of the running task from one that only comes up in it."""

import asyncio
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

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
    Whoever is cancelled in here still waits for the tasks, and cancels them again: nobody else would.
    """
    every = list(tasks)
    left = {task for task in every if not task.done()}
    cancelled = False
    while left:
        for task in left:
            task.cancel()
        try:
            await asyncio.wait(left, timeout=_AGAIN_SECONDS)
        except asyncio.CancelledError:
            cancelled = True
        left = {task for task in left if not task.done()}
    for task in every:
        if not task.cancelled():
            task.exception()
    if cancelled:
        raise asyncio.CancelledError


class Group:
    """Keeps the tasks that are begun in it, and waits for all of them at its end. Whoever cancels it ends
    them for good: `asyncio.TaskGroup` asks each of them only once.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Wait for all, unless there is an error, or one of them brings one: then the others are ended."""
        try:
            while self._tasks and error is None:
                done, _ = await asyncio.wait(list(self._tasks), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            await end(self._tasks)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or not task.exception():  # an error is raised at the end
            self._tasks.discard(task)
