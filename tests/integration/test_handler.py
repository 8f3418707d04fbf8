"""A user's handler: what it returns, what it raises, and how many calls run at once, are respected."""

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    metric_becomes,
    response_in,
    row_of,
)

from schemas import CreateSessionRequest
from worker.errors import SettingsError
from worker.handlers import Context, Rejected, RetryLater
from worker.settings import Settings

QUICK = {"retry_base_seconds": 0.01, "retry_cap_seconds": 0.02}


async def test_what_a_handler_returns_is_added_to_the_metadata(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    seen: list[tuple[CreateSessionRequest, Context]] = []

    async def act(request: CreateSessionRequest, context: Context) -> dict[str, Any]:
        seen.append((request, context))
        return {"room": "blue", "seats": [1, 2]}

    await new_worker(handler=steer(act))
    request = good_request(None, name="Call", assistant_id="a-1", assistant={"name": "Inline"})

    response = await desk.ask(request)

    assert response.status == "completed"
    assert response.metadata == {
        "ignored": ["assistant"],
        "ignored_reason": "assistant_id was given and wins",
        "room": "blue",
        "seats": [1, 2],
    }
    assert len(seen) == 1
    assert str(seen[0][0].request_id) == request["request_id"]
    assert seen[0][0].payload.name == "Call"
    assert seen[0][1] == Context(response.payload.session_id, 1, None)
    assert await db.fetchval("select id from sessions") == response.payload.session_id


async def test_rejected_fails_the_request_with_the_handler_s_reason(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise Rejected("this organisation has no seats left")

    await new_worker(handler=steer(act))
    request = good_request()

    response = await desk.ask(request)

    assert response.metadata == {"code": "rejected"}
    assert response.error == "this organisation has no seats left"
    assert (await row_of(db, request["request_id"]))["attempt"] == 1
    assert await db.fetchval("select count(*) from sessions") == 0


async def test_retry_later_keeps_the_request_and_tries_again_when_it_is_due(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    attempts: list[tuple[int, str]] = []

    async def act(_request: CreateSessionRequest, context: Context) -> dict[str, Any]:
        attempts.append((context.attempt, context.session_id))
        if context.attempt < 3:
            raise RetryLater(0.05, "not yet")
        return {"attempt": context.attempt}

    worker = await new_worker(handler=steer(act))
    request = good_request()
    await desk.send(request, correlation_id="c-1")
    await eventually(
        lambda: db.fetchval(
            "select true from request_transitions where attempt = 2 and status = 'processing'"
        )
    )
    assert await desk.count(f"{desk.prefix}.requests") == 0, "the delivery was settled, not kept"

    message = await desk.next()

    response = json.loads(message.body)
    assert (response["status"], response["metadata"], message.correlation_id) == (
        "completed",
        {"attempt": 3},
        "c-1",
    )
    assert attempts == [(number, response["payload"]["session_id"]) for number in (1, 2, 3)]
    history = await db.fetch("select status, attempt from request_transitions order by at, attempt")
    assert [tuple(step) for step in history] == [
        ("pending", 0),
        ("processing", 1),
        ("processing", 2),
        ("processing", 3),
        ("completed", 3),
    ]
    await metric_becomes(2, worker, "worker_retries_total")


async def test_a_retry_that_is_not_due_waits(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    calls: Counter[str | None] = Counter()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        calls[request.payload.name] += 1
        if context.attempt == 1:
            raise RetryLater(3600 if request.payload.name == "later" else 0.01)

    await new_worker(handler=steer(act))
    await desk.send(good_request(None, name="later"))
    left = await eventually(
        lambda: db.fetchval("select due_at - now() from requests where due_at is not null")
    )
    assert 3590 < left.total_seconds() < 3605  # a transaction may begin before it sees what was committed

    soon = await desk.ask(good_request(None, name="soon"))

    assert soon.status == "completed", "due retries were looked for"
    assert calls == {"later": 1, "soon": 2}
    statuses = await db.fetch("select status from requests order by received_at")
    assert [row["status"] for row in statuses] == ["processing", "completed"]


@pytest.mark.parametrize("kind", ["RetryLater", "an exception", "too slow"])
async def test_attempts_are_counted_and_end(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, kind: str
) -> None:
    attempts = []
    raised = {"RetryLater": RetryLater(0.01, "the switch is down"), "an exception": KeyError("secret-value")}
    reasons = {
        "RetryLater": " (3 put off by the handler); the last one: the switch is down",
        "an exception": "; the last one: the handler raised KeyError",
        "too slow": "; the last one: the handler took longer than 0.05 s",
    }

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        attempts.append(context.attempt)
        if kind in raised:
            raise raised[kind]
        await asyncio.Event().wait()

    await new_worker(
        handler=steer(act), max_attempts=3, max_put_offs=3, handler_timeout_seconds=0.05, **QUICK
    )
    request = good_request()

    with capture_logs() as events:
        response = await desk.ask(request)

    assert response.metadata == {"code": "attempts_exhausted"}
    assert response.error == f"no success in 3 attempts{reasons[kind]}"
    assert attempts == [1, 2, 3]
    row = await row_of(db, request["request_id"])
    assert (row["status"], row["attempt"]) == ("failed", 3)
    assert await db.fetchval("select count(*) from sessions") == 0
    assert "secret-value" not in f"{events}{row}"


async def test_a_worker_outlives_a_handler_that_raises(new_worker: NewWorker, desk: Desk) -> None:
    go_on = asyncio.Event()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        if request.payload.name == "bad":
            if context.attempt == 1:
                raise ZeroDivisionError
            await go_on.wait()

    await new_worker(handler=steer(act), **QUICK)

    first, second = good_request(None, name="bad"), good_request(None, name="good")
    await desk.send(first)
    await desk.send(second)

    answers = [json.loads((await desk.next()).body)]
    go_on.set()
    answers.append(json.loads((await desk.next()).body))
    assert [answer["status"] for answer in answers] == ["completed", "completed"]
    assert [answer["request_id"] for answer in answers] == [second["request_id"], first["request_id"]]


async def test_no_more_calls_than_allowed_run_at_once_and_that_many_do(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    running, most, full, go_on = 0, 0, asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            full.set()
        await go_on.wait()
        running -= 1

    await declare_topology(settings)
    for _ in range(40):
        await desk.send(good_request())
    await new_worker(handler=steer(act), handler_concurrency=4, batch_size=3)

    async with asyncio.timeout(60):
        await full.wait()
    begun = await db.fetchval("select count(*) from requests where status <> 'pending'")
    assert begun == 4, "the others wait in line, or stay with the broker"
    go_on.set()
    for _ in range(40):
        await desk.next()

    assert most == 4
    assert await db.fetchval("select count(*) from sessions") == 40


async def test_a_slow_call_holds_up_no_other(new_worker: NewWorker, desk: Desk) -> None:
    go_on = asyncio.Event()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.payload.name == "slow":
            await go_on.wait()

    await new_worker(handler=steer(act), handler_concurrency=2, batch_size=2)
    slow = good_request(None, name="slow")
    await desk.send(slow)

    for _ in range(20):
        assert str((await desk.ask(good_request())).request_id) != slow["request_id"]

    go_on.set()
    assert json.loads((await desk.next()).body)["request_id"] == slow["request_id"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no_such_module:handle", "No module named 'no_such_module'"),
        ("support.handlers:no_such_function", "no attribute 'no_such_function'"),
        ("support.handlers", "support.handlers"),
        (":", "':'"),
        ("support.handlers:PATH", "is not a function of (request, context)"),
        ("support.handlers:Rooms", "is a class: name an instance of it"),
        ("support.handlers:yields", "has a `yield`"),
        ("support.handlers:half_a_lifespan", "write @asynccontextmanager above it"),
        ("support.handlers:takes_nothing", "cannot be called with (request, context): too many"),
        ("support.breaks_at_import:handle", "KeyError('NOT_SET')"),
    ],
)
async def test_a_wrong_handler_is_a_settings_error_that_names_the_variable(
    new_worker: NewWorker, path: str, problem: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        await new_worker(handler=path)

    assert str(raised.value).startswith("WORKER_HANDLER: ")
    assert problem in str(raised.value)


async def test_a_cancellation_that_a_handler_lets_out_is_a_failed_attempt(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    attempts: Counter[str] = Counter()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        attempts[str(request.request_id)] += 1
        if attempts[str(request.request_id)] == 1:
            other = asyncio.ensure_future(asyncio.Event().wait())
            other.cancel()
            await other

    await new_worker(handler=steer(act), prefetch=4, batch_size=2, **QUICK)
    requests = [good_request() for _ in range(12)]
    for request in requests:
        await desk.send(request)

    answers = [response_in(await desk.next()) for _ in requests]

    assert {answer.status for answer in answers} == {"completed"}
    assert set(attempts.values()) == {2}
    assert await db.fetchval("select count(*) from sessions") == len(requests)


async def test_what_a_handler_gives_as_its_reason_need_not_be_text(new_worker: NewWorker, desk: Desk) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise Rejected(ValueError("no seats left"))

    await new_worker(handler=steer(act))

    assert (await desk.ask(good_request())).error == "no seats left"


async def test_a_wait_that_is_no_number_of_seconds_is_the_handler_s_error(
    new_worker: NewWorker, desk: Desk
) -> None:
    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.attempt == 1:
            raise RetryLater(after="5")  # type: ignore[arg-type]  # a slip

    await new_worker(handler=steer(act), **QUICK)
    with capture_logs() as events:
        assert (await desk.ask(good_request())).status == "completed"
    assert [one["error"] for one in events if one["event"] == "handler.failed"] == ["TypeError"]


async def test_a_wait_beyond_the_calendar_is_a_year(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise RetryLater(after=1e12)

    await new_worker(handler=steer(act))
    await desk.send(good_request())

    due = "select due_at - now() from requests where due_at is not null"
    wait = await eventually(lambda: db.fetchval(due))
    # A transaction may begin a moment before it sees what was committed.
    assert timedelta(days=364) < wait < timedelta(days=365, seconds=5)


class _NoError(BaseException):
    """An error that ends a program, and must not end the worker."""


class _RetryWithoutItsFields(RetryLater):
    def __init__(self) -> None:
        """Does not set the fields that RetryLater sets."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (_NoError(), "_NoError"),
        (_RetryWithoutItsFields(), "AttributeError"),
    ],
)
async def test_whatever_a_handler_raises_is_its_own_request_s_failed_attempt(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, raised: BaseException,
    told: str,
) -> None:  # fmt: skip
    async def act(request: CreateSessionRequest, context: Context) -> None:
        if request.payload.name == "bad" and context.attempt == 1:
            raise raised

    await declare_topology(settings)
    for number in range(20):
        await desk.send(good_request(None, name="bad" if number == 10 else "good"))
    with capture_logs() as events:
        await new_worker(handler=steer(act), **QUICK)
        answers = [response_in(await desk.next()) for _ in range(20)]

    assert {answer.status for answer in answers} == {"completed"}
    assert [one["error"] for one in events if one["event"] == "handler.failed"] == [told]
    assert (
        await db.fetchval("select array_agg(attempt order by attempt desc) from requests") == [2] + [1] * 19
    )


@pytest.mark.parametrize("raised", [Rejected("caf\udce9.txt"), RetryLater(0.01, "caf\udce9.txt")])
async def test_a_reason_that_is_no_unicode_is_told_as_far_as_it_is(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, raised: Exception
) -> None:
    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.payload.name == "bad":
            raise raised

    await declare_topology(settings)
    for number in range(20):
        await desk.send(good_request(None, name="bad" if number == 10 else "good"))
    await new_worker(handler=steer(act), max_attempts=2, max_put_offs=2, **QUICK)

    answers = [response_in(await desk.next()) for _ in range(20)]

    (failed,) = (answer for answer in answers if answer.status == "failed")
    assert (failed.error or "").endswith("caf?.txt")
    assert await db.fetchval("select count(*) from requests where attempt > 1") == (
        1 if isinstance(raised, RetryLater) else 0
    )


async def test_a_time_out_of_the_handler_s_own_is_not_the_worker_s(new_worker: NewWorker, desk: Desk) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise TimeoutError

    await new_worker(handler=steer(act), max_attempts=1)
    with capture_logs() as events:
        response = await desk.ask(good_request())

    assert (response.error or "").endswith("the handler raised TimeoutError")
    assert [one["error"] for one in events if one["event"] == "handler.failed"] == ["TimeoutError"]


async def test_what_is_too_much_for_a_response_is_the_handler_s_error(
    new_worker: NewWorker, desk: Desk
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> dict[str, str]:
        return {"blob": "x" * (1 << 20)}

    await new_worker(handler=steer(act), max_attempts=1)

    response = await desk.ask(good_request())

    assert response.metadata == {"code": "attempts_exhausted"}
    assert "TooMuchReturned" in (response.error or "")
