"""Keeps what the calls of the handler that are under way have told of their progress."""

from contextlib import AbstractContextManager
from time import monotonic
from types import TracebackType
from typing import NamedTuple
from uuid import UUID

from worker.handlers import OnProgress
from worker.values import Work

LONG_SECONDS = 2.0  # of a call that takes no longer nothing is written


class LongCall(NamedTuple):
    """A call that takes long, and what it has told last."""

    request_id: UUID
    attempt: int
    seconds: float
    fraction: float | None
    text: str | None
    told_seconds: float | None  # ago; None: it has told nothing


class News(NamedTuple):
    """What is to be written: calls that are long by now or have told something, and those that have ended."""

    told: list[LongCall]
    ended: list[tuple[UUID, int]]


class _Call:
    """One call, while its context is open. It may tell from any thread."""

    def __init__(self, progress: "Progress", work: Work) -> None:
        self._progress = progress
        self.request_id = work.request_id
        self.attempt = work.attempt
        self.began = monotonic()
        self.last: tuple[float, float | None, str] | None = None
        self.is_news = True
        self.written = False

    def __enter__(self) -> OnProgress:
        self._progress.begun(self)
        return self._tell

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.ended(self)

    def _tell(self, fraction: float | None, text: str) -> None:
        self.last = monotonic(), fraction, text
        self.is_news = True


class Progress:
    """Knows the calls that are under way."""

    def __init__(self) -> None:
        self._calls: dict[_Call, None] = {}
        self._ended: list[tuple[UUID, int]] = []

    def of(self, work: Work) -> AbstractContextManager[OnProgress]:
        """Watch the call that is made inside this context. It yields what the call tells its progress to."""
        return _Call(self, work)

    def begun(self, call: _Call) -> None:
        self._calls[call] = None

    def ended(self, call: _Call) -> None:
        del self._calls[call]
        if call.written:
            self._ended.append((call.request_id, call.attempt))

    def news(self, most: int) -> News:
        """Return what is new since the last time, of so many calls at most: the others are the first ones
        next time.
        """
        now, told = monotonic(), dict[UUID, LongCall]()
        for call in list(self._calls):
            if not call.is_news or now - call.began < LONG_SECONDS:
                continue
            if len(told) == most:
                break
            del self._calls[call]
            self._calls[call] = None
            call.is_news, call.written = False, True
            last = call.last
            told[call.request_id] = LongCall(
                request_id=call.request_id,
                attempt=call.attempt,
                seconds=now - call.began,
                fraction=last[1] if last else None,
                text=last[2] if last else None,
                told_seconds=now - last[0] if last else None,
            )
        # What tells of a further call for a request takes the place of the row of the one before.
        ended = [one for one in self._ended if one[0] not in told]
        self._ended = []
        return News(list(told.values()), ended)
