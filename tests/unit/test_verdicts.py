"""Answers that are on no record say so, and a deadline is over at its moment."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas import CreateSessionResponse, FailureCode, RequestStatus, session_id
from worker.postgres.rows import Known
from worker.steps import accepting
from worker.steps.cancelling import _rounds
from worker.steps.verdicts import too_late, unrecorded_answer
from worker.values import Answer, Arrival, Refusal, Requested, Route, Unrecorded, Work

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = UUID(int=1)
MINE = Route("mine", "c", None)


def test_an_answer_that_is_on_no_record_says_so_and_names_an_id_that_stands_for_nothing() -> None:
    told = Unrecorded(ID, Refusal(FailureCode.SECRETS_REFUSED, "no key"), MINE)

    answer, another = unrecorded_answer(told), unrecorded_answer(told)

    said = CreateSessionResponse.model_validate_json(answer.body)
    assert (said.request_id, said.status, said.error) == (ID, RequestStatus.FAILED, "no key")
    assert said.metadata == {"code": "secrets_refused", "recorded": False}
    assert (answer.request_id, answer.status, answer.code) == (ID, "failed", "secrets_refused")
    assert (answer.route, answer.on_record) == (MINE, False)
    assert answer.message_id.startswith(f"{ID}.")
    assert answer.message_id != another.message_id
    assert said.payload.session_id != session_id(ID, datetime.now(UTC).date())


def test_a_deadline_is_over_at_its_moment() -> None:
    work = Work(request_id=ID, attempt=1, session_id="ts", route=MINE, deadline_at=NOW)

    assert too_late(work, NOW - timedelta(microseconds=1)) is None
    late = too_late(work, NOW)
    assert late is not None
    assert late.code is FailureCode.DEADLINE_EXCEEDED
    assert too_late(work._replace(deadline_at=None), NOW) is None


@pytest.mark.parametrize("casefile_id", [None, "cf_260102_abc"])
def test_a_conflict_names_the_case_file_and_an_id_that_stands_for_nothing(casefile_id: str | None) -> None:
    requested = Requested(
        name=None, status=None, casefile_id=casefile_id, assistant_id=None, phone_number_id=None,
        expiration_seconds=None, timestamp=None, ignores_assistant=False, given=b"",
    )  # fmt: skip
    arrival = Arrival(
        request_id=ID, fingerprint=bytes(range(32)), session_id="ts_1", route=MINE, request=requested
    )
    row = Known(
        request_id=ID, status="completed", attempt=1, org_id="o", fingerprint=b"other", session_id="ts_2",
        response="{}", error_code=None, route=MINE, worker=None, lease=None, received_at=NOW, published=True,
    )  # fmt: skip

    answer = accepting._conflict(arrival, row)

    said = CreateSessionResponse.model_validate_json(answer.body)
    assert said.payload.casefile_id == casefile_id
    assert said.payload.session_id not in {"ts_1", "ts_2", session_id(ID, NOW.date())}
    assert answer.message_id == f"{ID}.{bytes(range(16, 32)).hex()}"
    assert accepting._conflict(arrival._replace(request=None), row).code == "request_id_conflict"


def test_copies_go_out_in_rounds_that_have_each_message_id_once() -> None:
    def copy(message_id: str, to: str) -> Answer:
        given: Any = {"status": "failed", "code": None, "body": "{}"}
        return Answer(request_id=ID, message_id=message_id, route=Route(to, None, None), **given)

    copies = [copy("a", "1"), copy("b", "1"), copy("a", "2"), copy("c", "1"), copy("a", "3"), copy("b", "2")]

    assert _rounds(copies) == [
        [copy("a", "1"), copy("b", "1"), copy("c", "1")],
        [copy("a", "2"), copy("b", "2")],
        [copy("a", "3")],
    ]
    assert _rounds([]) == []
