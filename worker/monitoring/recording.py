"""Records what happens to requests as spans. Imported only where tracing is on.

Most spans are made when they have ended, from the times that the steps have noted: only a call of the handler
has a span while it runs, for what the handler itself does.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import time_ns
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

import structlog
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

from worker.errors import SettingsError
from worker.monitoring.following import Begun, Following, RecordedCall, RecordedPublishing
from worker.monitoring.spans import (
    Place,
    Spans,
    child_of,
    clock,
    context_in,
    first_span,
    new_root,
    ns,
    own_trace,
    text_of,
)
from worker.monitoring.tracing import Call, D, Processing, Publishing, Timed, Tracing, in_use
from worker.values import Answer, Arrival, Read, Waiting, Work

_REMEMBERED = 10_000  # requests; twice as many at most
_CRC_VALUES = 1 << 32


class _Seen(NamedTuple):
    """A recorded request that came this way lately. `batch`: the span in which it arrived, if it did here."""

    trace_id: str
    batch: SpanContext | None


class Recording(Tracing):
    """Records the requests whose senders record them, and this share of those that come without a trace."""

    on = True

    def __init__(
        self,
        endpoint: str,
        share: float,
        *,
        requests: str,
        responses: str,
        build: str,
        resource: Mapping[str, str],
    ) -> None:
        self._make_spans = partial(
            Spans, endpoint, requests=requests, responses=responses, build=build, resource=resource
        )
        self._bound = share * _CRC_VALUES
        self._running: dict[UUID, Begun] = {}
        self._seen: dict[str, _Seen] = {}
        self._seen_before: dict[str, _Seen] = {}

    def open(self) -> None:
        try:
            self._spans = self._make_spans()
        except ValueError as error:
            raise SettingsError(f"a variable of OpenTelemetry (OTEL_…): {error}") from None
        in_use.set(self)

    async def close(self) -> None:
        await self._spans.close()

    def records(self, request_id: UUID) -> bool:
        """Tell whether a request that comes without a trace is among those of the share."""
        return crc32(request_id.bytes) < self._bound

    def receive(self, reads: Sequence[tuple[D, Read]]) -> Sequence[tuple[D, Read]]:
        batch = list(reads)
        found: list[tuple[UUID, SpanContext]] = []
        for index, (delivery, read) in enumerate(reads):
            if not isinstance(read, Arrival):
                continue
            traceparent = read.route.traceparent
            if traceparent is None:
                if not self.records(read.request_id):
                    continue
                traceparent = own_trace(read.request_id)
            if context := context_in(traceparent):
                batch[index] = delivery, read._replace(route=read.route._replace(traceparent=traceparent))
                found.append((read.request_id, context))
        if found:
            late = asyncio.get_running_loop().time() - min(delivery.received for delivery, _ in reads)
            span = new_root()
            self._spans.receive(
                span, time_ns() - ns(late), len(reads), [Link(context) for _, context in found]
            )
            for request_id, context in found:
                self._see(request_id, context, span)
        return batch

    def wait(self, waiting: Iterable[Waiting], lining: Timed) -> None:
        for arrival, reason in waiting:
            if (parent := context_in(arrival.route.traceparent)) is None:
                continue
            began, ended, now = clock() + ns(lining.began), clock() + ns(lining.ended), time_ns()
            context, above = first_span(arrival.request_id, parent)
            self._spans.statement("wait", context, began, ended, self._batch_of(arrival.request_id))
            self._spans.settle(context, ended, now)
            about = {"session_worker.status": "pending", "session_worker.waits": reason}
            self._spans.process(Place(context, above, began, now), arrival, about)

    def process(self, works: Sequence[Work], accepting: Timed | None) -> Processing:
        began = time_ns() if accepting is None else clock() + ns(accepting.began)
        begun: dict[UUID, Begun] = {}
        followed = list(works)
        for index, work in enumerate(works):
            if work.route.traceparent is not None and (parent := context_in(work.route.traceparent)):
                begun[work.request_id] = one = self._begun(work, parent, began, is_new=accepting is not None)
                followed[index] = work._replace(span=text_of(one.context))
        return (
            Following(followed, self._spans, begun, self._running, accepting) if begun else Processing(works)
        )

    def _begun(self, work: Work, parent: SpanContext, began: int, *, is_new: bool) -> Begun:
        if is_new:
            context, above = first_span(work.request_id, parent)
            return Begun(work, context, above, began, links=[], batch=self._batch_of(work.request_id))
        self._see(work.request_id, parent, None)
        links = [Link(parent)] if _was_put_off(work) else []
        return Begun(work, child_of(parent), parent, began, links=links, batch=[])

    def call(self, work: Work) -> Call:
        begun = self._running.get(work.request_id)
        if begun is None or work.span is None:
            return super().call(work)
        parent = trace.set_span_in_context(NonRecordingSpan(begun.context))
        about = {"session_worker.attempt": work.attempt}
        return RecordedCall(self._spans.tracer.start_span("handler", parent, attributes=about))

    def publish(self, answers: Sequence[Answer]) -> Publishing:
        published = list(answers)
        begun: dict[int, tuple[SpanContext, SpanContext]] = {}
        for index, answer in enumerate(answers):
            work = self._running.get(answer.request_id)
            if work is None and answer.route.traceparent is None:
                continue
            parent = context_in(answer.route.traceparent)
            # Whoever asked last may have come with a trace of his own.
            if work and (parent is None or parent.trace_id == work.context.trace_id):
                parent = work.context
            if parent:
                begun[index] = context, _ = child_of(parent), parent
                published[index] = answer._replace(route=answer.route._replace(traceparent=text_of(context)))
        return RecordedPublishing(published, self._spans, begun) if begun else Publishing(answers)

    def remember(self, request_id: UUID, traceparent: str | None) -> None:
        if context := context_in(traceparent):
            self._see(request_id, context, None)

    def trace_id_of(self, event: structlog.typing.EventDict) -> str | None:
        request_id = event.get("request_id")
        if isinstance(request_id, str):
            seen = self._seen_lately(request_id)
            return seen.trace_id if seen else None
        inside = trace.get_current_span().get_span_context()
        return trace.format_trace_id(inside.trace_id) if inside.trace_flags.sampled else None

    def _see(self, request_id: UUID, context: SpanContext, batch: SpanContext | None) -> None:
        if len(self._seen) >= _REMEMBERED:
            self._seen_before, self._seen = self._seen, {}
        self._seen[str(request_id)] = _Seen(trace.format_trace_id(context.trace_id), batch)

    def _seen_lately(self, request_id: str) -> _Seen | None:
        return self._seen.get(request_id) or self._seen_before.get(request_id)

    def _batch_of(self, request_id: UUID) -> list[Link]:
        seen = self._seen_lately(str(request_id))
        return [Link(seen.batch)] if seen and seen.batch else []


def _was_put_off(work: Work) -> bool:
    """Tell whether the record has the span of an attempt that was put off."""
    again = work.since is not None and work.since.path == "retried"
    return again or work.tried.errors + work.tried.put_offs > 0
