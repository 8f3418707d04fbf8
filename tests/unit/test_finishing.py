"""Verdicts are stored, their failures noted, and what somebody else finished meanwhile is answered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from schemas import FailureCode
from worker.monitoring.metrics import Metrics
from worker.postgres.rows import WORKER_LOST, Known
from worker.steps.finishing import Finishing
from worker.values import Beginning, Completed, Failed, Failure, PutOff, Route, Verdict, Work

MINE = Route("mine", None, None)
LEASE = 5
RAISED = Failure("raised", "the handler raised")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Record:
    """Stands for what is on record: it takes the verdicts that it is told to, and tells of the rest."""

    def __init__(self, *taken: int, known: Sequence[Known] = ()) -> None:
        self.taken, self.rows = set(taken), list(known)
        self.happened: list[tuple[str, list[int]]] = []
        self.metrics = Metrics()
        nothing: Any = self
        self.finishing = Finishing(nothing, nothing, self.metrics)

    def _note(self, what: str, ids: Sequence[UUID]) -> list[UUID]:
        self.happened.append((what, [one.int for one in ids]))
        return [one for one in ids if one.int in self.taken]

    async def finish(self, verdicts: Sequence[Verdict]) -> dict[UUID, Route]:
        return dict.fromkeys(self._note("finish", [one.work.request_id for one in verdicts]), MINE)

    async def known(self, request_ids: Sequence[UUID]) -> list[Known]:
        self._note("known", request_ids)
        return [row for row in self.rows if row.request_id in request_ids]

    async def note_attempts(self, failed: Sequence[Failed]) -> None:
        self._note("note", [one.work.request_id for one in failed])

    async def retry_later(self, retries: Sequence[PutOff]) -> set[UUID]:
        return set(self._note("put off", [one.work.request_id for one in retries]))


def work(number: int, attempt: int = 2) -> Work:
    return Work(
        request_id=UUID(int=number), attempt=attempt, session_id="ts", route=Route(None, None, None),
        since=Beginning(1.0, "direct"),
    )  # fmt: skip


def failed(number: int, failure: Failure | None = None) -> Failed:
    return Failed(work(number), FailureCode.REJECTED, f"body-{number}", failure)


def completed(number: int) -> Completed:
    nothing: Any = None
    return Completed(work(number), nothing, f"body-{number}")


def row(number: int, **changes: Any) -> Known:
    made = Known(
        request_id=UUID(int=number), status="failed", attempt=2, org_id="o", fingerprint=b"", session_id="ts",
        response="theirs", error_code="cancelled", route=MINE, worker=None, lease=LEASE, received_at=NOW,
        published=False,
    )  # fmt: skip
    return made._replace(**changes)


def bodies(answers: Sequence[Any]) -> list[tuple[int, str]]:
    return [(one.request_id.int, one.body) for one in answers]


async def test_what_is_stored_is_answered_where_the_record_says() -> None:
    record = Record(1, 2)

    answers = await record.finishing.finish([completed(1), failed(2)], LEASE, begun=3.0)

    assert [(one.status, one.code, one.body) for one in answers] == [
        ("completed", None, "body-1"), ("failed", "rejected", "body-2"),
    ]  # fmt: skip
    assert {(one.route, one.lease, one.since) for one in answers} == {(MINE, LEASE, Beginning(1.0, "direct"))}
    assert record.happened == [("finish", [1, 2])]


async def test_a_failure_that_was_seen_is_noted_before_and_one_that_was_lost_once_its_verdict_is_stored() -> (
    None
):
    record = Record(1, 2, 4)
    given = [failed(1, RAISED), failed(2, WORKER_LOST), failed(3, WORKER_LOST), failed(4)]

    await record.finishing.finish(given, LEASE)

    assert record.happened == [("note", [1]), ("finish", [1, 2, 3, 4]), ("note", [2]), ("known", [3])]
    none_lost = Record(1)
    await none_lost.finishing.finish([failed(1, WORKER_LOST), failed(2, WORKER_LOST)][1:], LEASE)
    assert none_lost.happened == [("finish", [2]), ("known", [2])]


@pytest.mark.parametrize(
    ("there", "body"),
    [
        (row(1, response="body-1", lease=9, attempt=9), "body-1"),  # a try whose reply was lost has stored it
        (row(1), "theirs"),  # somebody finished it while this worker held it
        (row(1, lease=9), None),
        (row(1, attempt=3), None),
        (row(1, response=None), None),
        (None, None),
    ],
)
async def test_what_did_not_take_its_verdict_is_answered_if_it_ended_in_this_worker_s_hands(
    there: Known | None, body: str | None
) -> None:
    record = Record(known=[there] if there else [])

    answers = await record.finishing.finish([completed(1)], LEASE)

    assert bodies(answers) == ([(1, body)] if body else [])
    lost = record.metrics.registry.get_sample_value("worker_lost_fences_total")
    assert lost == (0 if body else 1)


@pytest.mark.parametrize(
    ("there", "body"),
    [(row(1), "theirs"), (row(1, lease=9), None), (row(1, attempt=3), None), (row(1, response=None), None)],
)
async def test_what_cannot_be_put_off_any_more_is_answered_if_it_ended_in_this_worker_s_hands(
    there: Known, body: str | None
) -> None:
    record = Record(2, known=[there, row(2)])

    answers = await record.finishing.finish([PutOff(work(number), 1.0, "later") for number in (1, 2)], LEASE)

    assert bodies(answers) == ([(1, body)] if body else [])
    assert record.happened == [("put off", [1, 2]), ("known", [1])]
    assert record.metrics.registry.get_sample_value("worker_retries_total") == 1


async def test_some_are_put_off_and_others_stored_and_all_answers_come_back() -> None:
    record = Record(2, known=[row(1)])

    answers = await record.finishing.finish([PutOff(work(1), 1.0, "later"), completed(2)], LEASE)

    assert bodies(answers) == [(1, "theirs"), (2, "body-2")]


async def test_of_what_others_work_on_only_what_is_stored_is_answered() -> None:
    record = Record(1)

    answers = await record.finishing.finish_current([failed(1), failed(2)])

    assert [(one.request_id.int, one.lease) for one in answers] == [(1, None)]
    assert record.happened == [("finish", [1, 2])]


async def test_the_log_says_of_each_how_it_ended_how_long_it_waited_and_how_long_it_took() -> None:
    begun = time() - 100_000
    since = Beginning(begun - 2, "direct")
    first, second = completed(1), failed(2)
    given: list[Verdict] = [
        first._replace(work=work(1)._replace(since=since)),
        second._replace(work=work(2)._replace(since=None)),
    ]

    with capture_logs() as events:
        await Record(1, 2).finishing.finish(given, LEASE, begun)

    assert [(one["event"], one.get("code"), one["path"], one["waited_ms"]) for one in events] == [
        ("request.completed", None, "direct", pytest.approx(2000, abs=1)),
        ("request.failed", "rejected", None, None),
    ]
    assert 100_000_000 <= events[0]["took_ms"] == events[1]["took_ms"] < 100_060_000


async def test_the_log_says_what_is_tried_again_and_not_what_has_moved_on() -> None:
    with capture_logs() as events:
        await Record(2).finishing.finish([PutOff(work(number), 1.0, "later") for number in (1, 2)], LEASE)

    assert [(one["event"], one["request_id"], one["reason"]) for one in events] == [
        ("request.retry", str(UUID(int=2)), "later")
    ]
