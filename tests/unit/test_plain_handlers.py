"""A handler that is a plain function is called in a thread, which nobody can end."""

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from schemas import CreateSessionPayload, CreateSessionRequest
from worker.handlers import Context, Rejected
from worker.monitoring.handler_calls import HandlerCalls
from worker.process.threads import Job
from worker.steps.creating import HandlerCreation
from worker.steps.life import Life
from worker.steps.retry_rule import RetryRule
from worker.values import Completed, Failed, PutOff, Requested, Route, Verdict, Work

RULE = RetryRule(3, 1, 10)
REQUEST = CreateSessionRequest(
    request_id=UUID(int=1), org_id="org-1", operation="create_session", payload=CreateSessionPayload()
)
WORK = Work(
    request_id=REQUEST.request_id,
    attempt=1,
    session_id="ts_260102_abcdefghijklm",
    route=Route(None, None, None),
    org_id="org-1",
    document="{}",
    request=Requested.of(REQUEST),
)
SHELF: ContextVar[str] = ContextVar("shelf")


async def verdict_of(creation: HandlerCreation) -> Verdict:
    with await creation.reserve(1) as slots:
        (verdict,) = [one async for group in creation.create([WORK], slots) for one in group]
    return verdict


async def test_calls_run_in_threads_that_are_kept_with_the_state_and_the_context_of_the_call() -> None:
    threads: list[threading.Thread] = []

    def act(_request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
        threads.append(threading.current_thread())
        context.progress(0.5, "half")
        return {"shelf": SHELF.get(), "state": context.state}

    life = Life()
    life.state = "open"
    SHELF.set("blue")
    creation = HandlerCreation(act, 2, 5, RULE, life=life)
    made = [await verdict_of(creation) for _ in range(3)]

    assert all(
        isinstance(one, Completed) and '{"shelf":"blue","state":"open"}' in one.response for one in made
    )
    assert len(set(threads)) == 1, "the second call has the thread of the first"
    assert threading.current_thread() not in threads


async def test_what_it_raises_counts_as_if_it_were_async() -> None:
    def rejects(_request: CreateSessionRequest, _context: Context) -> None:
        raise Rejected("no")

    def ends_programs(_request: CreateSessionRequest, _context: Context) -> None:
        raise SystemExit

    async def meant(_request: CreateSessionRequest, _context: Context) -> None:
        """Is never called."""

    def wraps(request: CreateSessionRequest, context: Context) -> Any:
        return meant(request, context)

    rejected, ended, wrapped = [
        await verdict_of(HandlerCreation(act, 1, 5, RULE)) for act in (rejects, ends_programs, wraps)
    ]

    assert isinstance(rejected, Failed)
    assert isinstance(ended, PutOff)
    assert ended.failure is not None
    line = ends_programs.__code__.co_firstlineno + 1
    assert (ended.failure.place or "").partition(" ")[0].endswith(f"test_plain_handlers.py:{line}")
    assert isinstance(wrapped, PutOff)
    assert wrapped.reason == "the handler raised _CoroutineReturned"


@pytest.mark.parametrize("fails_late", [False, True])
async def test_a_thread_that_takes_too_long_keeps_its_slot_and_is_told_with_its_place(
    fails_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, begun, go_on = CollectorRegistry(), threading.Event(), threading.Event()

    def hangs(_request: CreateSessionRequest, _context: Context) -> None:
        begun.set() or go_on.wait(20)  # type: ignore[func-returns-value]  # one line: it hangs there
        if fails_late:
            raise KeyError

    creation = HandlerCreation(hangs, 1, 0.05, RULE, HandlerCalls(registry), build="1.4.2")
    begin = creation._threads.begin

    def begin_and_wait(function: Callable[[], Any]) -> Job:
        job = begin(function)
        assert begun.wait(20), "its time is not over before that"
        return job

    monkeypatch.setattr(creation._threads, "begin", begin_and_wait)
    with capture_logs() as events:
        verdict = await verdict_of(creation)
    free_meanwhile = creation.reserve_now(1).count
    running_meanwhile = registry.get_sample_value("worker_handler_running")
    go_on.set()
    await creation.drain()

    assert isinstance(verdict, PutOff)
    assert verdict.failure is not None
    assert verdict.failure.kind == "timeout"
    (failed,) = [event for event in events if event["event"] == "handler.failed"]
    assert failed["place"].endswith(f":{hangs.__code__.co_firstlineno + 1} {hangs.__qualname__}")
    assert failed["build"] == "1.4.2"
    assert (free_meanwhile, running_meanwhile) == (0, 1)
    assert creation.reserve_now(9).count == 1
    assert registry.get_sample_value("worker_handler_running") == 0
    assert registry.get_sample_value("worker_handler_errors_total", {"type": "KeyError"}) is None
