"""Begins the trace of a request where the program has set up OpenTelemetry; else it imports nothing of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

from schemas.wire import REQUEST_TYPE
from worker.client.request import RequestMessage
from worker.process.identity import package_version
from worker.traceparent import TraceParent


@contextmanager
def creating(message: RequestMessage, queue: str) -> Iterator[RequestMessage]:
    """Make the span of a request, which ends with this context; yield the message that carries it. It is a
    child of the `traceparent` that the message has, else of the active span.
    """
    # Whoever has set it up has imported it.
    if "opentelemetry.trace" not in sys.modules or message.message_type != REQUEST_TYPE:
        yield message
        return
    from opentelemetry import trace  # noqa: PLC0415 — see above

    given = TraceParent.read(message.headers.get("traceparent"))
    context = None
    if given:
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if given.sampled else trace.TraceFlags.DEFAULT)
        parent = trace.SpanContext(int(given.trace_id, 16), int(given.span_id, 16), True, flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    span = trace.get_tracer("session-worker", _version()).start_span(
        f"create {queue}",
        context,
        trace.SpanKind.PRODUCER,
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
            "messaging.destination.name": queue,
            "messaging.rabbitmq.destination.routing_key": message.routing_key,
            "messaging.message.conversation_id": message.call,
            "session_worker.request_id": str(message.request_id),
        },
    )
    made = span.get_span_context()
    if made.is_valid:
        text = TraceParent(
            trace.format_trace_id(made.trace_id), trace.format_span_id(made.span_id), made.trace_flags.sampled
        )
        message = replace(message, headers={**message.headers, "traceparent": str(text)})
    try:
        yield message
    except BaseException as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(trace.Status(trace.StatusCode.ERROR))
        raise
    finally:
        span.end()


@cache
def _version() -> str:
    return package_version()  # it looks for a file
