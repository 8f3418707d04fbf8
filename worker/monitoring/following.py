"""Follows what is on its way, attempts, calls of the handler and publishes, until it has its spans."""

from collections.abc import Mapping, Sequence
from time import time_ns
from types import TracebackType
from typing import NamedTuple
from uuid import UUID

from opentelemetry import context as active
from opentelemetry import trace
from opentelemetry.sdk.trace import Event
from opentelemetry.trace import Link, SpanContext, SpanKind

from worker.monitoring.spans import ERROR, Place, Spans, clock, event, messaging, ns, text_of
from worker.monitoring.tracing import Call, Processing, Publishing, Timed
from worker.values import Answer, Completed, Failed, PutOff, Receipt, Verdict, Work


class Begun(NamedTuple):
    """An attempt that runs. Its span is made at its end."""

    work: Work
    context: SpanContext
    parent: SpanContext | None
    began: int
    links: list[Link]
    batch: list[Link]  # to the one in which it arrived


class Following(Processing):
    """Follows those attempts of a batch that are recorded. `running` has them by request while they run."""

    def __init__(
        self,
        works: Sequence[Work],
        spans: Spans,
        begun: dict[UUID, Begun],
        running: dict[UUID, Begun],
        accepting: Timed | None,
    ) -> None:
        super().__init__(works)
        self._spans = spans
        self._begun = begun
        self._running = running
        self._accepting = accepting
        running.update(begun)

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Record that those which are left came to nothing here."""
        for one in self._begun.values():
            self._forget(one)
            place = Place(one.context, one.parent, one.began, time_ns())
            about = {"session_worker.attempt": one.work.attempt}
            self._spans.process(place, one.work, about, one.links, error=kind.__name__ if kind else None)

    def end(self, verdicts: Sequence[Verdict], finishing: Timed, publishing: Timed) -> None:
        """Record the attempts with these verdicts, and the stages that they have been through."""
        now, zero = time_ns(), clock()
        for verdict in verdicts:
            one = self._begun.pop(verdict.work.request_id, None)
            if one is None:
                continue
            self._forget(one)
            if accepting := self._accepting:
                ended = one.began + ns(accepting.ended - accepting.began)  # by the clock that it began by
                self._spans.statement("accept", one.context, one.began, ended, one.batch)
                self._spans.settle(one.context, zero + ns(publishing.ended), now)
            self._spans.statement(
                "finish", one.context, zero + ns(finishing.began), zero + ns(finishing.ended)
            )
            self._end(one, verdict, now)

    def _end(self, one: Begun, verdict: Verdict, now: int) -> None:
        about: dict[str, str | int | None] = {"session_worker.attempt": one.work.attempt}
        events: list[Event] = []
        error = None
        match verdict:
            case Completed():
                about["session_worker.status"] = "completed"
            case Failed(code=code):
                about |= {"session_worker.status": "failed", "session_worker.code": code.value}
                error = code.value
            case PutOff(failure=failure):
                later: dict[str, str | int | None] = {
                    "session_worker.retry.reason": verdict.reason,
                    "session_worker.retry.delay_ms": round(verdict.delay_seconds * 1000),
                }
                about |= {"session_worker.status": "processing", **later}
                events.append(event("put off", later, now))
                error = failure.error_type if failure and failure.kind != "retry_later" else None
        place = Place(one.context, one.parent, one.began, now)
        self._spans.process(place, one.work, about, one.links, events, error)

    def _forget(self, one: Begun) -> None:
        if self._running.get(one.work.request_id) is one:  # else another batch has it again
            del self._running[one.work.request_id]


class RecordedCall(Call):
    """A call of the handler whose span is the active one while it runs."""

    def __init__(self, span: trace.Span) -> None:
        super().__init__(text_of(span.get_span_context()))
        self._span = span
        self._token = active.attach(trace.set_span_in_context(span))

    def end(self, outcome: str, error: BaseException | None) -> None:
        active.detach(self._token)
        self._span.set_attribute("session_worker.outcome", outcome)
        if error is not None and outcome in ("raised", "timeout"):
            # No text of the error: it may quote what was sent.
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(ERROR)
        self._span.end()


class RecordedPublishing(Publishing):
    """A publish of answers of which some are recorded: the contexts of these and their parents, by index."""

    def __init__(
        self,
        answers: Sequence[Answer],
        spans: Spans,
        begun: Mapping[int, tuple[SpanContext, SpanContext]],
    ) -> None:
        super().__init__(answers)
        self._spans = spans
        self._begun = begun
        self._began = time_ns()

    def end(self, receipts: Sequence[Receipt | None]) -> None:
        now = time_ns()
        for index, (context, parent) in self._begun.items():
            place = Place(context, parent, self._began, now)
            receipt = receipts[index] or Receipt.UNPUBLISHABLE  # so far: it goes apart later
            self._end(self.answers[index], place, None if receipt is Receipt.CONFIRMED else receipt.value)

    def _end(self, answer: Answer, place: Place, error: str | None) -> None:
        # A requester's own queue has no name here: there may be any number of them.
        to, shared = self._spans.responses, answer.route.reply_to is None
        about = {
            **messaging("publish", to if shared else None, "send"),
            "messaging.destination.anonymous": None if shared else True,
            "messaging.rabbitmq.destination.routing_key": answer.status if shared else None,
            "messaging.message.id": answer.message_id,
            "messaging.message.conversation_id": answer.route.correlation_id or str(answer.request_id),
            "session_worker.request_id": str(answer.request_id),
            "session_worker.status": answer.status,
            "session_worker.code": answer.code,
        }
        self._spans.end(f"publish {to}", SpanKind.PRODUCER, place, about, error=error)
