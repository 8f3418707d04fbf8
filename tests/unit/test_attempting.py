"""Requests that have ended their workers are tried again in small groups, the more often the smaller."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from schemas import FailureCode
from worker.errors import KilledItsReader, ReaderUnavailable, SealError
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.monitoring.tracing import Tracing
from worker.postgres.alarm import Alarm
from worker.postgres.rows import Claim, Held
from worker.steps.attempting import Attempting, Opened
from worker.steps.creating import BuiltInCreation
from worker.steps.pipeline import Settle
from worker.steps.slots import Line, Slots
from worker.values import Beginning, Failed, PutOff, Refusal, Route, Tried, Work


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


async def _ends_at_once(works: Sequence[Work], _lease: int, _slots: Slots, settle: Settle) -> None:
    await settle([one.request_id for one in works])


class Finished(Attempting):
    """Notes what is stored and answered."""

    def __init__(self) -> None:
        me: Any = self
        pipeline: Any = SimpleNamespace(work=_ends_at_once)
        super().__init__(
            store=me, leases=me, keys=SealKeys({}), pipeline=pipeline, creation=BuiltInCreation(),
            finishing=me, answering=me, max_attempts=3, reader=me, metrics=Metrics(), tracing=Tracing(),
        )  # fmt: skip
        self.stored: list[Any] = []
        self.answered: list[Any] = []
        self.claimed: set[UUID] = set()
        self.held_now: list[Held] = []
        self.asked_for_held = 0
        self.not_restored: Exception | None = None

    async def finish(self, verdicts: Any, lease: int) -> Any:
        assert lease == 7
        self.stored += verdicts
        return verdicts

    async def answer(self, answers: Any) -> None:
        self.answered += answers

    async def claim_again(self, _claims: Sequence[Claim], lease: int) -> set[UUID]:
        assert lease == 7
        return self.claimed

    async def restore(self, body: str, request_id: UUID) -> tuple[None, str]:
        if self.not_restored:
            raise self.not_restored
        return None, f"{len(body)} read apart for {request_id.int}"

    async def held(self, lease: int) -> list[Held]:
        assert lease == 7
        self.asked_for_held += 1
        return self.held_now


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


NOW = datetime.now(UTC)  # as the tests are collected: some run long after
DAY = timedelta(days=1)


def held(number: int, **fields: Any) -> Held:
    stored = Held(
        request_id=UUID(int=number), status="processing", attempt=1, org_id="org", user_id=None,
        session_id="ts", body=None, refusal=None, response=None, error_code=None, deadline_at=None,
        late=False, route=Route(None, None, None), lease=7, received_at=NOW, worker=UUID(int=9),
        tried=Tried(), attempt_over=False,
    )  # fmt: skip
    return stored._replace(**fields)


async def test_a_deadline_ends_a_stored_request_once_this_clock_or_that_of_postgres_has_passed_it() -> None:
    finished = Finished()
    rows = [
        held(1, deadline_at=NOW + DAY),
        held(2, deadline_at=NOW - DAY),
        held(3, deadline_at=NOW + DAY, late=True),  # this clock is slow
        held(4),
        held(5, deadline_at=NOW - DAY, refusal=Refusal(FailureCode.INVALID_REQUEST, "no name")),
    ]

    found = await finished.open(rows, 7, "recovered", lost=False, spent=True)

    assert [one.work.request_id.int for one in found] == [1, 4, 5]
    assert [(one.work.request_id.int, one.code) for one in finished.stored] == [
        (2, FailureCode.DEADLINE_EXCEEDED), (3, FailureCode.DEADLINE_EXCEEDED),
    ]  # fmt: skip
    assert finished.answered == finished.stored


@pytest.mark.parametrize("unreadable", [True, False])
@pytest.mark.parametrize(
    ("lost", "over", "told"), [(True, False, True), (True, True, False), (False, False, False)]
)
async def test_that_an_attempt_ended_with_its_worker_is_told_unless_its_reason_is_on_record(
    unreadable: bool, lost: bool, over: bool, told: bool
) -> None:
    finished = Finished()
    row = held(1, attempt_over=over, deadline_at=NOW - DAY)
    if unreadable:
        row = row._replace(body="no JSON", deadline_at=None)

    assert await finished.open([row], 7, "recovered", lost=lost, spent=True) == []

    (verdict,) = finished.stored
    assert isinstance(verdict, PutOff if unreadable else Failed)
    why = verdict.failure
    assert (why and (why.kind, why.worker)) == (("worker_lost", UUID(int=9)) if told else None)


LARGE = "[" * 40_000


@pytest.mark.parametrize(
    ("error", "ends", "reason"),
    [
        (KilledItsReader(), Failed, str(KilledItsReader())),
        (ReaderUnavailable("it is away"), PutOff, "it is away"),
        (SealError("no key opens it"), PutOff, "no key opens it"),
        (ValueError("a canary: what was sent"), PutOff, "this version cannot read it"),
    ],
)
async def test_one_that_kills_its_reader_ends_and_one_that_cannot_be_opened_now_waits(
    error: Exception, ends: type[Failed] | type[PutOff], reason: str
) -> None:
    finished = Finished()
    finished.not_restored = error

    assert await finished.open([held(1, body=LARGE)], 7, "recovered", lost=False, spent=True) == []

    (verdict,) = finished.stored
    assert isinstance(verdict, ends)
    assert verdict.work.request_id == UUID(int=1)
    assert reason in (verdict.reason if isinstance(verdict, PutOff) else verdict.response)


@pytest.mark.parametrize(
    ("spent", "over", "found"), [(True, False, True), (False, True, True), (False, False, False)]
)
async def test_an_attempt_whose_reason_is_on_record_is_spent(spent: bool, over: bool, found: bool) -> None:
    (one,) = await Finished().open([held(1, attempt_over=over)], 7, "recovered", lost=False, spent=spent)

    assert one.spent is found


async def test_the_next_ones_are_called_once_some_have_ended() -> None:
    finished, alarm = Finished(), Alarm()
    finished.claimed = {UUID(int=1)}
    with await finished._creation.reserve(1) as slots:
        assert await Attempting.work(finished, [opened(1, 0)], 7, slots, alarm) == 1

    await asyncio.wait_for(alarm.wait(60), 5)


async def test_a_large_one_is_read_apart_where_it_ends_no_worker() -> None:
    (found,) = await Finished().open([held(1, body=LARGE)], 7, "recovered", lost=False, spent=True)

    assert found.work.document == "40000 read apart for 1"


async def test_an_attempt_that_ended_with_its_worker_counts_for_the_next_one() -> None:
    finished = Finished()
    finished.claimed = {UUID(int=1), UUID(int=2)}

    works = await finished.begin([opened(1, 1, lost=True), opened(2, 1)], 7)

    assert [(work.attempt, work.tried.crashes) for work in works] == [(3, 2), (3, 1)]


async def test_what_its_former_holder_finished_in_that_moment_is_answered_and_nothing_else() -> None:
    """Three are to be claimed. One is, the second was finished meanwhile, and the third has a new holder."""
    finished = Finished()
    finished.claimed = {UUID(int=1)}
    finished.held_now = [
        held(2, response="{}", status="completed"), held(3), held(4, response="{}", status="completed"),
    ]  # fmt: skip

    works = await finished.begin([opened(number, 0) for number in (1, 2, 3)], 7)

    assert [work.request_id.int for work in works] == [1]
    assert [(answer.request_id.int, answer.since) for answer in finished.answered] == [
        (2, Beginning(NOW.timestamp(), "recovered"))
    ]
    finished.answered.clear()
    finished.claimed = {UUID(int=number) for number in (1, 2, 3)}
    await finished.begin([opened(number, 0) for number in (1, 2, 3)], 7)
    assert finished.asked_for_held == 1, "nothing is missing"
