"""What is answered to requests that are on record already, and to those that have to wait."""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.postgres.rows import Known
from worker.steps.accepting import Accepting
from worker.values import Arrival, Duplicate, Route, Waiting

MINE, THEIRS = Route("mine", None, None), Route("theirs", None, None)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def arrival(number: int, route: Route = MINE, org: str = "o", fingerprint: bytes = b"f" * 32) -> Arrival:
    return Arrival(
        request_id=UUID(int=number),
        fingerprint=fingerprint,
        session_id="ts",
        route=route,
        org_id=org,
        body="{}",
    )


def row(number: int, *, finished: bool = False, route: Route = MINE, org: str | None = "o") -> Known:
    return Known(
        request_id=UUID(int=number), status="completed" if finished else "processing", attempt=1, org_id=org,
        fingerprint=b"f" * 32, session_id="ts", response=f"stored-{number}" if finished else None,
        error_code=None, route=route, worker=None, lease=5, received_at=NOW, published=True,
    )  # fmt: skip


class Record:
    """Stands for the record, which changes from look to look."""

    def __init__(self, *looks: Sequence[Known], new: Sequence[int] = (), moved: Sequence[int] = ()) -> None:
        self.looks = deque(looks)
        self.new, self.moved = {UUID(int=one) for one in new}, {UUID(int=one) for one in moved}
        self.asked: list[list[int]] = []
        self.redirected: list[tuple[int, str | None]] = []
        self.metrics = Metrics()

    def accepting(self, *, hides_others: bool = False) -> Accepting:
        nothing: Any = self
        return Accepting(nothing, nothing, SealKeys({}), self.metrics, hides_others=hides_others)

    async def accept(self, arrivals: Sequence[Arrival], lease: int) -> set[UUID]:
        assert lease == 5
        return {one.request_id for one in arrivals} & self.new

    async def put(self, waiting: Sequence[Waiting]) -> set[UUID]:
        return {one.arrival.request_id for one in waiting} & self.new

    async def known(self, request_ids: Sequence[UUID]) -> list[Known]:
        self.asked.append(sorted(one.int for one in request_ids))
        return [one for one in self.looks.popleft() if one.request_id in request_ids]

    async def redirect(self, routes: Sequence[tuple[UUID, Route]]) -> set[UUID]:
        self.redirected += [(request_id.int, route.reply_to) for request_id, route in routes]
        return {request_id for request_id, _ in routes} & self.moved

    def counted(self, kind: str) -> float:
        value: float = self.metrics.duplicates.labels(kind)._value.get()
        return value


def told(duplicates: Sequence[Duplicate]) -> list[tuple[int, str | None]]:
    return [(one.request_id.int, one.answer.body if one.answer else None) for one in duplicates]


async def test_new_ones_are_claimed_and_known_ones_answered_from_the_record() -> None:
    record = Record([row(2, finished=True), row(3)], new=[1])

    accepted = await record.accepting().accept([arrival(1), arrival(2), arrival(3)], 5)

    assert [(one.request_id.int, one.attempt) for one in accepted.claimed] == [(1, 1)]
    assert told(accepted.duplicates) == [(2, "stored-2"), (3, None)]
    assert (record.asked, record.redirected) == ([[2, 3]], [])
    assert [record.counted(kind) for kind in ("answered_again", "in_progress", "conflict")] == [1, 1, 0]
    all_new = Record(new=[1])
    assert (await all_new.accepting().accept([arrival(1)], 5)).duplicates == []


async def test_the_answer_goes_where_it_is_asked_for_now() -> None:
    record = Record([row(1, finished=True, route=THEIRS)])

    (duplicate,) = await record.accepting().known([arrival(1)])

    assert duplicate.answer is not None
    assert duplicate.answer.route == MINE


async def test_the_response_of_one_in_progress_goes_to_the_last_one_who_asked() -> None:
    record = Record([row(1), row(2, route=THEIRS)], moved=[1])

    duplicates = await record.accepting().known(
        [arrival(1, THEIRS), arrival(2, THEIRS), arrival(1, Route("last", None, None))]
    )

    assert told(duplicates) == [(1, None), (2, None), (1, None)]
    assert record.redirected == [(1, "last")]
    assert record.counted("in_progress") == 3


async def test_one_that_was_finished_in_that_moment_is_answered() -> None:
    record = Record([row(1), row(2)], [row(2, finished=True)], moved=[1])

    duplicates = await record.accepting().known([arrival(1, THEIRS), arrival(2, THEIRS)])

    assert told(duplicates) == [(1, None), (2, "stored-2")]
    assert record.asked == [[1, 2], [2]]


async def test_other_content_under_a_known_id_is_a_conflict_whatever_its_state() -> None:
    record = Record([row(1), row(2, finished=True)])

    duplicates = await record.accepting().known([arrival(n, fingerprint=b"g" * 32) for n in (1, 2)])

    assert [one.answer and one.answer.code for one in duplicates] == ["request_id_conflict"] * 2
    assert record.redirected == []


@pytest.mark.parametrize(
    ("hides", "org", "code"),
    [(True, "other", "not_allowed"), (True, "o", None), (True, None, None), (False, "other", None)],
)
async def test_an_organisation_is_told_nothing_of_another_one_s_where_that_is_hidden(
    hides: bool, org: str | None, code: str | None
) -> None:
    record = Record([row(1, finished=True, org=org)])
    with capture_logs() as events:
        (duplicate,) = await record.accepting(hides_others=hides).known([arrival(1)])

    assert duplicate.answer is not None
    assert duplicate.request_id == UUID(int=1)
    assert (duplicate.answer.code, duplicate.answer.route) == (code, MINE)
    assert ("stored-1" in duplicate.answer.body) is (code is None)
    assert ("request.not_allowed" in {event["event"] for event in events}) is (code is not None)


async def test_what_has_to_wait_is_put_in_line_and_known_ones_are_answered() -> None:
    record = Record([row(2, finished=True)], new=[1])

    duplicates = await record.accepting().put_in_line([Waiting(arrival(n), "paused") for n in (1, 2)])

    assert told(duplicates) == [(2, "stored-2")]
    assert record.metrics.put_in_line.labels("paused")._value.get() == 1
    all_new = Record(new=[1])
    assert await all_new.accepting().put_in_line([Waiting(arrival(1), "paused")]) == []
