"""Keeps the work that a service has begun beside its loop."""

import asyncio
from collections.abc import Coroutine

from worker.process import own_task


class Running:
    """Keeps the tasks of a service until they have ended. Whoever takes work that it then begins holds
    `taking` meanwhile: what is taken has to be begun, or it would be nobody's.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.taking = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for what is being taken, and for all that is running."""
        async with self.taking:
            pass
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """Wait for what is being taken, and cancel all that is running."""
        async with self.taking:
            pass
        await own_task.end(self._tasks)
