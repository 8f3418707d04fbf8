"""A request leaves one trace, from whoever asks for it through each attempt to whoever gets the response."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util._once import Once
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from support.collector import Collector, Span, collecting
from support.handlers import steer
from support.harness import Desk, NewWorker, good_request, metric_becomes, row_of, told
from support.logging_kept import logging_kept

from schemas import CreateSessionRequest
from worker.client import Client
from worker.handlers import Context, RetryLater
from worker.monitoring import exporting, log
from worker.settings import Settings
from worker.testing.running import RunningWorker

CANARY = "what was sent"
ELSEWHERE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves the process without a tracer, and its logging as it was."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(exporting, "_CLOSE_SECONDS", 60)  # nothing is cut short on a slow machine
    with logging_kept():
        yield


@pytest_asyncio.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running:
        yield running


@pytest.fixture
def shop(collector: Collector) -> TracerProvider:
    """Sets OpenTelemetry up, as the program does in which the client is."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    trace.set_tracer_provider(provider)
    return provider


async def test_one_trace_from_the_client_through_two_attempts_to_the_subscriber(
    settings: Settings, new_worker: NewWorker, client: Client, collector: Collector, shop: TracerProvider,
    db: asyncpg.Connection, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    log.configure(
        settings.model_copy(update={"otlp_endpoint": "x", "log_level": "info", "log_format": "json"})
    )
    handed: list[tuple[int, str | None, str]] = []

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        inside = trace.get_current_span().get_span_context()
        handed.append((context.attempt, context.traceparent, trace.format_span_id(inside.span_id)))
        with trace.get_tracer("rooms").start_as_current_span("ask for a room"):
            structlog.get_logger("rooms").info("room.asked_for")
        if context.attempt == 1:
            raise RetryLater(0.02, "no room is free")

    worker = await new_worker(handler=steer(act), otlp_endpoint=collector.url)
    tracer = trace.get_tracer("shop")
    with tracer.start_as_current_span("order"):
        request_id = await client.submit(org_id="org-7", payload={"name": "Support"})
    async with client.subscribe(limit=1) as responses:
        async for response in responses:
            context = TraceContextTextMapPropagator().extract({"traceparent": responses.traceparent or ""})
            with tracer.start_as_current_span("use it", context):
                assert response.request_id == request_id
    await metric_becomes(1, worker, "worker_end_to_end_seconds_count", path="retried", status="completed")
    exemplars = await exemplars_of(worker)
    await worker.stop()
    await asyncio.to_thread(shop.shutdown)

    order, received = collector.one("order"), collector.one(f"receive {settings.prefix}.requests")
    create = collector.one(f"create {settings.prefix}.requests")
    process, publish = f"process {settings.prefix}.requests", f"publish {settings.prefix}.responses"
    handler: dict[str, Any] = {"handler": {"ask for a room": {}}}
    second = {process: {**handler, "finish": {}, publish: {"use it": {}}}}
    assert collector.below(order) == {
        create.name: {process: {"accept": {}, **handler, "finish": {}, "settle": {}, **second}}
    }
    assert {one.trace_id for one in collector.spans} == {order.trace_id, received.trace_id}
    assert {one.service for one in (order, create)} == {"shop"}

    first, again = collector.named(process)
    assert (received.links, collector.one("accept").links) == ([create.span_id], [received.span_id])
    assert (first.links, again.links) == ([], [first.span_id])
    assert [(one.kind, one.service) for one in (first, received, create)] == [
        ("CONSUMER", "session-worker"), ("CLIENT", "session-worker"), ("PRODUCER", "shop"),
    ]  # fmt: skip
    kinds = {
        name: collector.named(name)[0].kind for name in ("accept", "handler", "finish", "settle", publish)
    }
    assert kinds == {
        "accept": "CLIENT", "handler": "INTERNAL", "finish": "CLIENT", "settle": "CLIENT",
        publish: "PRODUCER",
    }  # fmt: skip

    assert_what_they_tell(collector, request_id, response.payload.session_id)
    assert [one.attributes["session_worker.outcome"] for one in collector.named("handler")] == ["retry", "ok"]
    assert [one.failed for one in (first, again, *collector.named("handler"))] == [False] * 4
    assert handed == [
        (attempt, f"00-{order.trace_id}-{span.span_id}-01", span.span_id)
        for attempt, span in enumerate(collector.named("handler"), 1)
    ]
    assert_each_lies_in_its_parent(collector, first, again)
    assert (await row_of(db, request_id))["traceparent"] == f"00-{order.trace_id}-{first.span_id}-01"

    assert exemplars == {
        ("worker_handler_seconds", order.trace_id), ("worker_end_to_end_seconds", order.trace_id),
    }  # fmt: skip
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = ["room.asked_for", "request.retry", "request.processing", "room.asked_for", "request.completed"]
    assert [one["event"] for one in logged if one.get("trace_id") == order.trace_id] == events
    assert [one for one in logged if one.get("trace_id") != order.trace_id and "request_id" in one] == []


def assert_what_they_tell(collector: Collector, request_id: UUID, session_id: str) -> None:
    """Checks the attributes of the attempts, of the batch and of the publish."""
    (received,) = (one for one in collector.spans if one.name.startswith("receive"))
    requests = received.name.removeprefix("receive ")
    responses = requests.replace("requests", "responses")
    first, again = collector.named(f"process {requests}")
    later = {"session_worker.retry.reason": "no room is free", "session_worker.retry.delay_ms": 20}
    about = {
        **messaging("process", requests),
        "messaging.message.conversation_id": str(request_id),
        "session_worker.request_id": str(request_id),
        "session_worker.org_id": "org-7",
        "session_worker.session_id": session_id,
    }
    build = first.attributes["session_worker.build"]
    assert first.attributes == {
        **about, **later, "session_worker.build": build, "session_worker.path": "direct",
        "session_worker.attempt": 1, "session_worker.status": "processing",
    }  # fmt: skip
    assert first.events == [("put off", later)]
    assert again.attributes == {
        **about, "session_worker.build": build, "session_worker.path": "retried",
        "session_worker.attempt": 2, "session_worker.status": "completed",
    }  # fmt: skip
    assert received.attributes == {
        **messaging("receive", requests), "messaging.batch.message_count": 1,
    }  # fmt: skip
    assert collector.one(f"publish {responses}").attributes == {
        **messaging("publish", responses, "send"),
        "messaging.message.id": str(request_id),
        "messaging.message.conversation_id": str(request_id),
        "messaging.rabbitmq.destination.routing_key": "completed",
        "session_worker.request_id": str(request_id),
        "session_worker.status": "completed",
    }


async def exemplars_of(worker: RunningWorker) -> set[tuple[str, str]]:
    """Returns the metrics that name a trace, each with its id."""
    wants = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
    url = f"http://127.0.0.1:{worker.http_port}/metrics"
    async with aiohttp.ClientSession() as asking, asking.get(url, headers=wants) as page:
        text = await page.text()
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # has no types
    return {
        (family.name, sample.exemplar.labels["trace_id"])
        for family in families
        for sample in family.samples
        if sample.exemplar
    }


def messaging(operation: str, destination: str, kind: str | None = None) -> dict[str, str]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind or operation,
        "messaging.destination.name": destination,
    }


