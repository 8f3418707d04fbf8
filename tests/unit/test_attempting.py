"""Requests that have ended their workers are tried again in small groups, the more often the smaller."""

from typing import Any, cast
from uuid import UUID

from schemas import FailureCode
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


class Finished(Attempting):
    """Notes what is stored and answered."""

    def __init__(self) -> None:
        nothing: Any = None
        me: Any = self
        super().__init__(
            store=nothing, leases=nothing, keys=nothing, pipeline=nothing, creation=BuiltInCreation(),
            finishing=me, answering=me, max_attempts=3, reader=nothing, metrics=nothing, tracing=nothing,
        )  # fmt: skip
        self.stored: list[Any] = []
        self.answered: list[Any] = []

    async def finish(self, verdicts: Any, lease: int) -> Any:
        assert lease == 7
        self.stored += verdicts
        return verdicts

    async def answer(self, answers: Any) -> None:
        self.answered += answers


async def test_what_has_ended_its_worker_too_often_fails_and_the_rest_goes_on() -> None:
    worker = UUID(int=9)
    often = opened(1, 2, lost=True)._replace(holder=worker)
    rest = [opened(2, 1, lost=True), opened(3, 5)]
    finished = Finished()

    assert await finished.give_up([often, *rest], 7) == rest

    (verdict,) = finished.stored
    assert finished.answered == [verdict]
    assert (verdict.work, verdict.code) == (often.work, FailureCode.ATTEMPTS_EXHAUSTED)
    assert "3 ended with their worker" in verdict.response
    assert (verdict.failure.kind, verdict.failure.worker) == ("worker_lost", worker)
    assert await finished.give_up(rest, 7) == rest
    assert len(finished.stored) == 1


async def test_what_may_not_begin_now_is_put_back_and_what_was_lost_is_noted() -> None:
    worker = UUID(int=9)
    lost, other = opened(1, 1, lost=True)._replace(holder=worker), opened(2, 0)
    finished = Finished()

    await finished.put_back([], 7)
    assert finished.stored == []
    await finished.put_back([lost, other], 7)

    first, second = finished.stored
    assert [(one.work, one.delay_seconds) for one in (first, second)] == [(lost.work, 0), (other.work, 0)]
    assert first.failure is not None
    assert (first.failure.kind, first.failure.worker, second.failure) == ("worker_lost", worker, None)
    assert finished.answered == [first, second]
