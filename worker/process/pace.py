"""Shares the loop among the large batches: they go on one after the other, and all else between them."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from weakref import WeakKeyDictionary

_SLICE_SECONDS = 0.0005  # whoever comes back from the network waits for so much


class _Turns:
    """Lets one of those that rest go on each time that the loop goes round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._resting: deque[asyncio.Future[None]] = deque()
        self._going_round = False

    async def wait(self) -> None:
        mine = self._loop.create_future()
        self._resting.append(mine)
        if not self._going_round:
            self._going_round = True
            self._loop.call_soon(self._next)
        await mine

    def _next(self) -> None:
        while self._resting:
            if not (first := self._resting.popleft()).done():  # else it was cancelled
                first.set_result(None)
                self._loop.call_soon(self._next)
                return
        self._going_round = False


class _Pace:
    """Knows how long a batch has held the loop."""

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns
        self._since = perf_counter()

    async def rest(self) -> None:
        if perf_counter() - self._since > _SLICE_SECONDS:
            await self._turns.wait()
            self._since = perf_counter()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()
_mine: ContextVar[_Pace | None] = ContextVar("pace", default=None)


@contextmanager
def paced() -> Iterator[None]:
    """Let the work in here rest between its pieces."""
    loop = asyncio.get_running_loop()
    if (turns := _turns.get(loop)) is None:
        turns = _turns[loop] = _Turns(loop)
    before = _mine.set(_Pace(turns))
    try:
        yield
    finally:
        _mine.reset(before)


async def rest() -> None:
    """Let the others go first, if this work is paced and its last rest is long ago."""
    if (pace := _mine.get()) is not None:
        await pace.rest()
