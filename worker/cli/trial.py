"""Tries a handler without servers: what a requester would get, and what a worker would have to bear."""

import asyncio
from datetime import UTC, datetime
from time import perf_counter
from typing import NamedTuple
from uuid import UUID, uuid4

from schemas import CreateSessionRequest, CreateSessionResponse, session_id
from worker.handlers import Handler, PlainHandler
from worker.monitoring import loop_lag
from worker.monitoring.blocking import LATE_SECONDS, Blocking
from worker.process import own_task
from worker.steps.creating import HandlerCreation
from worker.steps.life import Life
from worker.steps.loading import lifespan_of
from worker.steps.retry_rule import RetryRule
from worker.values import Completed, Failed, PutOff, Requested, Route, Verdict, Work

_LOOK_SECONDS = 0.02  # more often than in a worker, which has other things to do


class Made(NamedTuple):
    """One call: what it came to, and how long it took."""

    verdict: Verdict
    seconds: float

    @property
    def response(self) -> CreateSessionResponse | None:
        """Return what the requester gets; None: nothing yet, the request is tried again."""
        if isinstance(self.verdict, PutOff):
            return None
        return CreateSessionResponse.model_validate_json(self.verdict.response)

    @property
    def failed(self) -> bool:
        """Return whether the call raised what it should not, or took too long."""
        why = None if isinstance(self.verdict, Completed) else self.verdict.failure
        return why is not None and why.kind in ("raised", "timeout")


class Blocked(NamedTuple):
    """How long the calls held up the event loop at worst, and where, if that was found out."""

    seconds: float
    place: str | None


class Trial(NamedTuple):
    """Two calls for the same request, as they come after a crash of a worker."""

    first: Made
    second: Made
    blocked: Blocked | None

    @property
    def alike(self) -> bool:
        """Return whether the second call came to the same as the first one."""
        return _told(self.first.verdict) == _told(self.second.verdict)


async def try_out(
    handler: Handler | PlainHandler, name: str, request: CreateSessionRequest, timeout_seconds: float
) -> Trial:
    """Open the handler's lifespan, call it twice for the same request, and close it."""
    life = Life(name, lifespan_of(handler))
    rule = RetryRule(max_attempts=2, base_seconds=1, cap_seconds=1)  # so that one failure ends no request
    creation = HandlerCreation(handler, 1, timeout_seconds, rule, life=life)
    work = _work(request, uuid4())
    lags = [0.0]
    try:
        await life.open()
        with Blocking(handler, name, look_seconds=_LOOK_SECONDS) as blocking:
            watching = asyncio.create_task(loop_lag.watch(lags.append, _LOOK_SECONDS))
            first, second = await _made(creation, work), await _made(creation, work)
            await own_task.end([watching])
        await life.close()
    finally:
        await life.end()
    worst, block = max(lags), blocking.take_worst()
    blocked = Blocked(worst, block.place if block else None) if worst > LATE_SECONDS else None
    return Trial(first, second, blocked)


async def _made(creation: HandlerCreation, work: Work) -> Made:
    begun = perf_counter()
    with await creation.reserve(1) as slots:
        (verdict,) = [each async for group in creation.create([work], slots) for each in group]
    seconds = perf_counter() - begun
    await asyncio.sleep(2 * _LOOK_SECONDS)  # the loop is looked at once more
    return Made(verdict, seconds)


def _work(request: CreateSessionRequest, request_id: UUID) -> Work:
    """Make the first attempt at this request, under an id that nobody has used."""
    request = request.model_copy(update={"request_id": request_id})
    return Work(
        request_id=request_id,
        attempt=1,
        session_id=session_id(request_id, datetime.now(UTC).date()),
        route=Route(None, None, None),
        org_id=request.org_id,
        user_id=request.user_id,
        document="{}",
        request=Requested.of(request),
    )


def _told(verdict: Verdict) -> object:
    """Return what is the same each time a handler does the same."""
    match verdict:
        case Completed() | Failed():
            response = CreateSessionResponse.model_validate_json(verdict.response)
            return response.status, response.error, response.metadata
        case PutOff():
            return verdict.reason
