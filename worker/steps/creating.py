"""The creation of a session: the built-in rule, and the protocol of a handler of your own.

Both turn claimed work into verdicts and touch neither the broker nor the database.
"""

import asyncio
import importlib
import inspect
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog

from schemas import (
    CreateSessionRequest,
    CreateSessionResponse,
    FailureCode,
    RequestStatus,
    SessionCreatedPayload,
    session_id,
)
from schemas.base import iso_text
from worker.errors import SettingsError
from worker.handlers import Context, Handler, Rejected, RetryLater
from worker.monitoring.handler_calls import HandlerCalls
from worker.process import own_task
from worker.steps import failure
from worker.steps.retry_rule import RetryRule, in_words
from worker.steps.turns import Line, Turns
from worker.values import (
    Answer,
    Completed,
    Failed,
    Failure,
    NewSession,
    PutOff,
    Refusal,
    Requested,
    Tried,
    Unrecorded,
    Verdict,
    Work,
    failure_details,
)

DEFAULT_EXPIRATION_SECONDS = 86_400
_LONGEST_REASON = 500
_LONGEST_RESPONSE = 1 << 20  # characters; over a message that is too large a broker closes the channel
_log = structlog.get_logger(__name__)


class _TooMuchReturned(Exception):
    """What a handler returned makes a response larger than a broker may take."""


class BuiltInCreation:
    """Makes every session at once, from the request alone."""

    async def room(self, most: int, line: Line = Line.FIRST) -> int:  # noqa: ARG002 — there is no line to wait in
        return most

    def give_back(self, unused: int) -> None:
        """Nothing is held for work that takes no time."""

    async def create(self, works: Sequence[Work]) -> AsyncGenerator[list[Verdict], None]:
        now = datetime.now(UTC)
        yield [refused(work, now) or completed(work, now, {}) for work in works]


class HandlerCreation:
    """Calls the handler for each request: many at once, each within its time."""

    def __init__(
        self,
        handler: Handler,
        concurrency: int,
        timeout_seconds: float,
        rule: RetryRule,
        calls: HandlerCalls | None = None,
    ) -> None:
        self._handler = handler
        self._calls = calls or HandlerCalls()
        self._calls.limit.set(concurrency)
        self._timeout = timeout_seconds
        self._rule = rule
        self._turns = Turns(concurrency)

    async def room(self, most: int, line: Line = Line.FIRST) -> int:
        """Reserves as many calls as are free: a request that would have to wait stays with the broker, or,
        when it is tried again, in Postgres.
        """
        return await self._turns.reserve(most, line)

    def give_back(self, unused: int) -> None:
        self._turns.give_back(unused)

    async def create(self, works: Sequence[Work]) -> AsyncGenerator[list[Verdict], None]:
        """The verdicts in groups, each as soon as it is there: a slow call holds up no other."""
        now = datetime.now(UTC)
        settled: list[Verdict] = []
        calls: dict[asyncio.Task[Verdict], Work] = {}
        for work in works:
            if verdict := refused(work, now):
                settled.append(verdict)
            else:
                call = asyncio.create_task(self._call(work))
                call.add_done_callback(lambda _: self.give_back(1))
                calls[call] = work
        self.give_back(len(settled))
        try:
            if settled:
                yield settled
            while calls:
                done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                yield [self._verdict_of(call, calls.pop(call)) for call in done]
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    def _verdict_of(self, call: "asyncio.Task[Verdict]", work: Work) -> Verdict:
        if call.cancelled():  # by the handler itself: nobody else has, before the end of this batch
            return self._failed(work, failure.raised(asyncio.CancelledError(), self._handler))
        return call.result()

    async def _call(self, work: Work) -> Verdict:
        try:
            return await self._ask(work)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and own_task.is_being_cancelled():
                raise  # the worker's own; whatever else a handler lets out is a failed attempt
            return self._failed(work, failure.raised(error, self._handler))

    async def _ask(self, work: Work) -> Verdict:
        assert work.request is not None  # noqa: S101 — only refused work has none
        context = Context(work.session_id, work.attempt, work.deadline_at)
        remaining = self._timeout
        if work.deadline_at is not None:
            remaining = min(remaining, (work.deadline_at - datetime.now(UTC)).total_seconds())
        limit = asyncio.timeout(max(0, remaining))
        try:
            with self._calls.of(limit):
                async with limit:
                    extra = await self._handler(await _whole(work.request), context)
                verdict = completed(work, datetime.now(UTC), dict(extra or {}))
                if len(verdict.response) > _LONGEST_RESPONSE:
                    raise _TooMuchReturned
                return verdict
        except Rejected as error:
            return failed(work, Refusal(FailureCode.REJECTED, error.reason[:_LONGEST_REASON] or "rejected"))
        except RetryLater as error:
            after = None if error.after is None else error.after.total_seconds()
            return self._again(work, failure.put_off(error, error.reason, self._handler), after)
        except TimeoutError as error:
            if not limit.expired():
                raise  # of something that the handler waited for
            return self._failed(work, failure.timed_out(error, self._handler, self._timeout))

    def _failed(self, work: Work, why: Failure) -> Verdict:
        _log.warning(
            "handler.failed", request_id=str(work.request_id), attempt=work.attempt, org_id=work.org_id,
            error=why.error_type, kind=why.kind, place=why.place,
        )  # fmt: skip
        return self._again(work, why, None)

    def _again(self, work: Work, why: Failure, after: float | None) -> Verdict:
        now = datetime.now(UTC)
        if late := _past_deadline(work, now):
            return failed(work, late)._replace(failure=why)
        tried = work.tried.and_(why.kind, now)
        if self._rule.gives_up(tried, now):
            return exhausted(work, why, tried)
        delay = self._rule.delay(why.kind, tried, after)
        if work.deadline_at is not None:  # then it is told that it is too late, and not at the next attempt
            delay = min(delay, (work.deadline_at - now).total_seconds())
        return PutOff(work, delay, why.reason, why)


