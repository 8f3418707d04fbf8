"""Requests that are put off wait in a line: each is tried again when it is due, and the reason is kept."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

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
    metric_of,
    response_in,
    row_of,
    told,
)

from schemas import CreateSessionRequest
from worker import app
from worker.handlers import Context, RetryLater
from worker.services import ruling, taking
from worker.settings import Settings
from worker.steps import attempting

QUICK = {"retry_base_seconds": 0.02, "retry_cap_seconds": 0.05}
REASONS = (
    "select attempt, kind, error_type, reason, place from attempts where request_id = $1 order by attempt"
)


async def once_more(_request: CreateSessionRequest, context: Context) -> None:
    if context.attempt == 1:
        raise RetryLater(0.05, "not yet")


async def test_what_is_due_is_worked_off_at_once_and_not_some_at_each_look(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No timer looks for an hour: requests put off wake the loop, and it goes on while more are due."""
    await declare_topology(settings)
    requests = [good_request() for _ in range(400)]
    for request in requests:
        await desk.send(request)
    monkeypatch.setattr(taking, "LOOK_SECONDS", 3600)
    monkeypatch.setattr(app, "_RECOVERY_SECONDS", 3600)

    worker = await new_worker(handler=steer(once_more))
    answers = [response_in(await desk.next()) for _ in requests]

    assert {answer.status for answer in answers} == {"completed"}
    assert await db.fetchval("select array_agg(distinct attempt) from requests") == [2]
    await metric_becomes(400, worker, "worker_retried_total")
    leases = await db.fetchval("select count(distinct lease) from requests")
    assert leases < 200, "they were taken in batches"


