"""Requests that have ended their workers are tried again in small groups, the more often the smaller."""

from typing import Any, cast
from uuid import UUID

from worker.steps.attempting import Attempting, Opened
from worker.steps.creating import BuiltInCreation
from worker.steps.slots import Line, Slots
from worker.values import Route, Tried, Work


class Groups(Attempting):
    """Notes the groups instead of working on them."""

    def __init__(self) -> None:
        nothing: Any = None
        super().__init__(
            store=nothing, leases=nothing, keys=nothing, pipeline=nothing, creation=BuiltInCreation(),
            finishing=nothing, answering=nothing, max_attempts=3, reader=nothing, metrics=nothing,
            tracing=nothing,
        )  # fmt: skip
        self.begun: list[list[int]] = []

    async def work(self, opened: Any, lease: int, slots: Slots, done: Any = None) -> int:
        assert (lease, slots.count, done) == (7, len(opened), None)
        self.begun.append([one.crashes for one in cast("list[Opened]", opened)])
        return len(opened)


def opened(number: int, crashes: int, *, lost: bool = False) -> Opened:
    work = Work(
        request_id=UUID(int=number),
        attempt=1 + crashes,
        session_id="ts",
        route=Route(None, None, None),
        tried=Tried(crashes=crashes),
    )
    return Opened(work, holder=None, lost=lost, spent=True)


def test_an_attempt_that_ended_with_its_worker_just_now_counts() -> None:
    assert [opened(1, 2).crashes, opened(1, 2, lost=True).crashes] == [2, 3]


async def test_the_more_often_they_ended_their_worker_the_fewer_are_tried_together() -> None:
    counts = {0: 130, 1: 34, 2: 6, 3: 2, 9: 2}
    mixed = [opened(number, crashes) for crashes in (9, 2, 0, 3, 1) for number in range(counts[crashes])]
    groups = Groups()

    assert await groups.in_groups(mixed, 7, Line.TAKEN_OVER) == len(mixed)

    assert groups.begun == [
        [0] * 128, [0] * 2, [1] * 32, [1] * 2, [2] * 4, [2] * 2, [3], [3], [9], [9],
    ]  # fmt: skip
    assert await groups.in_groups([], 7, Line.TAKEN_OVER) == 0
