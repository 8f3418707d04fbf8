"""The breaker opens when too many calls fail, and closes with the first that is answered."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from schemas import CreateSessionPayload, CreateSessionRequest, FailureCode
from worker.handlers import Context, Rejected, RetryLater
from worker.monitoring.handler_calls import HandlerCalls
from worker.steps import breaker
from worker.steps.breaker import LEAST_REQUESTS, NEVER
from worker.steps.creating import BuiltInCreation, HandlerCreation
from worker.steps.retry_rule import RetryRule
from worker.steps.slots import Slots
from worker.values import Completed, Failed, PutOff, Requested, Route, Tried, Verdict, Work

LIMIT = 10
RULE = RetryRule(max_attempts=2, base_seconds=1, cap_seconds=10)
IDS = [UUID(int=number) for number in range(1, 101)]


class Service:
    """A service that a handler calls, and its requests."""

    def __init__(self, registry: CollectorRegistry | None = None, share: float = 0.5) -> None:
        self.away = True
        self.later = False
        self.registry = registry or CollectorRegistry()
        self.creation = HandlerCreation(self.act, LIMIT, 5, RULE, HandlerCalls(self.registry), share)

    async def act(self, _request: CreateSessionRequest, _context: Context) -> None:
        if self.later:
            raise RetryLater(1)
        if self.away:
            raise ConnectionError

    async def call(self, number: int = 0, tried: Tried = Tried(), **changes: object) -> Verdict:  # noqa: B008 — it is frozen
        """Waits for a free call, and makes it for the request of this number."""
        request = CreateSessionRequest(
            request_id=IDS[number], org_id="org-1", operation="create_session", payload=CreateSessionPayload()
        )
        made = Work(
            request_id=request.request_id,
            attempt=1 + bool(tried.errors),
            session_id="ts_260102_abcdefghijklm",
            route=Route(None, None, None),
            org_id="org-1",
            document="{}",
            request=Requested.of(request),
            tried=tried,
        )._replace(**changes)  # type: ignore[arg-type]  # the fields that a test names
        with await self.calls(1) as slots:
            (verdict,) = [one async for group in self.creation.create([made], slots) for one in group]
        return verdict

    async def calls(self, most: int) -> Slots:
        """Waits for free calls, not for ever."""
        return await asyncio.wait_for(self.creation.reserve(most), 60)

    async def until_open(self) -> None:
        for number in range(LEAST_REQUESTS):
            await self.call(number)
        assert self.creation.breaker_open

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


def failed_before(seconds: float = 60) -> Tried:
    return Tried(errors=1, since=datetime.now(UTC) - timedelta(seconds=seconds))


def lasts(tried: Tried) -> float:
    """Return for how many seconds it has failed by now."""
    assert tried.since is not None
    return (datetime.now(UTC) - tried.since).total_seconds()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE_SECONDS", 0.01)


async def test_while_it_is_open_one_call_runs_at_once_and_after_a_success_all() -> None:
    service = Service()
    assert not service.creation.breaker_open
    await service.until_open()

    with await service.calls(LIMIT) as slots:
        assert slots.count == 1
        others = asyncio.create_task(service.calls(LIMIT))
        await asyncio.sleep(0)
        assert not others.done()
    with await others:
        pass
    service.away = False
    assert isinstance(await service.call(), Completed)

    assert not service.creation.breaker_open
    assert (await service.calls(LIMIT)).count == LIMIT


async def test_calls_that_run_when_it_opens_go_on_and_no_other_begins_until_they_have_ended() -> None:
    service, go_on, all_run, running = Service(), asyncio.Event(), asyncio.Event(), 0

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        nonlocal running
        running += 1
        if running == 4:
            all_run.set()
        await go_on.wait()
        raise ConnectionError

    service.creation._handler = act
    long = [asyncio.create_task(service.call(number)) for number in range(4)]
    await all_run.wait()
    service.creation._handler = service.act
    await service.until_open()
    waiting = asyncio.create_task(service.calls(LIMIT))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    go_on.set()
    assert {type(verdict) for verdict in await asyncio.gather(*long)} == {PutOff}
    assert (await asyncio.wait_for(waiting, 60)).count == 1


@pytest.mark.parametrize("answer", [None, Rejected("no")])
async def test_an_answer_of_a_call_that_ran_before_closes_it_at_once(answer: Rejected | None) -> None:
    service, begun, go_on = Service(), asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        begun.set()
        await go_on.wait()
        if answer:
            raise answer

    service.creation._handler = act
    long = asyncio.create_task(service.call())
    await begun.wait()
    service.creation._handler = service.act
    await service.until_open()
    go_on.set()
    await long

    assert not service.creation.breaker_open
    for _ in range(2):
        with await service.calls(LIMIT) as slots:
            assert slots.count == LIMIT, "neither the pause nor its end says otherwise"
        await asyncio.sleep(0.02)  # by then it would be over


async def test_the_pauses_grow_and_do_not_exceed_the_time_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = list[float]()
    loop = asyncio.get_running_loop()
    later = loop.call_later

    def call_later(seconds: float, act: object, *args: object, **options: object) -> object:
        if getattr(act, "__name__", "") == "_take_one":
            pauses.append(seconds)
            seconds = 0
        return later(seconds, act, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_later", call_later)
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE_SECONDS", 60)
    service = Service()
    await service.until_open()
    for _ in range(200):
        await service.call()

    assert 0.01 <= pauses[0] <= 0.1
    assert 2 < max(pauses) <= 5, "a call has 5 s"
    assert len(pauses) == 201, "one after each failure"


async def test_a_request_that_failed_before_spends_nothing_while_others_fail() -> None:
    service = Service()
    first = await service.call(0)
    assert isinstance(first, PutOff)
    assert first.failure is not None, "the first failure costs an attempt"
    exhausted = await service.call(0, failed_before())
    assert isinstance(exhausted, Failed), "it alone has failed: it may be the request"
    await service.call(1)
    assert not service.creation.breaker_open

    for _ in range(2):
        before = failed_before(3)
        spared = await service.call(0, before)
        assert isinstance(spared, PutOff)
        assert spared.failure is None
        assert (
            spared.reason == "the handler raised ConnectionError, as for other requests: no attempt was spent"
        )
        assert 0 <= spared.delay_seconds <= lasts(before), "as long as it has lasted so far"
        await service.until_open()

    new = await service.call(7)
    assert isinstance(new, PutOff)
    assert new.failure is not None, "also while the breaker is open"


async def test_after_a_day_failures_count_as_ever() -> None:
    service = Service()
    await service.until_open()

    assert isinstance(await service.call(0, failed_before(86_300)), PutOff)
    assert isinstance(await service.call(0, failed_before(86_500)), Failed)


async def test_a_deadline_ends_a_request_that_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    await service.until_open()
    monkeypatch.setattr(random, "random", lambda: 1.0)  # without a deadline it would wait for 10 s
    soon = datetime.now(UTC) + timedelta(seconds=5)

    spared = await service.call(0, failed_before(3600), deadline_at=soon)
    assert isinstance(spared, PutOff)
    assert spared.delay_seconds <= 5
    late = await service.call(0, failed_before(3600), deadline_at=datetime.now(UTC))
    assert isinstance(late, Failed)
    assert late.code is FailureCode.DEADLINE_EXCEEDED


async def test_calls_that_their_requests_deadlines_end_say_nothing_of_the_handler() -> None:
    service = Service()

    async def slow(_request: CreateSessionRequest, _context: Context) -> None:
        await asyncio.Event().wait()

    service.creation._handler = slow
    for number in range(2 * LEAST_REQUESTS):
        verdict = await service.call(number, deadline_at=datetime.now(UTC) + timedelta(seconds=0.01))
        assert isinstance(verdict, Failed)
    assert not service.creation.breaker_open

    service.creation._timeout = 0.01
    for number in range(LEAST_REQUESTS):
        await service.call(number)
    assert service.creation.breaker_open, "a call that takes too long is a failure"


async def test_a_handler_that_asks_for_later_neither_opens_nor_closes_it_and_spends_as_ever() -> None:
    async def later(_request: CreateSessionRequest, _context: Context) -> None:
        raise RetryLater(1, "busy")

    closed, opened = Service(), Service()
    await opened.until_open()
    for service in (closed, opened):
        service.creation._handler = later
        for number in range(2 * LEAST_REQUESTS):
            verdict = await service.call(number, failed_before())
            assert isinstance(verdict, PutOff)
            assert verdict.failure is not None

    assert not closed.creation.breaker_open
    assert opened.creation.breaker_open


async def test_it_is_told_once_when_it_opens_and_when_it_closes() -> None:
    service = Service()
    with capture_logs() as events:
        await service.until_open()
        for number in range(20):
            await service.call(number)
        assert service.metric("worker_breaker_open") == 1
        service.away = False
        await service.call()

    told = [event for event in events if event["event"].startswith("breaker.")]
    assert told[0] == {
        "event": "breaker.opened",
        "log_level": "warning",
        "failures": LEAST_REQUESTS,
        "of": LEAST_REQUESTS,
        "share": 0.5,
        "error": "ConnectionError",
        "consequence": "one request at a time until one succeeds",
    }
    assert told[1] == {
        "event": "breaker.closed", "log_level": "info", "open_seconds": told[1]["open_seconds"]
    }  # fmt: skip
    assert 0 < told[1]["open_seconds"] < 60
    assert len(told) == 2
    assert (service.metric("worker_breaker_open"), service.metric("worker_breaker_opened_total")) == (0, 1)


async def test_without_a_share_below_all_it_never_opens_and_spares_nobody() -> None:
    service = Service(share=NEVER)
    for number in range(50):
        await service.call(number)

    assert not service.creation.breaker_open
    assert isinstance(await service.call(0, failed_before()), Failed)
    assert (await service.calls(LIMIT)).count == LIMIT


def test_the_built_in_creation_has_none() -> None:
    assert not BuiltInCreation().breaker_open


async def test_until_the_pause_is_over_no_call_begins_each_time_that_it_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_SECONDS", 60)
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE_SECONDS", 60)
    service = Service()
    for _ in range(2):
        await service.until_open()
        assert service.creation.reserve_now(LIMIT).count == 0
        service.creation._breaker.answered(IDS[99])  # a call that was under way
        assert not service.creation.breaker_open
        with service.creation.reserve_now(LIMIT + 1) as slots:
            assert slots.count == LIMIT


async def test_calls_that_ask_for_another_try_are_no_failures() -> None:
    service = Service()
    service.later = True
    for number in range(LEAST_REQUESTS):
        assert isinstance(await service.call(number), PutOff)
    service.later = False
    for number in range(LEAST_REQUESTS):
        await service.call(number)

    assert not service.creation.breaker_open, "half of the calls, and no more"
    await service.call(LEAST_REQUESTS)
    assert service.creation.breaker_open