async def test_leases_that_recovery_is_busy_with_do_not_stand_in_the_line(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    go_on, hanging = asyncio.Event(), Counter[str]()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        if request.payload.name == "of a dead worker":
            hanging["calls"] += 1
            await go_on.wait()
        else:
            await once_more(request, context)

    async def all_hang(count: int) -> bool:
        return hanging["calls"] == count

    await declare_topology(settings)
    for _ in range(70):
        await desk.send(good_request(None, name="of a dead worker"))
    first = await new_worker(handler=steer(act))
    await eventually(lambda: all_hang(70))
    await first.vanish()
    # Each with a lease of its own, more than recovery has in hand at once.
    await db.execute(
        "with n as (select request_id, row_number() over () as number from requests) "
        "update requests set lease = number from n where n.request_id = requests.request_id"
    )
    await db.execute("delete from leases")
    await db.execute(
        "insert into leases (id, worker, lease_until, spends_attempt) select n, null, now(), false "
        "from generate_series(1, 70) as n"
    )

    await new_worker(handler=steer(act))
    await eventually(lambda: all_hang(70 + 64))

    assert (await desk.ask(good_request())).status == "completed"
    go_on.set()


async def test_workers_share_the_line_and_none_is_tried_twice(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    calls = Counter[tuple[UUID, int]]()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        calls[request.request_id, context.attempt] += 1
        if context.attempt < 4:
            raise RetryLater(0)

    await declare_topology(settings)
    requests = [good_request() for _ in range(200)]
    for request in requests:
        await desk.send(request)
    workers = [await new_worker(handler=steer(act)) for _ in range(2)]
    for _ in requests:
        assert response_in(await desk.next()).status == "completed"

    assert calls == {(UUID(one["request_id"]), attempt): 1 for one in requests for attempt in (1, 2, 3, 4)}

    async def all_counted() -> bool:
        return sum([await metric_of(worker, "worker_retried_total") or 0 for worker in workers]) == 600

    await eventually(all_counted)
    assert await db.fetchval("select count(*) from attempts") == 600


async def test_calls_that_retries_have_no_use_for_are_the_others_at_once(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = asyncio.Event(), asyncio.Event()
    at_once = attempting.Attempting.open

    async def slowly(self: attempting.Attempting, *args: Any, **options: Any) -> Any:
        opening.set()
        await go_on.wait()
        return await at_once(self, *args, **options)

    async def act(request: CreateSessionRequest, context: Context) -> None:
        if request.payload.name == "again":
            await once_more(request, context)

    monkeypatch.setattr(attempting.Attempting, "open", slowly)
    await new_worker(handler=steer(act), handler_concurrency=2)
    await desk.send(good_request(None, name="again"))
    await opening.wait()

    assert (await desk.ask(good_request(None, name="new"))).status == "completed"
    go_on.set()
    assert response_in(await desk.next()).status == "completed"


async def test_without_a_breaker_an_outage_of_what_the_handler_calls_fails_nothing_either(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    away, failed = True, Counter[UUID]()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if away:
            failed[request.request_id] += 1
            raise ConnectionError("nobody listens")

    await new_worker(handler=steer(act), max_attempts=3, retry_seconds=3600, breaker_share=1, **QUICK)
    requests = [good_request() for _ in range(40)]
    for request in requests:
        await desk.send(request)

    async def many_times() -> bool:
        return len(failed) == len(requests) and min(failed.values()) > 6

    await eventually(many_times)
    assert desk.arrived.empty(), "nobody was given up"
    away = False
    answers = [response_in(await desk.next()) for _ in requests]

    assert {answer.status for answer in answers} == {"completed"}
    assert await db.fetchval("select min(attempt) from requests") > 6


async def test_a_request_that_was_put_off_for_long_outlasts_an_outage_too(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.attempt == 1:
            raise RetryLater(3600, "not before tomorrow")
        if context.attempt < 6:
            raise ConnectionError("nobody listens")

    await new_worker(handler=steer(act), max_attempts=2, retry_seconds=3600, **QUICK)
    request = good_request()
    await desk.send(request)
    await eventually(lambda: db.fetchval("select true from requests where due_at is not null"))
    await db.execute("alter table attempts disable trigger all")
    await db.execute("update attempts set at = at - interval '1 day'")
    await db.execute("update requests set due_at = now()")

    assert response_in(await desk.next()).status == "completed"
    assert (await row_of(db, request["request_id"]))["attempt"] == 6


async def test_each_attempt_s_reason_is_on_record_and_in_the_log(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.attempt == 1:
            raise RetryLater(0.01, "no room is free")
        if context.attempt == 2:
            raise KeyError("canary")
        if context.attempt == 3:
            await asyncio.Event().wait()
        raise ValueError("canary")

    await new_worker(
        build="3f2c1aa", handler=steer(act), max_attempts=3, handler_timeout_seconds=0.05, **QUICK
    )
    request = good_request()
    with capture_logs() as events:
        response = await desk.ask(request)

    assert response.error == (
        "no success in 4 attempts (3 failed, 1 put off by the handler); "
        "the last one: the handler raised ValueError"
    )
    found = [tuple(row) for row in await db.fetch(REASONS, UUID(request["request_id"]))]
    assert [row[:4] for row in found] == [
        (1, "retry_later", "RetryLater", "no room is free"),
        (2, "raised", "KeyError", "the handler raised KeyError"),
        (3, "timeout", "TimeoutError", "the handler took longer than 0.05 s"),
        (4, "raised", "ValueError", "the handler raised ValueError"),
    ]
    here = "test_each_attempt_s_reason_is_on_record_and_in_the_log.<locals>.act"
    assert all(place.startswith("test_retries.py:") for *_, place in found), found
    assert all(place.endswith(f" {here}") for *_, place in found), found
    told = [event for event in events if event["event"] == "handler.failed"]
    took = [event.pop("took_ms") for event in told]
    assert took[1] >= 50, "the time-out of the second one"
    assert told == [
        {
            "event": "handler.failed",
            "log_level": "warning",
            "request_id": request["request_id"],
            "org_id": "org-1",
            "attempt": attempt,
            "kind": kind,
            "error": error,
            "place": place,
            "build": "3f2c1aa",
        }
        for attempt, kind, error, _, place in found[1:]
    ]
    assert "canary" not in f"{events}{found}"


async def test_a_success_leaves_no_reason(new_worker: NewWorker, desk: Desk, db: asyncpg.Connection) -> None:
    await new_worker()
    assert (await desk.ask(good_request())).status == "completed"

    assert await db.fetchval("select count(*) from attempts") == 0


async def test_what_is_put_off_beyond_its_deadline_is_told_at_its_deadline(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise RetryLater(3600, "no room is free")

    await new_worker(handler=steer(act))
    request = good_request()
    deadline = datetime.now(UTC) + timedelta(seconds=1)
    response = await desk.ask(request, headers={"deadline": deadline.isoformat()})

    assert response.metadata == {"code": "deadline_exceeded"}
    assert datetime.fromisoformat(response.timestamp) - deadline < timedelta(seconds=60)
    assert (await row_of(db, request["request_id"]))["attempt"] == 1, "it was not tried for nothing"


async def test_a_stop_does_not_wait_for_those_who_ask_for_a_retry_again_and_again(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    calls = Counter[str]()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        calls["all"] += 1
        raise RetryLater(0)

    async def busy() -> bool:
        return calls["all"] > 100

    await declare_topology(settings)
    for _ in range(20):
        await desk.send(good_request())
    worker = await new_worker(handler=steer(act), grace_seconds=60)
    await eventually(busy)

    await asyncio.wait_for(worker.stop(), 20)

    assert await db.fetchval("select count(*) from requests where due_at is not null") == 20
    assert await db.fetchval("select count(*) from leases") == 0


async def test_what_an_older_version_has_put_off_is_tried_again(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """The older version gave each request a lease that nobody holds, and left no reason."""

    async def act(_request: CreateSessionRequest, context: Context) -> dict[str, int]:
        if context.attempt == 1:
            raise RetryLater(3600)
        return {"attempt": context.attempt}

    worker = await new_worker(handler=steer(act))
    await desk.send(good_request())
    await eventually(lambda: db.fetchval("select true from requests where due_at is not null"))
    await db.execute("alter table attempts disable trigger all")
    await db.execute("delete from attempts")
    await db.execute("update requests set due_at = null, lease = 17")
    await db.execute("insert into leases (id, lease_until) values (17, now())")

    assert json.loads((await desk.next()).body)["metadata"] == {"attempt": 2}
    await metric_becomes(1, worker, "worker_retried_total")
    assert await metric_of(worker, "worker_recovered_total", kind="tried_again") is None


async def test_retries_that_wait_for_a_free_call_are_shown(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ruling, "COUNT_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        if request.payload.name == "slow":
            await go_on.wait()
        if context.attempt == 1:
            raise RetryLater(0.05 if request.payload.name == "slow" else 3600)

    worker = await new_worker(handler=steer(act), handler_concurrency=1)
    await desk.send(good_request(None, name="again"))
    await eventually(lambda: db.fetchval("select true from requests where due_at is not null"))
    await desk.send(good_request(None, name="slow"))
    await eventually(lambda: db.fetchval("select count(*) = 2 from requests"))
    await db.execute("update requests set due_at = now() - interval '100 s' where due_at is not null")

    async def shown() -> bool:
        return await metric_of(worker, "worker_retries_due") == 1

    await eventually(shown)
    overdue = await metric_of(worker, "worker_retry_overdue_seconds")
    assert overdue is not None
    assert 100 <= overdue < 130
    go_on.set()
    for _ in range(2):
        assert response_in(await desk.next()).status == "completed"

    async def gone() -> bool:
        return await metric_of(worker, "worker_retry_overdue_seconds") == 0

    await eventually(gone)


async def test_the_reasons_stay_as_they_are_and_go_with_their_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(handler=steer(once_more))
    assert (await desk.ask(good_request())).status == "completed"

    for statement in ("update attempts set reason = 'x'", "delete from attempts", "truncate attempts"):
        with pytest.raises(asyncpg.CheckViolationError, match="attempts is append only"):
            await db.execute(statement)
    await eventually(lambda: db.fetchval("select published_at is not null from listed_requests"))
    await db.fetchval("select retire_requests(interval '-1 s', 10)")

    assert await db.fetchval("select count(*) from requests") == 0
    assert await db.fetchval("select count(*) from attempts") == 0


async def test_a_look_that_fails_is_told_and_the_next_one_comes(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "LOOK_SECONDS", 0.05)
    wrong: Any = iter([True] * 3)
    look = taking.Taking._look

    async def fails_at_first(self: taking.Taking) -> float:
        if self._kind is taking.PUT_OFF and next(wrong, False):
            raise ZeroDivisionError
        return await look(self)

    monkeypatch.setattr(taking.Taking, "_look", fails_at_first)
    with capture_logs() as events:
        await new_worker(handler=steer(once_more))
        assert (await desk.ask(good_request())).status == "completed"
        assert (await told(events, "service.failed", 3))["service"] == "retries"
