"""While what a handler calls is away, one request at a time is tried, and each spends one attempt at most."""

import asyncio
from collections import Counter
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
    response_in,
    told,
)

from schemas import CreateSessionRequest
from worker.handlers import Context
from worker.monitoring import log
from worker.settings import Settings
from worker.steps import breaker
from worker.steps.breaker import LAST_CALLS

QUICK = {"retry_base_seconds": 0.02, "retry_cap_seconds": 0.05}
MOST_ERRORS = (
    "select coalesce(max(errors), 0) from (select count(*) as errors from attempts "
    "where kind in ('raised', 'timeout') group by request_id) as each_request"
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE_SECONDS", 0.02)


class Service:
    """A service that a handler calls: it can go away and come back. It fails several requests or none: a lone
    one that fails twice may be at fault itself.
    """

    def __init__(self) -> None:
        self.away = True
        self.several_failed = asyncio.Event()
        self.failed = set[UUID]()
        self.calls = Counter[UUID]()
        self.running = 0
        self.most_running = 0

    async def act(self, request: CreateSessionRequest, _context: Context) -> None:
        self.calls[request.request_id] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            if self.away:
                self.failed.add(request.request_id)
                if len(self.failed) > 1:
                    self.several_failed.set()
                await self.several_failed.wait()
                raise ConnectionError("nobody listens")
        finally:
            self.running -= 1

    async def called(self, times: int) -> None:
        """Waits for so many calls from now on."""
        sought = self.calls.total() + times

        async def look() -> bool:
            return self.calls.total() >= sought

        await eventually(look)


async def test_an_outage_costs_each_request_one_attempt_at_most(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """It begins while the worker is at work, and lasts for many more calls than attempts are allowed."""
    log.configure(settings.model_copy(update={"log_level": "info"}))
    service = Service()
    service.away = False
    worker = await new_worker(
        handler=steer(service.act), handler_concurrency=4, max_attempts=2, retry_seconds=0, **QUICK
    )
    for _ in range(LAST_CALLS):
        assert (await desk.ask(good_request())).status == "completed"
    await metric_becomes(0, worker, "worker_breaker_open")

    service.away = True
    requests = [good_request() for _ in range(40)]
    with capture_logs() as events:
        for request in requests:
            await desk.send(request)
        opened = await told(events, "breaker.opened", 1)
        await metric_becomes(1, worker, "worker_breaker_open")
        await service.called(4)  # those that ran when it opened have ended before the last of these
        service.most_running = 0
        await service.called(2 * len(requests))
        assert service.most_running == 1
        assert desk.arrived.empty(), "nobody was given up"

        service.away = False
        answers = [response_in(await desk.next()) for _ in requests]
        closed = await told(events, "breaker.closed", 1)

    assert {answer.status for answer in answers} == {"completed"}
    assert {str(answer.request_id) for answer in answers} == {request["request_id"] for request in requests}
    assert max(service.calls.values()) > 2, "some were called more often than attempts are allowed"
    assert await db.fetchval(MOST_ERRORS) == 1
    assert await db.fetchval("select max(attempt) from requests") == 2
    assert (opened["error"], opened["share"], opened["of"]) == ("ConnectionError", 0.5, LAST_CALLS)
    assert opened["failures"] > LAST_CALLS / 2
    assert closed["open_seconds"] > 0
    await metric_becomes(0, worker, "worker_breaker_open")
    await metric_becomes(1, worker, "worker_breaker_opened_total")


async def test_after_an_outage_all_calls_are_used_again(
    settings: Settings, new_worker: NewWorker, desk: Desk
) -> None:
    service, full, go_on = Service(), asyncio.Event(), asyncio.Event()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        await service.act(request, context)
        if request.payload.name == "after":
            service.running += 1
            if service.running == 4:
                full.set()
            await go_on.wait()
            service.running -= 1

    await declare_topology(settings)
    for _ in range(30):
        await desk.send(good_request())
    with capture_logs() as events:
        await new_worker(handler=steer(act), handler_concurrency=4, **QUICK)
        await told(events, "breaker.opened", 1)
    service.away = False
    for _ in range(30):
        assert response_in(await desk.next()).status == "completed"

    for _ in range(4):
        await desk.send(good_request(None, name="after"))
    async with asyncio.timeout(60):
        await full.wait()
    go_on.set()
    for _ in range(4):
        assert response_in(await desk.next()).status == "completed"


async def test_calls_under_way_when_it_opens_spend_no_second_attempt(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """All of them fail once, and all hang when they are called again."""
    again, go_on = Counter[UUID](), asyncio.Event()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        if context.attempt > 1 and not go_on.is_set():
            again[request.request_id] += 1
            await go_on.wait()
            raise ConnectionError
        if context.attempt == 1 and request.payload.name == "opens":
            raise ConnectionError

    async def all_hang() -> bool:
        return len(again) == 4

    await new_worker(
        handler=steer(act), handler_concurrency=30, max_attempts=2, retry_seconds=0, retry_base_seconds=0.02
    )
    for _ in range(4):
        await desk.send(good_request(None, name="opens"))
    await eventually(all_hang)
    with capture_logs() as events:
        for _ in range(20):
            await desk.send(good_request(None, name="opens"))
        await told(events, "breaker.opened", 1)
    go_on.set()

    answers = [response_in(await desk.next()) for _ in range(24)]
    assert {answer.status for answer in answers} == {"completed"}
    assert await db.fetchval(MOST_ERRORS) == 1


async def test_a_worker_stops_soon_while_its_breaker_is_open(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    service = Service()
    await declare_topology(settings)
    for _ in range(30):
        await desk.send(good_request())
    with capture_logs() as events:
        worker = await new_worker(handler=steer(service.act), grace_seconds=60, **QUICK)
        await told(events, "breaker.opened", 1)
        await service.called(5)
    await asyncio.wait_for(worker.stop(), 20)

    assert await db.fetchval("select count(*) from leases") == 0
    service.away = False
    await new_worker(handler=steer(service.act), **QUICK)
    for _ in range(30):
        assert response_in(await desk.next()).status == "completed"


async def test_an_outage_that_two_workers_see_costs_next_to_nothing_more(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """Each worker finds out for itself, so the first failure that it sees of a request may be its second."""
    service = Service()
    await declare_topology(settings)
    for _ in range(40):
        await desk.send(good_request())
    several: dict[str, Any] = {"handler": steer(service.act), "max_attempts": 5, "retry_seconds": 0, **QUICK}
    with capture_logs() as events:
        await new_worker(**several)
        await told(events, "breaker.opened", 1)
        await new_worker(**several)
        await told(events, "breaker.opened", 2)
        await service.called(20)
    service.away = False
    answers = [response_in(await desk.next()) for _ in range(40)]

    assert {answer.status for answer in answers} == {"completed"}
    errors = await db.fetchval("select count(*) from attempts where kind = 'raised'")
    assert errors <= 60, "of two hundred that it could be: but for the first that the second worker sees"
