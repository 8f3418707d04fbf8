"""Clocks for a call of a handler: the moments that are decided by are theirs."""

from datetime import UTC, datetime, timedelta

_SOME_MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    """Tells the time, and is set forward to a further attempt instead of being waited for."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, by: timedelta | float) -> None:
        """Set it forward, by a timedelta or by seconds."""
        self._ahead += by if isinstance(by, timedelta) else timedelta(seconds=by)


class ManualClock(Clock):
    """Stands still at a moment, and moves when it is set forward.

    >>> clock = ManualClock(datetime(2026, 1, 2, tzinfo=UTC))
    >>> clock.advance(90)
    >>> clock().isoformat()
    '2026-01-02T00:01:30+00:00'
    """

    def __init__(self, at: datetime = _SOME_MOMENT) -> None:
        super().__init__()
        if at.utcoffset() is None:
            raise ValueError(f"{at.isoformat()} has no time zone: give it one, as datetime.now(UTC) has")
        self._at = at.astimezone(UTC)

    def __call__(self) -> datetime:
        return self._at + self._ahead
