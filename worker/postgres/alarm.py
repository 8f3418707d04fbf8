"""The alarm clock of a loop that waits for the next thing due."""

import asyncio


class Alarm:
    """Whoever knows that something is due sooner sets it; the loop that waits wakes at the earliest time."""

    def __init__(self) -> None:
        self._at: float | None = None  # by the loop's clock
        self._changed = asyncio.Event()

    def set(self, seconds: float) -> None:
        at = asyncio.get_running_loop().time() + seconds
        if self._at is None or at < self._at:
            self._at = at
            self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the alarm, and no longer than this. The next wait is for what is set from then on."""
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
