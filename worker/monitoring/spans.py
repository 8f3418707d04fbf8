"""Makes spans of OpenTelemetry that have ended, and names them. Imported only where tracing is on.

The names are those of the semantic conventions 1.44.0, of which the part about messaging is in development.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from time import perf_counter, time_ns
from typing import NamedTuple
from uuid import UUID

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from worker.monitoring.exporting import Exporting
from worker.traceparent import TraceParent
from worker.values import Arrival, Work

_SCOPE = "session-worker"
_CONVENTIONS = "https://opentelemetry.io/schemas/1.44.0"
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_new = RandomIdGenerator()

Attributes = Mapping[str, str | int | bool | None]


class Place(NamedTuple):
    """Where a span stands, and when. Times are nanoseconds since 1970."""

    context: SpanContext
    parent: SpanContext | None
    began: int
    ended: int


class Spans:
    """Makes the spans of a worker, and hands them to the exporter."""

    def __init__(
        self, endpoint: str, *, requests: str, responses: str, build: str, resource: Mapping[str, str]
    ) -> None:
        self.requests = requests
        self.responses = responses
        self._build = build
        self._resource = Resource.create(resource)
        self._scope = InstrumentationScope(_SCOPE, resource.get("service.version"), _CONVENTIONS)
        self._exporting = Exporting(endpoint)
        # A span of the handler's own is recorded inside the trace of a request, and nowhere else.
        provider = TracerProvider(ParentBased(ALWAYS_OFF), self._resource, shutdown_on_exit=False)
        provider.add_span_processor(self._exporting.processor)
        self.tracer = provider.get_tracer(_SCOPE, self._scope.version, schema_url=_CONVENTIONS)
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(provider)  # the handler's author has set none

    async def close(self) -> None:
        await self._exporting.close()

    def receive(self, context: SpanContext, began: int, deliveries: int, links: Sequence[Link]) -> None:
        about = {**messaging("receive", self.requests), "messaging.batch.message_count": deliveries}
        place = Place(context, None, began, time_ns())
        self.end(f"receive {self.requests}", SpanKind.CLIENT, place, about, links)

    def statement(
        self, name: str, parent: SpanContext, began: int, ended: int, links: Sequence[Link] = ()
    ) -> None:
        about = {"db.system.name": "postgresql", "db.operation.name": name}
        self.end(name, SpanKind.CLIENT, Place(child_of(parent), parent, began, ended), about, links)

    def settle(self, parent: SpanContext, began: int, ended: int) -> None:
        place = Place(child_of(parent), parent, began, ended)
        self.end("settle", SpanKind.CLIENT, place, messaging("settle", self.requests))

    def process(
        self,
        place: Place,
        of: Arrival | Work,
        about: Attributes,
        links: Sequence[Link] = (),
        events: Sequence[Event] = (),
        error: str | None = None,
    ) -> None:
        about = {
            **messaging("process", self.requests),
            "messaging.message.conversation_id": of.route.correlation_id,
            "session_worker.request_id": str(of.request_id),
            "session_worker.org_id": of.org_id,
            "session_worker.session_id": of.session_id,
            "session_worker.build": self._build,
            "session_worker.path": of.since.path if of.since else None,
            **about,
        }
        self.end(f"process {self.requests}", SpanKind.CONSUMER, place, about, links, events, error)

    def end(
        self,
        name: str,
        kind: SpanKind,
        place: Place,
        about: Attributes,
        links: Sequence[Link] = (),
        events: Sequence[Event] = (),
        error: str | None = None,
    ) -> None:
        """Hand a span that has ended to the exporter."""
        self._exporting.processor.on_end(
            ReadableSpan(
                name=name,
                context=place.context,
                parent=place.parent,
                resource=self._resource,
                attributes=known({**about, "error.type": error}),
                events=events,
                links=links,
                kind=kind,
                status=ERROR if error else _UNSET,
                start_time=place.began,
                end_time=place.ended,
                instrumentation_scope=self._scope,
            )
        )


def messaging(operation: str, destination: str | None, kind: str | None = None) -> Attributes:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind or operation,
        "messaging.destination.name": destination,
    }


def known(attributes: Attributes) -> dict[str, str | int | bool]:
    return {name: value for name, value in attributes.items() if value is not None}


def event(name: str, attributes: Attributes, at: int) -> Event:
    return Event(name, BoundedAttributes(attributes=known(attributes)), at)


def context_in(traceparent: str | None) -> SpanContext | None:
    """Return what a traceparent names; None: there is none, or its trace is not recorded."""
    found = TraceParent.read_recorded(traceparent)
    return SpanContext(int(found.trace_id, 16), int(found.span_id, 16), True, _SAMPLED) if found else None


def text_of(context: SpanContext) -> str:
    trace_id, span_id = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return str(TraceParent(trace_id, span_id, sampled=True))


def new_root() -> SpanContext:
    return SpanContext(_new.generate_trace_id(), _new.generate_span_id(), False, _SAMPLED)


def child_of(parent: SpanContext) -> SpanContext:
    return SpanContext(parent.trace_id, _new.generate_span_id(), False, _SAMPLED)


def own_trace(request_id: UUID) -> str:
    """Make the traceparent of a request that comes without one. It is the same for each copy of it, whichever
    worker takes it, and its trace has the id of the request.
    """
    span_id = blake2b(request_id.bytes, digest_size=8).hexdigest()
    return str(TraceParent(request_id.hex, span_id, sampled=True))


def first_span(request_id: UUID, parent: SpanContext) -> tuple[SpanContext, SpanContext | None]:
    """Return the span of whoever takes a request from the broker, and its parent: where the trace is our own,
    it is the root of it.
    """
    if parent.trace_id == request_id.int and text_of(parent) == own_trace(request_id):
        return parent, None
    return child_of(parent), parent


def clock() -> int:
    """Return when `perf_counter` was 0, in nanoseconds since 1970."""
    return time_ns() - ns(perf_counter())


def ns(seconds: float) -> int:
    return int(seconds * 1e9)