def assert_each_lies_in_its_parent(collector: Collector, *processes: Span) -> None:
    for process in processes:
        inside = [
            one
            for one in collector.spans
            if one.parent_id == process.span_id and not one.name.startswith("process")
        ]
        assert inside
        for one in inside:
            assert process.began <= one.began <= one.ended <= process.ended, one.name


async def test_the_sender_decides_and_a_share_of_the_others_is_recorded(
    new_worker: NewWorker, desk: Desk, collector: Collector, db: asyncpg.Connection
) -> None:
    refused = good_request()
    worker = await new_worker(otlp_endpoint=collector.url, trace_sample=0)
    unasked = await answer_to(desk, good_request())
    recorded = await answer_to(desk, good_request(), traceparent=f"00-{ELSEWHERE}-00f067aa0ba902b7-01")
    await worker.stop()
    worker = await new_worker(otlp_endpoint=collector.url, trace_sample=1)
    left_out = await answer_to(desk, refused, traceparent=f"00-{ELSEWHERE}-00f067aa0ba902b8-00")
    await worker.stop()

    assert unasked is None
    assert recorded is not None and recorded.startswith(f"00-{ELSEWHERE}-")  # noqa: PT018 — one follows
    assert left_out == f"00-{ELSEWHERE}-00f067aa0ba902b8-00"
    assert (await row_of(db, refused["request_id"]))["traceparent"] == left_out
    assert {one.trace_id for one in collector.spans if not one.name.startswith("receive")} == {ELSEWHERE}
    assert {one.attributes.get("session_worker.request_id") for one in collector.spans} & {
        refused["request_id"]
    } == set()


