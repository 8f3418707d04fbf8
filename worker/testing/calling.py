"""Calls a handler as a worker does, without servers.

What decides is the worker's own code: the steps that decode a message, call the handler and make the verdict.
Only what would be stored or sent is left out.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from schemas import CreateSessionRequest, CreateSessionResponse
from schemas.strict_response import STRICT_RESPONSE
from worker.client.request import RequestMessage
from worker.handlers import Handler, OnProgress, PlainHandler
from worker.messages.decoding import Limits, decode, restore
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.monitoring.handler_calls import HandlerCalls
from worker.settings import Settings
from worker.steps.creating import HandlerCreation
from worker.steps.life import Life
from worker.steps.loading import lifespan_of, load_handler
from worker.steps.progress import Progress
from worker.steps.retry_rule import RetryRule
from worker.steps.verdicts import unrecorded_answer
from worker.testing.clocks import Clock
from worker.testing.example import example_request
from worker.testing.outcomes import Answered, DeadLetter, Outcome, Told, TriedAgain
from worker.testing.own_settings import given_settings
from worker.values import (
    Arrival,
    Cancellation,
    Completed,
    Failed,
    PutOff,
    Tried,
    Unreadable,
    Unrecorded,
    Verdict,
    Work,
    first_work,
)

_OWN: Final = object()
_KEYS = SealKeys({"test": os.urandom(32)})


async def call(
    handler: Handler | PlainHandler | str,
    request: CreateSessionRequest | Mapping[str, Any] | None = None,
    *,
    attempt: int = 1,
    deadline: datetime | None = None,
    traceparent: str | None = None,
    state: Any = _OWN,  # noqa: ANN401 — whatever a lifespan yields
    clock: Clock | None = None,
    **settings: Any,  # noqa: ANN401 — those of Settings, which checks them
) -> Outcome:
    """Call a handler for a request, and return what comes of it: the response that the requester gets, or the
    delay after which the request is tried again.

    The handler is a function, or named as in `WORKER_HANDLER`. Without a request it gets `example_request()`;
    credentials in it are in the clear, as in a worker that has seal keys. With `attempt=3`, two attempts have
    raised before, the first of them just now. `state` is `context.state`; without it the handler's lifespan
    is opened for the call. `settings` are a worker's, by the names of their fields
    (`handler_timeout_seconds=1`); the environment does not matter.
    """
    if isinstance(handler, str):
        handler = load_handler(handler)
    headers = {"deadline": deadline.isoformat() if deadline else None, "traceparent": traceparent}
    trial = _Trial(handler, state, clock or Clock(), given_settings(settings))
    return await trial.begin(_message(request, headers), attempt)


def _message(request: CreateSessionRequest | Mapping[str, Any] | None, headers: dict[str, Any]) -> Message:
    """Make the message as a client sends it."""
    if isinstance(request, CreateSessionRequest):
        document = request.model_dump(mode="json", exclude_unset=True)
    else:
        document = dict(example_request() if request is None else request)
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    sent = RequestMessage(
        UUID(int=0), body, {k: v for k, v in headers.items() if v is not None}, None, "call"
    )
    return Message(body, sent.properties("worker.testing", None), taken_by_broker=None)


class _Trial:
    """One request, and the attempts at it."""

    def __init__(
        self, handler: Handler | PlainHandler, state: object, clock: Clock, settings: Settings
    ) -> None:
        self._handler = handler
        self._state = state
        self._clock = clock
        self._settings = settings
        self._body: str | None = None

    async def begin(self, message: Message, attempt: int) -> Outcome:
        """Take the message in, and make an attempt with this number."""
        read = decode(message, Limits(self._settings.max_body_bytes), _KEYS, self._clock())
        match read:
            case Unreadable():
                return DeadLetter(reason=read.reason)
            case Unrecorded():
                answer = unrecorded_answer(read)
                return _answered(answer.body, attempt=0, code=read.refusal.code)
            case Cancellation():
                raise ValueError("a cancellation is for the worker: no handler is called for it")
            case Arrival():
                self._body = read.body
                work = first_work(read)
        if attempt > 1:
            tried = Tried(errors=attempt - 1, since=self._clock())
            work = self._from_record(work._replace(attempt=attempt, tried=tried))
        return await self._make(work)

    def _from_record(self, work: Work) -> Work:
        """Restore the request from its stored body, as it is for each attempt but the first."""
        if self._body is None:  # it is refused, and was when it came
            return work
        requested, document = restore(self._body, work.request_id, _KEYS)
        return work._replace(request=requested, document=document)

    async def _make(self, work: Work) -> Outcome:
        """Make an attempt, inside the handler's lifespan."""
        life = Life(_name(self._handler), lifespan_of(self._handler)) if self._state is _OWN else Life()
        calls, progress = _Calls(), _Progress()
        await life.open()
        try:
            if self._state is not _OWN:
                life.state = self._state
            verdict = await self._verdict(work, calls, life, progress)
        finally:
            await life.close()
        return self._outcome(verdict, calls.error, tuple(progress.told))

    async def _verdict(self, work: Work, calls: "_Calls", life: Life, progress: "_Progress") -> Verdict:
        creation = HandlerCreation(
            self._handler,
            1,
            self._settings.handler_timeout_seconds,
            RetryRule.of(self._settings),
            calls,
            self._settings.breaker_share,
            life,
            progress,
            now=self._clock,
        )
        with await creation.reserve(1) as slots:
            async with aclosing(creation.create([work], slots)) as groups:
                ((verdict,),) = [group async for group in groups]
        return verdict

    def _outcome(self, verdict: Verdict, error: BaseException | None, progress: tuple[Told, ...]) -> Outcome:
        work = verdict.work
        match verdict:
            case Completed():
                return _answered(verdict.response, attempt=work.attempt, progress=progress)
            case Failed():
                return _answered(
                    verdict.response, attempt=work.attempt, code=verdict.code, failure=verdict.failure,
                    error=error, progress=progress,
                )  # fmt: skip
            case PutOff():
                return self._tried_again(verdict, error, progress)

    def _tried_again(
        self, verdict: PutOff, error: BaseException | None, progress: tuple[Told, ...]
    ) -> TriedAgain:
        work, failure, failed_at = verdict.work, verdict.failure, self._clock()

        async def again() -> Outcome:
            self._clock.advance(failed_at + timedelta(seconds=verdict.delay_seconds) - self._clock())
            tried = work.tried.and_(failure.kind, failed_at) if failure else work.tried
            spent = failure is not None
            return await self._make(
                self._from_record(work._replace(attempt=work.attempt + spent, tried=tried))
            )

        return TriedAgain(
            after=timedelta(seconds=verdict.delay_seconds),
            reason=verdict.reason,
            attempt=work.attempt,
            failure=failure,
            error=error,
            progress=progress,
            again=again,
        )


class _Calls(HandlerCalls):
    """Keeps the error that the handler raised."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def raised(self, error: BaseException) -> None:
        self.error = error
        super().raised(error)


class _Progress(Progress):
    """Keeps all that a call tells of its progress."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []

    @contextmanager
    def of(self, work: Work) -> Iterator[OnProgress]:
        with super().of(work) as tell:

            def heard(fraction: float | None, text: str) -> None:
                self.told.append(Told(fraction, text))
                tell(fraction, text)

            yield heard


def _name(handler: object) -> str:
    return f"{getattr(handler, '__module__', '')}:{getattr(handler, '__qualname__', type(handler).__name__)}"


def _answered(body: str, **rest: Any) -> Answered:  # noqa: ANN401 — the other fields
    """Check the response as a requester may, and strictly."""
    STRICT_RESPONSE.validate_json(body)
    return Answered(response=CreateSessionResponse.model_validate_json(body), body=body, **rest)
