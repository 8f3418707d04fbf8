"""`call` gives a handler what a worker gives it, and tells what a requester would get."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import CreateSessionRequest, FailureCode, RequestStatus
from worker.errors import LifespanFailed, SettingsError
from worker.handlers import Context, Rejected, RetryLater, handler
from worker.testing import (
    Answered,
    Clock,
    DeadLetter,
    ManualClock,
    NoResponse,
    Told,
    TriedAgain,
    call,
    example_request,
)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
SECRET = "Bearer not-to-be-seen"
seen: list[tuple[CreateSessionRequest, Context]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


async def note(request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
    """Returns something of what it was given, all of which a test finds in `seen`."""
    seen.append((request, context))
    return {"attempt": context.attempt}


async def breaks(request: CreateSessionRequest, _context: Context) -> None:
    raise KeyError(request.payload.name)


@pytest.mark.parametrize("attempt", [1, 3])
async def test_the_handler_gets_what_a_worker_gives_and_the_response_is_the_requester_s(attempt: int) -> None:
    """From the second attempt on the request comes from its stored body, where its secrets are sealed."""
    server = {"url": "https://example.com/hook", "headers": {"authorization": SECRET}}
    asked = example_request(payload={"name": "Blue", "assistant": {"server": server}}, user_id="user-7")
    deadline = datetime.now(UTC) + timedelta(minutes=1)

    outcome = await call(note, asked, attempt=attempt, deadline=deadline, traceparent=TRACE, state="open")

    assert isinstance(outcome, Answered)
    ((request, context),) = seen
    assert request.model_dump(mode="json", exclude_unset=True) == asked
    assert (context.attempt, context.deadline_at, context.traceparent) == (attempt, deadline, TRACE)
    assert (context.state, context.session_id) == ("open", outcome.response.payload.session_id)
    assert outcome.response.model_dump(mode="json") == json.loads(outcome.body)
    assert (outcome.response.status, outcome.code) == (RequestStatus.COMPLETED, None)
    assert outcome.response.metadata == {"attempt": attempt}
    assert SECRET not in outcome.body


async def test_without_a_request_it_is_the_example_and_a_model_will_do() -> None:
    await call(note)
    await call(note, CreateSessionRequest.model_validate(example_request(org_id="org-7")))
    await call("support.handlers:harmless")

    assert [request.org_id for request, _ in seen] == ["org-1", "org-7"]
    assert seen[0][0].payload.name == "Support chat"
    with pytest.raises(SettingsError, match="cannot be called with"):
        await call("support.handlers:takes_nothing")


async def test_what_no_handler_is_called_for_is_answered_as_a_worker_does() -> None:
    wrong = await call(note, example_request(payload={"name": 17}))
    late = await call(note, deadline=NOON - timedelta(seconds=1), clock=ManualClock(NOON))
    nobody = await call(note, {"org_id": "org-1"})

    assert isinstance(wrong, Answered)
    assert wrong.code is FailureCode.INVALID_REQUEST
    assert [each["field"] for each in wrong.response.metadata["errors"]] == ["payload.name"]
    assert isinstance(late, Answered)
    assert late.code is FailureCode.DEADLINE_EXCEEDED
    assert isinstance(nobody, DeadLetter)
    with pytest.raises(NoResponse, match=r"becomes a dead letter, since .* request_id"):
        _ = nobody.response
    assert not seen


async def test_rejected_is_an_answer_and_retry_later_is_a_delay() -> None:
    async def refuses(_request: CreateSessionRequest, context: Context) -> None:
        context.progress(0.5, "looking")
        if context.attempt == 1:
            raise RetryLater(after=10, reason="busy")
        raise Rejected("no seats", code="no_seats")

    clock = ManualClock(NOON)
    first = await call(refuses, clock=clock)
    assert isinstance(first, TriedAgain)
    second = await first.again()

    assert (first.after, first.reason, first.attempt, first.error) == (timedelta(seconds=10), "busy", 1, None)
    assert first.progress == (Told(0.5, "looking"),)
    assert isinstance(second, Answered)
    assert (second.code, second.response.error, second.attempt) == (FailureCode.REJECTED, "no seats", 2)
    assert second.response.metadata["reason_code"] == "no_seats"
    assert second.response.timestamp == (NOON + timedelta(seconds=10)).isoformat(timespec="microseconds")


async def test_an_error_is_told_with_its_place_and_is_the_cause_of_a_missing_response() -> None:
    outcome = await call(breaks, attempt=2)

    assert isinstance(outcome, TriedAgain)
    assert timedelta(0) <= outcome.after <= timedelta(seconds=2)
    assert outcome.failure
    assert (outcome.failure.place or "").endswith(" breaks")
    with pytest.raises(
        NoResponse, match=r"attempt 2 .*raised KeyError, at .*breaks\).* tried again after"
    ) as none:
        _ = outcome.response
    assert none.value.__cause__ is outcome.error
    assert isinstance(outcome.error, KeyError)


async def test_a_request_is_given_up_by_the_rule_of_the_worker() -> None:
    """Five failures are not enough: two hours have to pass since the first one."""
    clock = ManualClock(NOON)
    outcome, attempts = await call(breaks, clock=clock), 1
    while isinstance(outcome, TriedAgain):
        outcome, attempts = await outcome.again(), attempts + 1

    assert isinstance(outcome, Answered)
    assert outcome.code is FailureCode.ATTEMPTS_EXHAUSTED
    assert outcome.attempt == attempts > 5
    assert timedelta(hours=2) <= clock() - NOON < timedelta(hours=2, minutes=5)
    soon = await call(breaks, attempt=2, max_attempts=2, retry_seconds=0)
    assert isinstance(soon, Answered)
    assert soon.code is FailureCode.ATTEMPTS_EXHAUSTED


async def test_a_deadline_ends_the_attempts() -> None:
    clock = ManualClock(NOON)

    outcome = await call(breaks, clock=clock, deadline=NOON + timedelta(seconds=0.01), retry_base_seconds=60)
    assert isinstance(outcome, TriedAgain)
    outcome = await outcome.again()
    while isinstance(outcome, TriedAgain):
        outcome = await outcome.again()

    assert isinstance(outcome, Answered)
    assert outcome.code is FailureCode.DEADLINE_EXCEEDED
    assert clock() == NOON + timedelta(seconds=0.01)


async def test_the_lifespan_is_open_around_each_call() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def open_rooms() -> AsyncIterator[str]:
        events.append("opened")
        yield "rooms"
        events.append("closed")

    @handler(lifespan=open_rooms)
    def plain(_request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
        events.append(context.state)
        return {}

    await call(plain)
    await call(plain, state="a stand-in")

    assert events == ["opened", "rooms", "closed", "a stand-in"]


async def test_a_lifespan_that_fails_fails_the_test() -> None:
    def connect() -> None:
        raise OSError("nobody there")

    @asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        connect()
        yield

    @handler(lifespan=fails)
    async def create(request: CreateSessionRequest, context: Context) -> None:
        await note(request, context)

    with pytest.raises(LifespanFailed, match="nobody there"):
        await call(create)
    assert not seen


async def test_settings_are_those_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORKER_MAX_ATTEMPTS", "1"), ("WORKER_RETRY_SECONDS", "0")):
        monkeypatch.setenv(name, value)
    assert isinstance(await call(breaks, attempt=5), TriedAgain)

    async def too_slow(_request: CreateSessionRequest, context: Context) -> None:
        await context.state.wait()

    outcome = await call(too_slow, state=asyncio.Event(), handler_timeout_seconds=0.001)

    assert isinstance(outcome, TriedAgain)
    assert outcome.failure
    assert outcome.failure.kind == "timeout"
    with pytest.raises(TypeError, match="handler_timeout: a worker has no such setting"):
        await call(note, handler_timeout=1)
    with pytest.raises(ValueError, match="greater_than"):
        await call(note, handler_timeout_seconds=0)


def test_a_clock_runs_or_stands_still() -> None:
    running, standing = Clock(), ManualClock(NOON)
    running.advance(timedelta(days=1))
    standing.advance(90)

    assert running() - datetime.now(UTC) > timedelta(hours=23)
    assert standing() == NOON + timedelta(seconds=90)
    with pytest.raises(ValueError, match="no time zone"):
        ManualClock(datetime(2026, 1, 2))  # noqa: DTZ001 — that is what is refused


def test_the_plugin_needs_pytest_alone_and_the_rest_says_what_it_needs() -> None:
    """pytest loads the plugin wherever the package is installed, be it without any extra."""
    not_there = ("aio_pika", "asyncpg", "cryptography", "prometheus_client", "pydantic_settings", "structlog")
    code = (
        f"import sys; sys.modules |= dict.fromkeys({not_there}); import worker.pytest_plugin\n"
        "try:\n    import worker.testing\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603

    assert re.fullmatch(
        r"session_worker\.testing needs \w+: pip install 'session-worker\[testing\]'\n", done.stdout
    )
