"""Holds deliveries until they are taken, in a line for each organisation: each has its turn."""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain, count
from typing import Generic, TypeVar

_MOST_OWING = 100_000
_SHORTER = 8  # times shorter than a long line is a short one: among lines that are about equal is no flood
T = TypeVar("T")


class FairBuffer(Generic[T]):
    """Hands out deliveries in fair turns: who has a line gets its weight's share of them, however long the
    lines of others are. Within a line the order is that of arrival.
    """

    def __init__(self, weight_of: Callable[[str], float], long: int) -> None:
        self._weight_of = weight_of
        self._long = long
        self._short = max(1, long // _SHORTER)
        self._long_lines = 0  # those with more than `long` in them
        self._lines: dict[str, deque[T]] = {}
        self._turns: list[tuple[float, int, str]] = []  # a heap: when, in which order, whose
        self._now = 0.0  # the time of the last turn; a line takes 1 / weight of it for each delivery
        self._owed: dict[str, float] = {}  # when the next turn is of those that have no line now
        self._order = count()
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._lines.values())

    def heads(self) -> Iterator[T]:
        """Iterate over the first delivery of each line, which came before the others of it."""
        return (line[0] for line in self._lines.values())

    @property
    def passes_by(self) -> bool:
        """Return whether the next turn is that of a short line, while another one is long."""
        return self._long_lines > 0 and len(self._lines[self._turns[0][2]]) <= self._short

    def add(self, name: str, delivery: T) -> None:
        """Put a delivery at the end of this line. A new line has saved up nothing; it may still owe."""
        self._held += 1
        line = self._lines.get(name)
        if line is None:
            self._lines[name] = deque((delivery,))
            start = max(self._now, self._owed.pop(name, 0.0))
            heappush(self._turns, (start, next(self._order), name))
            return
        line.append(delivery)
        if len(line) == self._long + 1:
            self._long_lines += 1

    def next(self) -> T:
        """Take the delivery whose turn it is; there has to be one."""
        self._now, _, name = self._turns[0]
        line = self._lines[name]
        delivery = line.popleft()
        self._held -= 1
        if len(line) == self._long:
            self._long_lines -= 1
        later = self._now + 1 / self._weight_of(name)
        if line:
            heapreplace(self._turns, (later, next(self._order), name))
        else:
            del self._lines[name]
            heappop(self._turns)
            self._owe(name, later)
        return delivery

    def take_all(self) -> list[T]:
        """Take all of them."""
        everything = list(self)
        self._keep({})
        return everything

    def drop(self, lost: Callable[[T], bool]) -> None:
        """Forget the deliveries that are lost."""
        lines = {
            name: deque(delivery for delivery in line if not lost(delivery))
            for name, line in self._lines.items()
        }
        self._keep({name: line for name, line in lines.items() if line})

    def _owe(self, name: str, later: float) -> None:
        if not self._held or len(self._owed) >= _MOST_OWING:  # nobody waits, so nobody is wronged
            self._owed.clear()
        else:
            self._owed[name] = later

    def _keep(self, lines: dict[str, deque[T]]) -> None:
        self._lines = lines
        self._held = sum(map(len, lines.values()))
        self._long_lines = sum(len(line) > self._long for line in lines.values())
        self._turns = [turn for turn in self._turns if turn[2] in lines]
        heapify(self._turns)
