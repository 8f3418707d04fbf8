"""Step 4 of a batch: claimed work becomes verdicts, by the built-in rule or by a handler of your own.

Neither touches the broker or the database.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import TypeVar

import structlog

from schemas import CreateSessionRequest, FailureCode
from worker.handlers import Context, Handler, PlainHandler, Rejected, RetryLater, Returned
from worker.monitoring.handler_calls import HandlerCalls
from worker.process import own_task
from worker.process.pace import rest
from worker.process.threads import Job, Threads
from worker.steps import failure
from worker.steps.breaker import NEVER, Breaker
from worker.steps.life import Life
from worker.steps.loading import is_async
from worker.steps.progress import Progress
from worker.steps.retry_rule import RetryRule
from worker.steps.slots import Line, Slots, Turns, unlimited
from worker.steps.verdicts import LONGEST_REASON, completed, exhausted, failed, refused, too_late
from worker.values import Completed, Failed, Failure, PutOff, Refusal, Requested, Verdict, Work

_LONGEST_RESPONSE = 1 << 20  # characters; over a message that is too large a broker closes the channel
_log = structlog.get_logger(__name__)
V = TypeVar("V", Completed, Failed)


class _TooMuchReturned(Exception):
    """The handler returned so much that a broker may not take the response."""


class _CoroutineReturned(Exception):
    """A plain function returned a coroutine: it wraps an async function, and is none."""


class BuiltInCreation:
    """Makes every session at once, from the request alone."""

    breaker_open = False  # it calls nothing that could be away

    async def drain(self) -> None:
        """Wait for nothing: it has no threads."""

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
        handler: Handler | PlainHandler,
        concurrency: int,
        timeout_seconds: float,
        rule: RetryRule,
        calls: HandlerCalls | None = None,
        breaker_share: float = NEVER,
        life: Life | None = None,
        progress: Progress | None = None,
        build: str | None = None,
    ) -> None:
        self._handler = handler
        self._build = build
        self._life = life or Life()
        self._progress = progress or Progress()
        self._threads = Threads("handler")
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
                slot = _Slot(self._turns, self._calls)
                call = asyncio.create_task(self._call(work, slot))
                call.add_done_callback(slot.free)
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

    async def drain(self) -> None:
        """Wait for the threads of calls that have taken too long."""
        await self._threads.drain()

    async def _call(self, work: Work, slot: "_Slot") -> Verdict:
        try:
            return await self._ask(work, slot)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and own_task.is_being_cancelled():
                raise  # the worker's own; anything else that a handler raises is a failed attempt
            return self._failed(work, failure.raised(error, self._handler))

    async def _ask(self, work: Work, slot: "_Slot") -> Verdict:
        assert work.request is not None  # noqa: S101 — only refused work has none
        remaining = self._timeout
        if work.deadline_at is not None:
            remaining = min(remaining, (work.deadline_at - datetime.now(UTC)).total_seconds())
        limit = asyncio.timeout(max(0, remaining))
        try:
            with self._calls.of(work, limit) as traceparent, self._progress.of(work) as on_progress:
                context = Context(
                    session_id=work.session_id,
                    attempt=work.attempt,
                    deadline_at=work.deadline_at,
                    traceparent=traceparent,
                    state=self._life.state,
                    on_progress=on_progress,
                )
                async with limit:
                    extra = await self._returned(await _whole(work.request), context, slot)
                made = _sendable(completed(work, datetime.now(UTC), dict(extra or {})))
                self._breaker.answered(work.request_id)
                return made
        except Rejected as error:
            reason = error.reason[:LONGEST_REASON] or "rejected"
            rejected = _sendable(failed(work, Refusal(FailureCode.REJECTED, reason, told=error.told)))
            self._breaker.answered(work.request_id)
            return rejected
        except RetryLater as error:
            after = None if error.after is None else error.after.total_seconds()
            why = failure.put_off(error, error.reason, self._handler)
            self._breaker.put_off(work.request_id)
            return self._again(work, why, after)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the handler's own time-out, not this one
            why = failure.timed_out(error, self._handler, self._timeout, slot.frame())
            return self._failed(work, why, judged=remaining >= self._timeout)

    async def _returned(self, request: CreateSessionRequest, context: Context, slot: "_Slot") -> Returned:
        """Call the handler: in the event loop, or, if it is a plain function, in a thread."""
        if is_async(self._handler):
            return await self._handler(request, context)
        slot.job = self._threads.begin(partial(self._handler, request, context))
        given = await slot.job.result()
        if inspect.iscoroutine(given):
            given.close()
            raise _CoroutineReturned
        returned: Returned = given
        return returned

    def _failed(self, work: Work, why: Failure, *, judged: bool = True) -> Verdict:
        """Not judged: the request's own deadline ended the call, which says nothing of the handler."""
        _log.warning(
            "handler.failed", request_id=str(work.request_id), attempt=work.attempt, org_id=work.org_id,
            error=why.error_type, kind=why.kind, place=why.place, build=self._build,
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


class _Slot:
    """The slot of one call. It is taken until the call has ended, and its thread, if it has one."""

    def __init__(self, turns: Turns, calls: HandlerCalls) -> None:
        self.job: Job | None = None
        self._turns = turns
        self._calls = calls

    def frame(self) -> FrameType | None:
        """Return where its thread is now; None: it has none, or it has ended."""
        return self.job.frame() if self.job else None

    def free(self, _call: "asyncio.Task[Verdict]") -> None:
        """Give it back, now or when the thread ends: until then that is a call that runs."""
        if self.job is None or self.job.ended.done():
            self._turns.give_back(1)
        else:
            self._calls.left_running(1)
            self.job.ended.add_done_callback(self._free_at_last)

    def _free_at_last(self, _ended: "asyncio.Future[None]") -> None:
        self._calls.left_running(-1)
        self._turns.give_back(1)


def _sendable(verdict: V) -> V:
    if len(verdict.response) > _LONGEST_RESPONSE:
        raise _TooMuchReturned
    return verdict