async def answer_to(desk: Desk, request: dict[str, Any], **headers: str) -> str | None:
    """Sends a request; returns the traceparent of its response."""
    await desk.send(request, headers=headers)
    said = (await desk.next()).headers.get("traceparent")
    return str(said) if said is not None else None


async def test_a_request_without_a_trace_has_one_of_its_own(
    settings: Settings, new_worker: NewWorker, desk: Desk, collector: Collector, db: asyncpg.Connection
) -> None:
    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.payload.name == CANARY:
            raise ValueError(request.payload.name)

    worker = await new_worker(otlp_endpoint=collector.url, trace_sample=1, handler=steer(act), max_attempts=1)
    plain, waiting, wrong, broken = (good_request(name=name) for name in ("a", "b", 17, CANARY))
    said = await answer_to(desk, plain)
    said_again = await answer_to(desk, plain)
    await answer_to(desk, wrong)
    await answer_to(desk, broken)
    begins = datetime.now(UTC) + timedelta(seconds=3)  # it has arrived before that
    await desk.send(waiting, headers={"not_before": int(begins.timestamp() * 1000)})
    await desk.next()
    await worker.stop()

    process, publish = f"process {settings.prefix}.requests", f"publish {settings.prefix}.responses"
    trace_ids = {id(one): UUID(one["request_id"]).hex for one in (plain, waiting, wrong)}
    root = collector.one(process, request_id=plain["request_id"])
    assert (root.trace_id, root.parent_id, root.failed) == (trace_ids[id(plain)], "", False)
    told_to = collector.named(publish, request_id=plain["request_id"])
    assert [f"00-{one.trace_id}-{one.span_id}-01" for one in told_to] == [said, said_again]
    assert {one.parent_id for one in told_to} == {root.span_id}
    assert told_to[0].attributes["messaging.destination.anonymous"] is True
    traceparent = (await row_of(db, plain["request_id"]))["traceparent"]
    assert traceparent == f"00-{root.trace_id}-{root.span_id}-01"

    failed = collector.one(process, request_id=wrong["request_id"])
    assert (failed.failed, failed.attributes["error.type"]) == (True, "invalid_request")
    assert failed.attributes["session_worker.code"] == "invalid_request"

    attempt = collector.one(process, request_id=broken["request_id"])
    call = next(one for one in collector.named("handler") if one.parent_id == attempt.span_id)
    assert (call.failed, call.attributes["error.type"]) == (True, "ValueError")
    assert (attempt.failed, attempt.attributes["error.type"]) == (True, "attempts_exhausted")
    assert CANARY not in repr(collector.spans)

    lined, tried = collector.named(process, request_id=waiting["request_id"])
    assert (lined.trace_id, lined.parent_id) == (trace_ids[id(waiting)], "")
    assert lined.attributes["session_worker.waits"] == "not_before"
    assert collector.below(lined) == {
        "wait": {}, "settle": {}, process: {"handler": {}, "finish": {}, publish: {}},
    }  # fmt: skip
    assert tried.attributes["session_worker.path"] == "waited"


async def test_a_collector_that_is_away_or_hangs_holds_up_nothing(
    settings: Settings, new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")  # it waits 0.8 to 1.2 s before it tries again
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with capture_logs() as events, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen: it is refused, and nobody else gets the port
        port = held.getsockname()[1]
        worker = await new_worker(otlp_endpoint=f"http://127.0.0.1:{port}", trace_sample=1)
        for count in (1, 2):
            assert await answer_to(desk, good_request()), count
            away = await told(events, "tracing.not_exported", 1)
        async with collecting(held) as collector:
            assert await answer_to(desk, good_request())
            await told(events, "tracing.exported_again", 1)
            await worker.stop()
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
            monkeypatch.setattr(exporting, "_CLOSE_SECONDS", 0.1)
            worker = await new_worker(otlp_endpoint=collector.url, trace_sample=1)
            collector.answers.clear()
            assert await answer_to(desk, good_request())
            async with asyncio.timeout(30):
                await worker.stop()
            collector.answers.set()
            # Else it goes on trying, and tells of it in another test.
            ending = [thread for thread in threading.enumerate() if thread.name == "traces-end"]
            for thread in ending:
                await asyncio.to_thread(thread.join)

    assert ending
    assert away["collector"] == f"127.0.0.1:{port}"
    assert "refused" in away["reason"]
    assert [one["event"] for one in events if one["event"].startswith("tracing.")] == [
        "tracing.not_exported", "tracing.exported_again", "tracing.cut_short",
    ]  # fmt: skip
