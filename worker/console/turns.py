"""Lets requests begin one after the other: however many come, the loop is there for what else runs in it."""

import asyncio
from collections import OrderedDict, deque


class Turns:
    """Gives so many turns in a second, and some at once after a quiet time; others wait in line.

    Each address has a line, and the lines take turns: a flood from one holds up no other. In a line the
    latest is first: in a flood those before it have mostly been given up.
    """

    def __init__(self, in_a_second: float, at_once: int, most_waiting: int) -> None:
        """`most_waiting`: of one address."""
        self._step = 1 / in_a_second
        self._most_ahead = (at_once - 1) * self._step
        self._most_waiting = most_waiting
        self._given_until = 0.0
        self._lines: OrderedDict[str, deque[asyncio.Future[bool]]] = OrderedDict()

    async def take(self, address: str) -> bool:
        """Wait for a turn. Returns False when too many of this address have come since."""
        loop = asyncio.get_running_loop()
        if not self._lines and self._take_now(loop.time()):
            return True
        line = self._lines.setdefault(address, deque())
        turn: asyncio.Future[bool] = loop.create_future()
        line.append(turn)
        if len(line) == len(self._lines) == 1:
            loop.call_later(self._step, self._give, loop)
        if len(line) > self._most_waiting:
            _end(line.popleft(), False)
        return await turn

    def _take_now(self, now: float) -> bool:
        if self._given_until - now > self._most_ahead:
            return False
        self._given_until = max(self._given_until, now) + self._step
        return True

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give one turn, to one address after the other. It makes up for no time in which the loop was busy:
        what else runs in it has its turn between any two.
        """
        address, line = self._lines.popitem(last=False)
        turn = line.pop()
        if line:
            self._lines[address] = line
        _end(turn, True)
        self._given_until = max(self._given_until, loop.time()) + self._step
        if self._lines:
            loop.call_later(self._step, self._give, loop)


def _end(turn: asyncio.Future[bool], given: bool) -> None:
    if not turn.done():  # whoever waited has gone
        turn.set_result(given)
