"""The built-in rule and the handler's protocol turn claimed work into verdicts."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas import CreateSessionRequest, CreateSessionResponse, FailureCode
from worker.handlers import Context, Handler, Rejected, RetryLater
from worker.steps import creating
from worker.steps.creating import BuiltInCreation, HandlerCreation
from worker.steps.retry_rule import RetryRule
from worker.steps.verdicts import completed, exhausted
from worker.values import (
    Completed,
    Failed,
    Failure,
    PutOff,
    Refusal,
    Requested,
    Route,
    Tried,
    Verdict,
    Work,
)

ID = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")
RULE = RetryRule(max_attempts=3, base_seconds=1, cap_seconds=10, max_put_offs=3)


def work(payload: dict[str, Any] | None = None, **changes: Any) -> Work:
    payload = {} if payload is None else payload
    request = CreateSessionRequest.model_validate(
        {"request_id": str(ID), "org_id": "org-1", "operation": "create_session", "payload": payload}
    )
    made = Work(
        request_id=ID,
        attempt=1,
        session_id="ts_260102_abcdefghijklm",
        route=Route(None, None, None),
        org_id="org-1",
        document=json.dumps(payload),
        request=Requested.of(request),
    )
    return made._replace(**changes)


async def verdicts(creation: BuiltInCreation | HandlerCreation, *works: Work) -> list[Verdict]:
    with await creation.reserve(len(works)) as slots:
        assert slots.count == len(works)
        return [verdict async for group in creation.create(works, slots) for verdict in group]


async def verdict_of(act: Handler, one: Work) -> Verdict:
    (verdict,) = await verdicts(HandlerCreation(act, 10, 5, RULE), one)
    return verdict


def response_of(verdict: Verdict) -> CreateSessionResponse:
    assert isinstance(verdict, Completed | Failed)
    return CreateSessionResponse.model_validate_json(verdict.response)


async def nothing(_request: CreateSessionRequest, _context: Context) -> None:
    """A handler that adds nothing."""


def raising(error: Exception) -> Handler:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise error

    return act


async def test_the_built_in_rule_makes_a_session_of_each() -> None:
    (verdict,) = await verdicts(BuiltInCreation(), work({"name": "A", "casefile_id": "cf_251013_abc"}))

    assert isinstance(verdict, Completed)
    assert verdict.session.id == "ts_260102_abcdefghijklm"
    assert (verdict.session.status, verdict.session.expiration_seconds) == ("active", 86_400)
    response = response_of(verdict)
    assert (response.payload.session_id, response.payload.casefile_id) == (
        verdict.session.id,
        "cf_251013_abc",
    )
    assert datetime.fromisoformat(response.payload.created_at) == verdict.session.created_at
    assert response.metadata == {}


@pytest.mark.parametrize("creation", [BuiltInCreation(), HandlerCreation(nothing, 10, 5, RULE)])
async def test_refused_and_late_work_is_failed_without_a_session(
    creation: BuiltInCreation | HandlerCreation,
) -> None:
    errors = [{"field": "a", "reason": "b"}]
    refused = work(refusal=Refusal(FailureCode.INVALID_REQUEST, "why", errors), request=None, document=None)
    late = work(deadline_at=datetime.now(UTC) - timedelta(seconds=1))
    in_time = work(deadline_at=datetime.now(UTC) + timedelta(seconds=60))

    made = await verdicts(creation, refused, late, in_time)

    assert [type(verdict) for verdict in made] == [Failed, Failed, Completed]
    assert response_of(made[0]).metadata == {"code": "invalid_request", "errors": errors}
    assert response_of(made[0]).error == "why"
    assert response_of(made[0]).payload.session_id == "ts_260102_abcdefghijklm"
    assert response_of(made[1]).metadata == {"code": "deadline_exceeded"}


async def test_refusals_do_not_wait_for_slow_calls() -> None:
    go_on = asyncio.Event()

    async def slow(_request: CreateSessionRequest, _context: Context) -> None:
        await go_on.wait()

    creation = HandlerCreation(slow, 10, 5, RULE)
    works = [work(), work(refusal=Refusal(FailureCode.INVALID_REQUEST, "why"))]
    groups = creation.create(works, await creation.reserve(2))

    first = await anext(groups)
    assert [type(verdict) for verdict in first] == [Failed]
    go_on.set()
    assert [type(verdict) for verdict in await anext(groups)] == [Completed]


async def test_rejected_is_final_and_its_reason_is_cut() -> None:
    verdict = await verdict_of(raising(Rejected("no " * 1000)), work())

    assert isinstance(verdict, Failed)
    assert verdict.code is FailureCode.REJECTED
    assert len(response_of(verdict).error or "") == 500
    assert response_of(await verdict_of(raising(Rejected("")), work())).error == "rejected"


async def test_what_a_rejection_says_to_programs_is_in_the_metadata() -> None:
    told = Rejected("no seats left", code="no_seats", details={"seats": 0})
    odd = [Rejected("no", details={"a": object()}), Rejected("no", details={"a": "x" * (1 << 20)})]

    verdict = await verdict_of(raising(told), work())

    assert response_of(verdict).metadata == {
        "code": "rejected",
        "reason_code": "no_seats",
        "details": {"seats": 0},
    }
    assert [type(await verdict_of(raising(one), work())) for one in odd] == [PutOff, PutOff]
    for code in ("No seats", "", "7", "x" * 65):
        with pytest.raises(ValueError, match="1 to 64 of a-z"):
            Rejected("no", code=code)


@pytest.mark.parametrize(("after", "seconds"), [(2.5, 2.5), (timedelta(minutes=1), 60), (-5, 0)])
async def test_retry_later_waits_as_long_as_it_says(after: Any, seconds: float) -> None:
    verdict = await verdict_of(raising(RetryLater(after, "busy")), work())

    assert isinstance(verdict, PutOff)
    assert (verdict.delay_seconds, verdict.reason) == (seconds, "busy")


async def test_retry_at_once_is_at_once() -> None:
    for after in (0, timedelta(0)):
        verdict = await verdict_of(raising(RetryLater(after)), work())
        assert isinstance(verdict, PutOff)
        assert verdict.delay_seconds == 0


@pytest.mark.parametrize("error", [RetryLater(), KeyError("x"), ValueError("secret-value"), TimeoutError()])
async def test_without_a_time_the_delay_grows_with_the_attempt(error: Exception) -> None:
    for attempt, most in ((1, 1), (2, 2)):
        tried = Tried(errors=attempt - 1, put_offs=attempt - 1)
        verdict = await verdict_of(raising(error), work(attempt=attempt, tried=tried))
        assert isinstance(verdict, PutOff)
        assert 0 <= verdict.delay_seconds <= most
        assert "secret-value" not in verdict.reason


async def test_the_last_attempt_is_the_last() -> None:
    tried = Tried(errors=1, put_offs=2)
    verdict = await verdict_of(raising(RetryLater(1, "the switch is down")), work(attempt=4, tried=tried))

    assert isinstance(verdict, Failed)
    assert verdict.code is FailureCode.ATTEMPTS_EXHAUSTED
    assert response_of(verdict).error == (
        "no success in 4 attempts (1 failed, 3 put off by the handler); the last one: the switch is down"
    )
    assert verdict.failure is not None
    assert (verdict.failure.kind, verdict.failure.reason) == ("retry_later", "the switch is down")


async def test_a_retry_past_the_deadline_is_not_tried() -> None:
    async def slow(_request: CreateSessionRequest, _context: Context) -> None:
        await asyncio.Event().wait()

    verdict = await verdict_of(slow, work(deadline_at=datetime.now(UTC) + timedelta(seconds=0.05)))

    assert isinstance(verdict, Failed)
    assert verdict.code is FailureCode.DEADLINE_EXCEEDED


async def test_a_deadline_ends_a_call_however_near_it_is() -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        await asyncio.sleep(0.4)

    for seconds in (0.05, 0.001):
        verdict = await verdict_of(act, work(deadline_at=datetime.now(UTC) + timedelta(seconds=seconds)))
        assert isinstance(verdict, Failed)
        assert verdict.code is FailureCode.DEADLINE_EXCEEDED


async def test_a_handler_s_result_that_is_no_json_is_a_failed_attempt() -> None:
    async def odd(_request: CreateSessionRequest, _context: Context) -> dict[str, Any]:
        return {"a": object()}

    assert isinstance(await verdict_of(odd, work()), PutOff)


async def test_a_time_out_of_the_handler_s_own_is_an_error_of_it() -> None:
    own = await verdict_of(raising(TimeoutError("mine")), work())

    assert isinstance(own, PutOff)
    assert own.failure is not None
    assert (own.failure.kind, own.failure.error_type) == ("raised", "TimeoutError")


async def test_a_handler_that_cancels_its_own_call_has_failed_and_ends_no_other() -> None:
    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.payload.name == "gives up":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)

    creation = HandlerCreation(act, 2, 5, RULE)
    ends = {type(one): one for one in await verdicts(creation, work({"name": "gives up"}), work())}

    assert ends.keys() == {PutOff, Completed}
    gave_up = ends[PutOff]
    assert isinstance(gave_up, PutOff)
    assert gave_up.reason == "the handler raised CancelledError"
    assert (await creation.reserve(2)).count == 2


async def test_slots_are_what_is_free_and_come_back_after_each_call_and_with_the_end_of_a_batch() -> None:
    creation = HandlerCreation(nothing, 3, 5, RULE)

    first, second = await creation.reserve(2), await creation.reserve(2)
    assert (first.count, second.count) == (2, 1)
    waiting = asyncio.create_task(creation.reserve(5))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.01)
    refused = work(refusal=Refusal(FailureCode.INVALID_REQUEST, "why"))
    made = [verdict async for group in creation.create([work(), refused], first) for verdict in group]

    assert len(made) == 2
    assert first.count == 0
    third = await asyncio.wait_for(waiting, 60)
    with second, pytest.raises(RuntimeError), third:
        raise RuntimeError
    assert (await creation.reserve(10)).count == 3


def test_an_exhausted_request_says_how_often_it_was_tried() -> None:
    def error(tried: Tried, reason: str = "") -> str:
        return (
            response_of(exhausted(work(attempt=5), Failure("raised", reason), tried, datetime.now(UTC))).error
            or ""
        )

    assert error(Tried(errors=5)) == "no success in 5 attempts"
    assert error(Tried(put_offs=5), "busy") == (
        "no success in 5 attempts (5 put off by the handler); the last one: busy"
    )
    assert (
        error(Tried(errors=2, crashes=3)) == "no success in 5 attempts (2 failed, 3 ended with their worker)"
    )
    assert len(error(Tried(errors=5), "x" * 1000)) == 500


@pytest.mark.parametrize("payload", [{}, {"casefile_id": "cf_261126_a1"}])
def test_a_response_with_nothing_more_to_say_is_written_as_its_model_is(payload: dict[str, Any]) -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)  # no fraction of a second

    written = completed(work(payload), now, {}).response

    assert written == CreateSessionResponse.model_validate_json(written).model_dump_json()
    said = json.loads(written)
    assert (said["request_id"], said["status"], said["error"], said["metadata"]) == (
        str(ID), "completed", None, {},
    )  # fmt: skip
    assert said["payload"] == {
        "session_id": "ts_260102_abcdefghijklm", "created_at": "2026-11-26T00:00:00.000000+00:00",
        "casefile_id": payload.get("casefile_id"),
    }  # fmt: skip
    assert said["timestamp"] == said["payload"]["created_at"]


async def test_a_request_that_was_read_elsewhere_is_unpacked_for_the_handler() -> None:
    requested = work().request
    assert requested is not None

    assert await creating._whole(requested.packed()) == requested.given
    assert await creating._whole(requested) is requested.given


def test_a_response_may_be_as_long_as_that_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = completed(work(), datetime.now(UTC), {})
    monkeypatch.setattr(creating, "_LONGEST_RESPONSE", len(made.response))
    assert creating._sendable(made) is made
    with pytest.raises(creating._TooMuchReturned):
        creating._sendable(made._replace(response=made.response + " "))
