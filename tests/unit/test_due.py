"""What a worker puts off, or in line, wakes it when it is due; what others have moved on does not."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from worker.postgres.alarm import Alarm
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.waiting_line import WaitingLine
from worker.rules import WaitReason
from worker.values import Arrival, PutOff, Route, Waiting, Work

NOBODY = Route(None, None, None)


class Moved:
    """Answers that these were put off, or are in line, and no others."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = [UUID(int=one) for one in ids]

    async def call(self, query: str, *_: object) -> list[dict[str, Any]]:
        if query == "wait":
            return [{"waiting": self.ids}]
        return [{"request_id": one} for one in self.ids]


def rings_in(alarm: Alarm, seconds: int | None) -> bool:
    """Return whether it is set to ring in so many seconds, but for those that this test has taken."""
    if alarm._at is None or seconds is None:
        return (alarm._at, seconds) == (None, None)
    return seconds - 10 < alarm._at - asyncio.get_running_loop().time() <= seconds


@pytest.mark.parametrize(("moved", "seconds"), [([1, 2], 40), ([1, 3], 20), ([1], 60), ([], None)])
async def test_the_first_that_is_put_off_is_taken_when_it_is_due(
    moved: list[int], seconds: int | None
) -> None:
    database: Any = Moved(moved)
    line = PutOffLine(database, Leases(database, UUID(int=9), 30))
    retries = [
        PutOff(Work(request_id=UUID(int=number), attempt=1, session_id="ts", route=NOBODY), delay, "later")
        for number, delay in ((1, 60.0), (2, 40.0), (3, 20.0))
    ]

    assert await line.retry_later(retries) == {UUID(int=one) for one in moved}

    assert rings_in(line.alarm, seconds)


@pytest.mark.parametrize(
    ("waiting", "seconds"),
    [
        ([(1, 60, "not_before"), (2, 40, "not_before"), (9, 20, "not_before")], 40),
        ([(1, 60, "not_before"), (2, None, "over_share")], 0),
        ([(1, -60, "over_share"), (2, 60, "not_before")], 0),
        ([(1, 60, "not_before"), (2, 20, "paused")], 60),
        ([(1, None, "paused"), (9, None, "rate")], None),
    ],
)
async def test_the_first_in_line_is_taken_when_it_may_begin(
    waiting: list[tuple[int, int | None, WaitReason]], seconds: int | None
) -> None:
    database: Any = Moved([1, 2])
    line = WaitingLine(database, Leases(database, UUID(int=9), 30))

    def one(number: int, begins_in: int | None, reason: WaitReason) -> Waiting:
        not_before = None if begins_in is None else datetime.now(UTC) + timedelta(seconds=begins_in)
        arrival = Arrival(
            request_id=UUID(int=number), fingerprint=b"", session_id="ts", route=NOBODY, not_before=not_before
        )
        return Waiting(arrival, reason)

    assert await line.put([one(*each) for each in waiting]) == {UUID(int=1), UUID(int=2)}

    assert rings_in(line.alarm, seconds)
