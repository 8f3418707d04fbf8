"""Notes how much the handler strains its worker: whether calls hold up the event loop, or use all slots."""

import asyncio
from typing import NamedTuple

from worker.monitoring.blocking import LATE_SECONDS, Blocking
from worker.monitoring.handler_calls import HandlerCalls

_NEARLY_ALWAYS = 0.9  # between two calls a slot is free for a moment


class Load(NamedTuple):
    """What a worker tells with a beat."""

    running: int  # calls of the handler, now
    limit: int  # calls that may run at once
    full_seconds: float  # for so long nearly all looks have found as many running as may
    blocked: float  # the share of the time since the last beat in which calls held up the event loop
    worst_lag: float  # seconds, of that time
    place: str | None = None  # of the handler, that held it up the longest; None: it is not known


class Strain:
    """Is looked at four times a second, and told of with each beat."""

    def __init__(self, calls: HandlerCalls, limit: int, blocking: Blocking | None = None) -> None:
        """`limit`: how many calls may run at once; 0 without a handler."""
        self._calls = calls
        self._limit = limit
        self._blocking = blocking
        self._clock = asyncio.get_running_loop().time
        self._full_since: float | None = None
        self._begun = 0  # calls, until the last look
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._since = self._clock()
        self._looks = self._full = 0
        self._blocked = self._worst_lag = 0.0

    def look(self, lag: float) -> None:
        """Take note of how late the event loop is. A call that held it up may be over when this is known."""
        self._looks += 1
        self._full += self._calls.running_now >= self._limit
        if lag > LATE_SECONDS and (self._calls.running_now or self._calls.begun > self._begun):
            self._blocked += lag
            self._worst_lag = max(self._worst_lag, lag)
        self._begun = self._calls.begun

    def tell(self) -> Load | None:
        """Tell of the time since the last beat; None without a handler."""
        if not self._limit:
            return None
        now = self._clock()
        block = self._blocking.take_worst() if self._blocking else None
        if not self._full or self._full < _NEARLY_ALWAYS * self._looks:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = self._since
        load = Load(
            running=self._calls.running_now,
            limit=self._limit,
            full_seconds=0.0 if self._full_since is None else now - self._full_since,
            blocked=self._blocked / max(now - self._since, LATE_SECONDS),
            worst_lag=self._worst_lag,
            place=block.place if block else None,
        )
        self._begin_anew()
        return load
