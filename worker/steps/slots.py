"""Slots for calls of the handler: limited in number, shared by turns between those who ask for them."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Self


class Line(IntEnum):
    """The lines that ask for slots."""

    FIRST = 0  # first attempts, from the broker
    WAITED = 1  # first attempts, from the lines in Postgres
    AGAIN = 2  # retries that are due
    TAKEN_OVER = 3  # requests that another worker held


class Slots:
    """Holds the slots that a batch has reserved. Those that are left at its end go back."""

    def __init__(self, count: int, give_back: Callable[[int], None]) -> None:
        self.count = count
        self._give_back = give_back

    def keep(self, count: int) -> None:
        """Give back all but so many."""
        unused, self.count = self.count - count, count
        self._give_back(unused)

    def take(self) -> None:
        """Hand one to a call, which gives it back itself when it has ended."""
        self.count -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep(0)


def unlimited(count: int) -> Slots:
    """Make slots for work that calls no handler."""
    return Slots(count, lambda _unused: None)


class _Waiting(NamedTuple):
    granted: "asyncio.Future[int]"
    most: int


class Turns:
    """Shares a limited number of slots. Each line in which somebody waits gets an equal share of the slots
    that come free: a flood of new requests cannot starve the retries, nor the other way round. A line that
    waits alone may have all of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit  # below zero while more are out than a lower limit allows
        self._lines: list[deque[_Waiting]] = [deque() for _ in Line]
        self._next = 0  # the line whose turn it is

    async def reserve(self, most: int, line: Line) -> int:
        """Wait for slots: at least one, and as many as are free, at most `most`."""
        waiting = _Waiting(asyncio.get_running_loop().create_future(), most)
        self._lines[line].append(waiting)
        self._grant()
        try:
            return await waiting.granted
        except asyncio.CancelledError:
            if not waiting.granted.cancelled():  # it was granted in the moment of the cancellation
                self.give_back(waiting.granted.result())
            raise

    def reserve_now(self, most: int) -> int:
        """Take the slots that are free and that nobody waits for, at most `most`; perhaps none."""
        room = 0 if self._in_turn() else max(0, min(most, self._free))
        self._free -= room
        return room

    def give_back(self, unused: int) -> None:
        """Make these free for whoever waits."""
        self._free += unused
        self._grant()

    def resize(self, limit: int) -> None:
        """Set how many may be out from now on. Those that are out already come back as ever."""
        self._free += limit - self._limit
        self._limit = limit
        self._grant()

    def _grant(self) -> None:
        while self._free > 0 and (lines := self._in_turn()):
            for others, line in zip(range(len(lines), 0, -1), lines, strict=True):
                if self._free <= 0:
                    return
                waiting = self._lines[line].popleft()
                room = min(waiting.most, -(-self._free // others))
                self._free -= room
                self._next = (line + 1) % len(self._lines)
                waiting.granted.set_result(room)

    def _in_turn(self) -> list[int]:
        """Return the lines in which somebody waits, first the one whose turn it is."""
        for line in self._lines:
            while line and line[0].granted.done():  # the one who waited was cancelled
                line.popleft()
        order = [(self._next + step) % len(self._lines) for step in range(len(self._lines))]
        return [index for index in order if self._lines[index]]
