"""The calls of a handler are counted by how each one ended."""

import asyncio
from time import perf_counter
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from schemas import CreateSessionPayload, CreateSessionRequest
from worker.handlers import Context, Handler, Rejected, RetryLater
from worker.monitoring.handler_calls import HandlerCalls
from worker.steps.creating import HandlerCreation
from worker.steps.retry_rule import RetryRule
from worker.values import Requested, Route, Work

RULE = RetryRule(3, 1, 10)


def work() -> Work:
    request = CreateSessionRequest(
        request_id=UUID(int=1), org_id="org-1", operation="create_session", payload=CreateSessionPayload()
    )
    return Work(
        request_id=request.request_id,
        attempt=1,
        session_id="ts_260102_abcdefghijklm",
        route=Route(None, None, None),
        org_id="org-1",
        document="{}",
        request=Requested.of(request),
    )


def creation(act: Handler, registry: CollectorRegistry, seconds: float = 5) -> HandlerCreation:
    return HandlerCreation(act, 7, seconds, RULE, HandlerCalls(registry))


async def run(made: HandlerCreation, times: int = 1) -> None:
    for _ in range(times):
        slots = await made.reserve(1)
        async for _verdicts in made.create([work()], slots):
            pass


def raising(error: BaseException) -> Handler:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise error

    return act


async def too_slow(_request: CreateSessionRequest, _context: Context) -> None:
    await asyncio.Event().wait()


async def fine(_request: CreateSessionRequest, _context: Context) -> None:
    """A handler that adds nothing."""


async def too_much(_request: CreateSessionRequest, _context: Context) -> dict[str, str]:
    return {"all": "x" * (1 << 20)}


@pytest.mark.parametrize(
    ("act", "outcome", "error_type"),
    [
        (fine, "ok", None),
        (raising(Rejected("no")), "rejected", None),
        (raising(RetryLater()), "retry", None),
        (too_slow, "timeout", None),
        (raising(KeyError()), "raised", "KeyError"),
        (raising(TimeoutError()), "raised", "TimeoutError"),  # of something that it waited for
        (raising(asyncio.CancelledError()), "raised", "CancelledError"),  # of something of its own
        (raising(SystemExit()), "raised", "SystemExit"),
        (too_much, "raised", "_TooMuchReturned"),
    ],
)
async def test_a_call_counts_by_how_it_ended(act: Handler, outcome: str, error_type: str | None) -> None:
    registry = CollectorRegistry()

    await run(creation(act, registry, 0.02 if act is too_slow else 5))

    counted = {
        sample.labels["outcome"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "worker_handler_seconds_count" and sample.value
    }
    assert counted == {outcome: 1}
    assert errors_in(registry) == ({error_type: 1} if error_type else {})
    assert registry.get_sample_value("worker_handler_limit") == 7
    assert registry.get_sample_value("worker_handler_running") == 0


async def test_a_call_that_the_worker_ends_is_cancelled_and_no_error() -> None:
    registry, begun = CollectorRegistry(), asyncio.Event()

    async def wait(_request: CreateSessionRequest, _context: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(run(creation(wait, registry)))
    await begun.wait()
    assert registry.get_sample_value("worker_handler_running") == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert registry.get_sample_value("worker_handler_seconds_count", {"outcome": "cancelled"}) == 1
    assert registry.get_sample_value("worker_handler_running") == 0
    assert errors_in(registry) == {}


async def test_the_time_of_a_call_is_that_of_the_handler() -> None:
    registry = CollectorRegistry()

    async def wait(_request: CreateSessionRequest, _context: Context) -> None:
        await asyncio.sleep(0.05)

    begun = perf_counter()
    await run(creation(wait, registry))

    took = registry.get_sample_value("worker_handler_seconds_sum", {"outcome": "ok"})
    assert took is not None
    assert 0.045 < took <= perf_counter() - begun


async def test_types_without_end_are_other() -> None:
    """They are counted as "other", since each type would be a series for ever."""
    registry = CollectorRegistry()
    types = [type(f"Error{number}", (Exception,), {}) for number in range(25)]
    errors = iter([kind() for kind in [*types, types[0]]])

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise next(errors)

    await run(creation(act, registry), 26)

    assert errors_in(registry) == {"Error0": 2, **{f"Error{n}": 1 for n in range(1, 20)}, "other": 5}


def errors_in(registry: CollectorRegistry) -> dict[str, float]:
    return {
        sample.labels["type"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "worker_handler_errors_total"
    }
