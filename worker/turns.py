"""Calls that are limited in number, shared by turns between first attempts and further ones."""

import asyncio
from collections import deque
from typing import NamedTuple


class _Waiting(NamedTuple):
    granted: "asyncio.Future[int]"
    most: int


class Turns:
    """So many at once. While both lines wait, a free one goes to either by turns, and of several free ones
    each line gets its half: a flood of new requests cannot starve the retries, nor the other way round. A
    line that waits alone may have all of them.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lines: tuple[deque[_Waiting], deque[_Waiting]] = (deque(), deque())
        self._next = 0  # the line whose turn it is

    async def reserve(self, most: int, *, again: bool) -> int:
        """As many as may be had, at most `most`, at least one: waits for it."""
        waiting = _Waiting(asyncio.get_running_loop().create_future(), most)
        self._lines[again].append(waiting)
        self._grant()
        try:
            return await waiting.granted
        except asyncio.CancelledError:
            if not waiting.granted.cancelled():  # it was granted in the moment of the cancellation
                self.give_back(waiting.granted.result())
            raise

    def give_back(self, unused: int) -> None:
        self._free += unused
        self._grant()

    def _grant(self) -> None:
        while self._free > 0 and any(self._lines):
            turn = self._next if self._lines[self._next] else 1 - self._next
            waiting = self._lines[turn].popleft()
            if waiting.granted.done():  # whoever waited was cancelled
                continue
            share = (self._free + 1) // 2 if self._lines[1 - turn] else self._free
            room = min(waiting.most, share)
            self._free -= room
            self._next = 1 - turn
            waiting.granted.set_result(room)
