"""A cancellation ends its request wherever it is, and both requesters learn how it ended."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from schemas import FailureCode
from worker.messages.admitting import NOT_ALLOWED
from worker.monitoring.metrics import Metrics
from worker.postgres.rows import ToCancel
from worker.steps.cancelling import Cancelling
from worker.values import Answer, Arrival, Beginning, Cancellation, Failed, Refusal, Route
from worker.whose import orgs_of_users

CODE = FailureCode.CANCELLED.value
THEIRS, MINE = Route("theirs", None, None), Route("mine", None, None)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def row(number: int, status: str = "processing", **changes: Any) -> ToCancel:
    made = ToCancel(
        request_id=UUID(int=number), status=status, attempt=3, org_id="o", session_id=f"ts_{number}",
        casefile_id=None, response=None, error_code=None, published=False, route=THEIRS, received_at=NOW,
    )  # fmt: skip
    return made._replace(**changes)


def ended(number: int, code: str | None = None, *, published: bool = False) -> ToCancel:
    return row(number, "failed", response=f"stored-{number}", error_code=code, published=published)


def wish(number: int, **changes: Any) -> Cancellation:
    return Cancellation(request_id=UUID(int=number), reason="a test", route=MINE)._replace(**changes)


class Others:
    """Stands for the record, which changes from look to look, and for what stores verdicts and answers."""

    def __init__(self, *looks: Sequence[ToCancel], begun: Sequence[int] = (), orgs: Any = None) -> None:
        self.looks = deque(looks)
        self.begun = begun
        self.of_orgs: dict[UUID, str | None] = {}
        self.asked_whose: list[int] = []
        self.pending: list[int] = []
        self.accepted: list[int] = []
        self.verdicts: list[Failed] = []
        self.refuses_once: set[int] = set()
        self.sent: list[tuple[bool, list[tuple[int, str, str | None]]]] = []
        nothing: Any = self
        self.cancelling = Cancelling(nothing, nothing, nothing, nothing, Metrics(), orgs)

    @contextmanager
    def take(self) -> Iterator[int]:
        yield 5

    async def to_cancel(self, request_ids: Sequence[UUID]) -> list[ToCancel]:
        return [one for one in self.looks.popleft() if one.request_id in request_ids]

    async def begin_pending(self, request_ids: Sequence[UUID]) -> None:
        self.pending += [one.int for one in request_ids]

    async def accept(self, arrivals: Sequence[Arrival], lease: int) -> set[UUID]:
        assert lease == 5
        self.accepted += [one.request_id.int for one in arrivals]
        return {UUID(int=number) for number in self.begun}

    async def orgs_of(self, request_ids: Sequence[UUID]) -> dict[UUID, str | None]:
        self.asked_whose += [one.int for one in request_ids]
        return self.of_orgs

    async def finish_current(self, verdicts: Sequence[Failed]) -> list[Answer]:
        self.verdicts += verdicts
        taken = [one for one in verdicts if one.work.request_id.int not in self.refuses_once]
        self.refuses_once = set()
        return [
            Answer(
                request_id=one.work.request_id, status="failed", code=CODE, body="cancelled",
                message_id=str(one.work.request_id), route=THEIRS,
            )
            for one in taken
        ]  # fmt: skip

    async def answer(self, answers: Sequence[Answer], *, copies: bool = False) -> list[bool]:
        if answers:
            self.sent.append(
                (copies, [(one.request_id.int, one.body, one.route.reply_to) for one in answers])
            )
        return [True] * len(answers)


async def test_one_that_is_worked_on_and_one_that_waits_end_and_both_sides_are_told() -> None:
    others = Others([row(1), row(2, "pending")])

    await others.cancelling.cancel([wish(1), wish(2, reason=None)])

    assert others.pending == [2]
    assert [(one.work.request_id.int, one.work.attempt) for one in others.verdicts] == [(1, 3), (2, 1)]
    assert [one.work.refusal and one.work.refusal.reason for one in others.verdicts] == [
        "cancelled: a test", "the request was cancelled",
    ]  # fmt: skip
    assert others.sent == [
        (False, [(1, "cancelled", "theirs"), (2, "cancelled", "theirs")]),
        (True, [(1, "cancelled", "mine"), (2, "cancelled", "mine")]),
    ]
    assert others.accepted == []


async def test_its_answer_is_timed_from_its_receipt_and_tells_whether_it_was_tried_again() -> None:
    others = Others([row(1, attempt=1), row(2, attempt=2), row(3, "pending", attempt=0)])

    await others.cancelling.cancel([wish(1), wish(2), wish(3)])

    assert [one.work.since for one in others.verdicts] == [
        Beginning(NOW.timestamp(), path) for path in ("direct", "retried", "direct")
    ]


async def test_one_that_is_finished_stays_as_it_is_and_who_cancels_it_learns_how() -> None:
    others = Others([ended(1), ended(2, CODE), ended(3, CODE, published=True)])
    with capture_logs() as events:
        await others.cancelling.cancel([wish(1), wish(2), wish(3)])

    assert others.verdicts == []
    assert others.sent == [
        (False, [(2, "stored-2", "theirs")]),  # the worker that cancelled it may have died before
        (True, [(1, "stored-1", "mine"), (2, "stored-2", "mine"), (3, "stored-3", "mine")]),
    ]
    assert [event["event"] for event in events] == ["cancel.too_late"]


async def test_one_that_is_not_known_yet_is_recorded_and_ends() -> None:
    others = Others([], [row(2)], begun=[1])

    await others.cancelling.cancel([wish(1), wish(2)])

    assert sorted(others.accepted) == [1, 2]
    assert [(one.work.request_id.int, one.work.attempt) for one in others.verdicts] == [(1, 1), (2, 3)]
    assert [body for copies, sent in others.sent if copies for _, body, _ in sent] == ["cancelled"] * 2


async def test_one_that_moved_on_meanwhile_is_looked_at_anew() -> None:
    others = Others([row(1), row(2)], [row(1, attempt=4)])
    others.refuses_once = {1}

    await others.cancelling.cancel([wish(1), wish(2)])

    assert [(one.work.request_id.int, one.work.attempt) for one in others.verdicts] == [
        (1, 3),
        (2, 3),
        (1, 4),
    ]
    assert not others.looks


async def test_who_cancels_its_own_gets_one_answer_and_who_waits_for_none_gets_none() -> None:
    others = Others([row(1), row(2)])

    await others.cancelling.cancel([wish(1, route=THEIRS), wish(2, route=Route(None, None, None))])

    assert others.sent == [(False, [(1, "cancelled", "theirs"), (2, "cancelled", "theirs")])]


async def test_of_several_for_one_id_the_first_counts_and_each_is_told() -> None:
    others = Others([row(1)])

    await others.cancelling.cancel([wish(1), wish(1, reason="again", route=Route("second", None, None))])

    assert [one.work.refusal and one.work.refusal.reason for one in others.verdicts] == ["cancelled: a test"]
    assert others.sent[1:] == [
        (True, [(1, "cancelled", "mine")]), (True, [(1, "cancelled", "second")]),
    ]  # fmt: skip


async def test_one_that_is_not_valid_changes_nothing_and_is_told() -> None:
    others = Others()

    await others.cancelling.cancel([wish(1, invalid=Refusal(FailureCode.INVALID_REQUEST, "wrong"))])

    ((copies, ((number, body, to),)),) = others.sent
    assert (copies, number, to) == (True, 1, "mine")
    assert '"wrong"' in body
    assert others.accepted == []


ORGS = orgs_of_users('{"a": "a", "b": "b", "all": "*"}')


@pytest.mark.parametrize("wrong", [None, Refusal(FailureCode.INVALID_REQUEST, "wrong")])
async def test_what_is_another_one_s_is_refused_as_what_nobody_knows(wrong: Refusal | None) -> None:
    others = Others([row(1), row(4)], orgs=ORGS)
    others.of_orgs = {UUID(int=1): "a", UUID(int=2): "a"}
    asked = [
        wish(1, sender="a"), wish(2, sender="b"), wish(3, sender="b"), wish(4, sender="all"),
        wish(5, sender="b", invalid=NOT_ALLOWED), wish(6, sender="b", invalid=wrong),
    ]  # fmt: skip
    with capture_logs() as events:
        await others.cancelling.cancel(asked)

    assert others.asked_whose == [1, 2, 3, 5, 6]
    assert [one.work.request_id.int for one in others.verdicts] == [1, 4]
    refused = [
        number for copies, sent in others.sent if copies for number, body, _ in sent if "not_allowed" in body
    ]
    assert refused == ([2, 3, 5] if wrong else [2, 3, 5, 6])
    assert len([event for event in events if event["event"] == "request.not_allowed"]) == len(refused)


async def test_where_nobody_has_to_be_asked_about_nobody_is() -> None:
    others = Others([row(1)], orgs=ORGS)

    await others.cancelling.cancel([wish(1, sender="all")])

    assert others.asked_whose == []
    assert [one.work.request_id.int for one in others.verdicts] == [1]
