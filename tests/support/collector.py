"""A collector of traces: takes OTLP over HTTP as a real one does, and keeps the spans."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    """A span as it was exported."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    links: list[str]  # the ids of the spans
    events: list[tuple[str, dict[str, Any]]]


@dataclass
class Collector:
    url: str
    spans: list[Span] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: it takes, and never answers

    def named(self, name: str, **attributes: object) -> list[Span]:
        """Returns the spans with this name and these attributes of session_worker, the earliest first."""
        wanted = {f"session_worker.{key}": value for key, value in attributes.items()}
        found = [one for one in self.spans if one.name == name and wanted.items() <= one.attributes.items()]
        return sorted(found, key=lambda span: span.began)

    def one(self, name: str, **attributes: object) -> Span:
        (span,) = self.named(name, **attributes)
        return span

    def below(self, span: Span) -> dict[str, Any]:
        """Returns the names of its children, each with those of its own, in the order in which they began."""
        children = sorted(
            (one for one in self.spans if (one.trace_id, one.parent_id) == (span.trace_id, span.span_id)),
            key=lambda child: (child.began, child.ended),
        )
        assert len({child.name for child in children}) == len(children), [child.name for child in children]
        return {child.name: self.below(child) for child in children}


@asynccontextmanager
async def collecting(listening: socket.socket | None = None) -> AsyncIterator[Collector]:
    """Listens while the context is open: on a socket of the caller's, or on any port of the loopback."""

    async def take(request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        await collector.answers.wait()
        collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
        return web.Response(body=ExportTraceServiceResponse().SerializeToString())

    application = web.Application(client_max_size=1 << 26)
    application.add_routes([web.post("/v1/traces", take)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listening or socket.create_server(("127.0.0.1", 0))).start()
        collector = Collector(f"http://127.0.0.1:{runner.addresses[0][1]}")
        collector.answers.set()
        yield collector
    finally:
        await runner.cleanup()


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            name=span.name,
            kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            service=str(_values(of.resource.attributes)["service.name"]),
            began=span.start_time_unix_nano,
            ended=span.end_time_unix_nano,
            failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
            attributes=_values(span.attributes),
            links=[link.span_id.hex() for link in span.links],
            events=[(event.name, _values(event.attributes)) for event in span.events],
        )
        for of in request.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    return getattr(value, str(value.WhichOneof("value")))