Creation = BuiltInCreation | HandlerCreation


async def _whole(requested: Requested) -> CreateSessionRequest:
    if isinstance(requested.given, bytes):
        return await asyncio.to_thread(requested.whole)
    return requested.given


def load_handler(path: str) -> Handler:
    """The handler that `WORKER_HANDLER` names."""
    module_name, _, name = path.partition(":")
    try:
        handler = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise SettingsError(
            f"WORKER_HANDLER: cannot load {path!r} (module:function; its folder in PYTHONPATH): {error!r}"
        ) from error
    if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(type(handler).__call__):
        raise SettingsError(f"WORKER_HANDLER: {path!r} is not an async function of (request, context)")
    try:
        inspect.signature(handler).bind("request", "context")
    except TypeError as error:
        raise SettingsError(
            f"WORKER_HANDLER: {path!r} cannot be called with (request, context): {error}"
        ) from error
    loaded: Handler = handler
    return loaded


def refused(work: Work, now: datetime) -> Failed | None:
    """The verdict on work that needs no creation: refused at the door, or too late."""
    refusal = work.refusal or _past_deadline(work, now)
    return failed(work, refusal) if refusal else None


def completed(work: Work, now: datetime, extra: dict[str, Any]) -> Completed:
    assert work.request is not None and work.document is not None and work.org_id is not None  # noqa: S101, PT018 — only refused work has none
    request = work.request
    if request.ignores_assistant:
        extra = {"ignored": ["assistant"], "ignored_reason": "assistant_id was given and wins", **extra}
    response = CreateSessionResponse(
        request_id=work.request_id,
        status=RequestStatus.COMPLETED,
        payload=SessionCreatedPayload(
            session_id=work.session_id, casefile_id=request.casefile_id, created_at=iso_text(now)
        ),
        timestamp=iso_text(now),
        metadata=extra,
    )
    session = NewSession(
        id=work.session_id,
        request_id=work.request_id,
        org_id=work.org_id,
        user_id=work.user_id,
        name=request.name,
        status=request.status or "active",
        casefile_id=request.casefile_id,
        assistant_id=request.assistant_id,
        phone_number_id=request.phone_number_id,
        expiration_seconds=request.expiration_seconds or DEFAULT_EXPIRATION_SECONDS,
        created_at=now,
        document=work.document,
    )
    return Completed(work, session, response.model_dump_json())


def failed(work: Work, refusal: Refusal) -> Failed:
    casefile_id = work.request.casefile_id if work.request else None
    text = failure_response(work, refusal, casefile_id, datetime.now(UTC))
    return Failed(work, refusal.code, text)


def exhausted(work: Work, why: Failure, tried: Tried) -> Failed:
    said = in_words(work.attempt, tried) + (f"; the last one: {why.reason}" if why.reason else "")
    verdict = failed(work, Refusal(FailureCode.ATTEMPTS_EXHAUSTED, said[:_LONGEST_REASON]))
    return verdict._replace(failure=why)


def failure_response(
    work: Work, refusal: Refusal, casefile_id: str | None, at: datetime, *, recorded: bool = True
) -> str:
    return CreateSessionResponse(
        request_id=work.request_id,
        status=RequestStatus.FAILED,
        payload=SessionCreatedPayload(
            session_id=work.session_id, casefile_id=casefile_id, created_at=iso_text(at)
        ),
        timestamp=iso_text(at),
        error=refusal.reason,
        metadata=failure_details(refusal) | ({} if recorded else {"recorded": False}),
    ).model_dump_json()


def unrecorded_answer(told: Unrecorded) -> Answer:
    """Make an answer that is a message of its own: no record, and no session under the id that it names."""
    now, mine = datetime.now(UTC), uuid4()
    unused = session_id(mine, now.date())
    work = Work(told.request_id, 0, unused, None, None, None, None, told.refusal, None, told.route)
    text = failure_response(work, told.refusal, None, now, recorded=False)
    code = told.refusal.code.value
    return Answer(told.request_id, "failed", code, text, f"{told.request_id}.{mine.hex}", told.route)


def _past_deadline(work: Work, now: datetime) -> Refusal | None:
    if work.deadline_at is None or now < work.deadline_at:
        return None
    return Refusal(
        FailureCode.DEADLINE_EXCEEDED,
        f"the deadline {work.deadline_at.isoformat()} passed before the session was made",
    )
