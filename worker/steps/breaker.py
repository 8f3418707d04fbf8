"""Takes one request at a time while the handler fails: what it calls may be away, and fails all of them."""

import asyncio
from collections import deque
from itertools import takewhile
from typing import NamedTuple
from uuid import UUID

import structlog

from worker.backoff import delays
from worker.monitoring.handler_calls import HandlerCalls
from worker.steps.slots import Turns

NEVER = 1.0  # the share above which no share is
LAST_CALLS = 20  # enough that a handler with one failure in ten is left alone, few enough to notice in time
LEAST_REQUESTS = 5  # fewer may be wrong in themselves
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0  # so much later than what is called a request may begin, when all is well again
_log = structlog.get_logger(__name__)


class _Call(NamedTuple):
    request_id: UUID
    failed: bool


class Opened(NamedTuple):
    """What the breaker opened for: so many failures of so many calls."""

    failures: int
    of: int


class Judge:
    """Judges the handler by its last calls. It knows neither a clock nor a loop.

    closed → open: more than the share of the last calls failed, of enough requests
    open → closed: a call was answered
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._last: deque[_Call] = deque(maxlen=LAST_CALLS)
        self.open = False

    @property
    def blames_handler(self) -> bool:
        """Return whether a failure now says more of the handler than of its request: others fail too."""
        others = {call.request_id for call in takewhile(lambda call: call.failed, reversed(self._last))}
        return self.open or (self.share < NEVER and len(others) > 1)

    def failed(self, request_id: UUID) -> Opened | None:
        """Note a call that raised or took too long. Returns why the breaker opens, if it does."""
        if self.open:
            return None
        self._last.append(_Call(request_id, failed=True))
        failures = [call.request_id for call in self._last if call.failed]
        opened = Opened(len(failures), len(self._last))
        if opened.failures <= self.share * opened.of or len(set(failures)) < LEAST_REQUESTS:
            return None
        self.open = True
        self._last.clear()
        return opened

    def put_off(self, request_id: UUID) -> None:
        """Note a call that asked for another try. It is no failure, and no success that closes either."""
        if not self.open:
            self._last.append(_Call(request_id, failed=False))

    def answered(self, request_id: UUID) -> bool:
        """Note a call with an answer, be it a rejection. Returns whether the breaker closes."""
        closes, self.open = self.open, False
        self._last.append(_Call(request_id, failed=False))
        return closes


class Breaker:
    """Opens and closes for one worker: it sets how many calls may run, and tells of it.

    After each failure while it is open there is a pause, which grows: what has just come back is not met by
    a storm. A call that succeeds ends it at once, be it one that was running when the breaker opened.
    """

    def __init__(
        self, share: float, turns: Turns, concurrency: int, timeout_seconds: float, calls: HandlerCalls
    ) -> None:
        self._judge = Judge(share)
        self._turns = turns
        self._concurrency = concurrency
        self._longest_pause = min(_LONGEST_PAUSE_SECONDS, timeout_seconds)
        self._calls = calls
        self._opened_at = 0.0
        self._pauses = delays(_FIRST_PAUSE_SECONDS, self._longest_pause)
        self._pause: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        return self._judge.open

    @property
    def blames_handler(self) -> bool:
        return self._judge.blames_handler

    def failed(self, request_id: UUID, error_type: str | None) -> None:
        if opened := self._judge.failed(request_id):
            self._open(opened, error_type)
        if self.open and self._pause is None:
            self._turns.resize(0)
            self._pause = asyncio.get_running_loop().call_later(next(self._pauses), self._take_one)

    def put_off(self, request_id: UUID) -> None:
        self._judge.put_off(request_id)

    def answered(self, request_id: UUID) -> None:
        if self._judge.answered(request_id):
            self._close()

    def _open(self, opened: Opened, error_type: str | None) -> None:
        self._opened_at = asyncio.get_running_loop().time()
        self._pauses = delays(_FIRST_PAUSE_SECONDS, self._longest_pause)
        self._calls.breaker_open.set(1)
        self._calls.breaker_opened.inc()
        _log.warning(
            "breaker.opened", failures=opened.failures, of=opened.of, share=self._judge.share,
            error=error_type, consequence="one request at a time until one succeeds",
        )  # fmt: skip

    def _take_one(self) -> None:
        self._pause = None
        self._turns.resize(1)

    def _close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._turns.resize(self._concurrency)
        self._calls.breaker_open.set(0)
        open_seconds = asyncio.get_running_loop().time() - self._opened_at
        _log.info("breaker.closed", open_seconds=round(open_seconds, 3))
