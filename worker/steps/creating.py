"""Step 4 of a batch: claimed work becomes verdicts, by the built-in rule or by a handler of your own.

Neither touches the broker or the database.
"""

import asyncio
import importlib
import inspect
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import structlog

from schemas import CreateSessionRequest, FailureCode
from worker.errors import SettingsError
from worker.handlers import Context, Handler, Rejected, RetryLater
from worker.monitoring.handler_calls import HandlerCalls
from worker.process import own_task
from worker.process.pace import rest
from worker.steps import failure
from worker.steps.breaker import NEVER, Breaker
from worker.steps.retry_rule import RetryRule
from worker.steps.slots import Line, Slots, Turns, unlimited
from worker.steps.verdicts import LONGEST_REASON, completed, exhausted, failed, refused, too_late
from worker.values import Failure, PutOff, Refusal, Requested, Verdict, Work

_LONGEST_RESPONSE = 1 << 20  # characters; over a message that is too large a broker closes the channel
_log = structlog.get_logger(__name__)


class _TooMuchReturned(Exception):
    """The handler returned so much that a broker may not take the response."""


class BuiltInCreation:
    """Makes every session at once, from the request alone."""

    breaker_open = False  # it calls nothing that could be away

    async def reserve(self, most: int, line: Line = Line.FIRST) -> Slots:  # noqa: ARG002 — there is no line to wait in
        """Reserve nothing: this work takes no time."""
        return unlimited(most)

    def reserve_now(self, most: int) -> Slots:
        return unlimited(most)

    async def create(self, works: Sequence[Work], _slots: Slots) -> AsyncGenerator[list[Verdict], None]:
        now = datetime.now(UTC)
        verdicts: list[Verdict] = []
        for work in works:
            await rest()
            verdicts.append(refused(work, now) or completed(work, now, {}))
        yield verdicts


class HandlerCreation:
    """Calls the handler for each request: many at once, each within its time."""

    def __init__(
        self,
        handler: Handler,
        concurrency: int,
        timeout_seconds: float,
        rule: RetryRule,
        calls: HandlerCalls | None = None,
        breaker_share: float = NEVER,
    ) -> None:
        self._handler = handler
        self._calls = calls or HandlerCalls()
        self._calls.limit.set(concurrency)
        self._timeout = timeout_seconds
        self._rule = rule
        self._turns = Turns(concurrency)
        self._breaker = Breaker(breaker_share, self._turns, concurrency, timeout_seconds, self._calls)

    @property
    def breaker_open(self) -> bool:
        return self._breaker.open

    async def reserve(self, most: int, line: Line = Line.FIRST) -> Slots:
        """Reserve as many calls as are free. A request that would have to wait stays with the broker, or in
        Postgres when it is tried again.
        """
        return Slots(await self._turns.reserve(most, line), self._turns.give_back)

    def reserve_now(self, most: int) -> Slots:
        """Reserve the calls that are free and that nobody waits for; none, where there is none."""
        return Slots(self._turns.reserve_now(most), self._turns.give_back)

    async def create(self, works: Sequence[Work], slots: Slots) -> AsyncGenerator[list[Verdict], None]:
        """Yield the verdicts in groups, each as soon as it is there: a slow call holds up no other."""
        now = datetime.now(UTC)
        settled: list[Verdict] = []
        calls: dict[asyncio.Task[Verdict], Work] = {}
        for work in works:
            if verdict := refused(work, now):
                settled.append(verdict)
            else:
                slots.take()
                call = asyncio.create_task(self._call(work))
                call.add_done_callback(lambda _: self._turns.give_back(1))
                calls[call] = work
        slots.keep(0)  # the settled ones need no call
        try:
            if settled:
                yield settled
            while calls:
                done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                yield [self._verdict_of(call, calls.pop(call)) for call in done]
        finally:
            await own_task.end(calls)

    def _verdict_of(self, call: "asyncio.Task[Verdict]", work: Work) -> Verdict:
        if call.cancelled():  # by the handler itself: the worker cancels calls at the end of a batch only
            return self._failed(work, failure.raised(asyncio.CancelledError(), self._handler))
        return call.result()

    async def _call(self, work: Work) -> Verdict:
        try:
            return await self._ask(work)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and own_task.is_being_cancelled():
                raise  # the worker's own; anything else that a handler raises is a failed attempt
            return self._failed(work, failure.raised(error, self._handler))

    async def _ask(self, work: Work) -> Verdict:
        assert work.request is not None  # noqa: S101 — only refused work has none
        remaining = self._timeout
        if work.deadline_at is not None:
            remaining = min(remaining, (work.deadline_at - datetime.now(UTC)).total_seconds())
        limit = asyncio.timeout(max(0, remaining))
        try:
            with self._calls.of(work, limit) as traceparent:
                context = Context(work.session_id, work.attempt, work.deadline_at, traceparent)
                async with limit:
                    extra = await self._handler(await _whole(work.request), context)
                verdict = completed(work, datetime.now(UTC), dict(extra or {}))
                if len(verdict.response) > _LONGEST_RESPONSE:
                    raise _TooMuchReturned
                self._breaker.answered(work.request_id)
                return verdict
        except Rejected as error:
            refusal = Refusal(FailureCode.REJECTED, error.reason[:LONGEST_REASON] or "rejected")
            self._breaker.answered(work.request_id)
            return failed(work, refusal)
        except RetryLater as error:
            after = None if error.after is None else error.after.total_seconds()
            why = failure.put_off(error, error.reason, self._handler)
            self._breaker.put_off(work.request_id)
            return self._again(work, why, after)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the handler's own time-out, not this one
            why = failure.timed_out(error, self._handler, self._timeout)
            return self._failed(work, why, judged=remaining >= self._timeout)

    def _failed(self, work: Work, why: Failure, *, judged: bool = True) -> Verdict:
        """Not judged: the request's own deadline ended the call, which says nothing of the handler."""
        _log.warning(
            "handler.failed", request_id=str(work.request_id), attempt=work.attempt, org_id=work.org_id,
            error=why.error_type, kind=why.kind, place=why.place,
        )  # fmt: skip
        if judged:
            self._breaker.failed(work.request_id, why.error_type)
        spared = self._breaker.blames_handler and self._rule.spares(work.tried, datetime.now(UTC))
        return self._again(work, why, None, spared=spared)

    def _again(self, work: Work, why: Failure, after: float | None, *, spared: bool = False) -> Verdict:
        now = datetime.now(UTC)
        noted = None if spared else why
        if late := too_late(work, now):
            return failed(work, late)._replace(failure=noted)
        tried = work.tried.and_(why.kind, now)
        if not spared and self._rule.gives_up(tried, now):
            return exhausted(work, why, tried)
        if spared:
            delay = self._rule.spared_delay(work.tried, now)
        else:
            delay = self._rule.delay(why.kind, tried, after)
        if (
            work.deadline_at is not None
        ):  # it is told at its deadline that it is too late, not at the next attempt
            delay = min(delay, (work.deadline_at - now).total_seconds())
        reason = f"{why.reason}, as for other requests: no attempt was spent" if spared else why.reason
        return PutOff(work, delay, reason, noted)


Creation = BuiltInCreation | HandlerCreation


async def _whole(requested: Requested) -> CreateSessionRequest:
    if isinstance(requested.given, bytes):
        return await asyncio.to_thread(requested.whole)
    return requested.given


def load_handler(path: str) -> Handler:
    """Load the handler that `WORKER_HANDLER` names."""
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
