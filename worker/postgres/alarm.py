"""An alarm clock wakes a loop when the next thing is due."""

import asyncio


class Alarm:
    """Wakes the loop that waits at the earliest of the times that were set."""

    def __init__(self) -> None:
        self._at: float | None = None  # by the loop's clock
        self._changed = asyncio.Event()

    def set(self, seconds: float) -> None:
        at = asyncio.get_running_loop().time() + seconds
        if self._at is None or at < self._at:
            self._at = at
            self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the alarm, at most so many seconds. The next wait is for times that are set after it."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while (left := min(until, self._at if self._at is not None else until) - clock()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                pass
        if self._at is not None and self._at <= clock():
            self._at = None
