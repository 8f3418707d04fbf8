"""Tracing is off unless a collector is set; a client traces if its program does."""

import subprocess
import sys
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid5

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from worker.client.request import Request, cancellation, message_of
from worker.client.tracing import creating
from worker.errors import SettingsError
from worker.monitoring.recording import Recording
from worker.monitoring.tracing import OFF, tracing_of
from worker.settings import Settings
from worker.traceparent import TraceParent

NAMES: dict[str, Any] = {"requests": "t.requests", "responses": "t.responses", "build": "b", "resource": {}}
_STARTS = """
import sys
from worker.client import Client
from worker.settings import Settings
from worker.wiring import given_by
given = given_by(Settings(amqp_url="amqp://h/%2F", database_url="postgresql://h/x"), eager=False)
Client("amqp://h/%2F")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Sets OpenTelemetry up, as a program with a client does; returns where its spans go."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def made(**changes: Any) -> Settings:
    return Settings(amqp_url="amqp://h/", database_url="postgresql://h/x", **changes)


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    said = subprocess.run([sys.executable, "-c", _STARTS], capture_output=True, check=True, text=True)  # noqa: S603 — our own program

    assert said.stdout == "[]\n"
    assert tracing_of(made(), **NAMES) is OFF


def test_without_the_extra_a_worker_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "worker.monitoring.recording", None)

    with capture_logs() as events:
        tracing = tracing_of(made(otlp_endpoint="http://collector:4318"), **NAMES)

    assert tracing is OFF
    assert [(one["event"], one["remedy"]) for one in events] == [
        ("tracing.not_installed", "install session-worker[worker,tracing]")
    ]


def test_each_worker_chooses_the_same_share() -> None:
    ids = [uuid5(UUID(int=7), str(number)) for number in range(2000)]
    chosen = [
        {one for one in ids if recording.records(one)}
        for recording in (Recording("http://h", share, **NAMES) for share in (0, 0.1, 0.1, 1))
    ]

    assert [len(some) for some in (chosen[0], chosen[3])] == [0, 2000]
    assert chosen[1] == chosen[2]
    assert 150 < len(chosen[1]) < 250


def test_a_wrong_variable_of_opentelemetry_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999")  # more than the queue holds

    with pytest.raises(SettingsError, match="OTEL_"):
        Recording("http://h", 1, **NAMES).open()


def test_an_event_of_the_log_may_have_any_request_id() -> None:
    recording = Recording("http://h", 1, **NAMES)
    recording.remember(UUID(int=7), f"00-{'7' * 32}-{'1' * 16}-01")
    recording.remember(UUID(int=8), f"00-{'8' * 32}-{'1' * 16}-00")
    ids: list[object] = [str(UUID(int=7)), str(UUID(int=8)), [], 7]

    assert [recording.trace_id_of({"request_id": one}) for one in ids] == ["7" * 32, None, None, None]
    assert recording.trace_id_of({}) is None


def test_a_client_without_a_tracer_sends_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    message = message_of(Request(org_id="org-1"))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)

    with creating(message, "t.requests") as traced:
        assert traced == message
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with creating(message, "t.requests") as traced:
        assert traced is message


@pytest.mark.parametrize("flag", ["01", "00"])
def test_a_client_follows_the_traceparent_that_it_is_given(exported: InMemorySpanExporter, flag: str) -> None:
    given = f"00-{'7' * 32}-{'1' * 16}-{flag}"
    message = message_of(Request(org_id="org-1", traceparent=given))

    with suppress(KeyError), creating(message, "t.requests") as traced:
        sent = TraceParent.read(traced.headers["traceparent"])
        raise KeyError

    assert (sent and sent.trace_id, sent and sent.sampled) == ("7" * 32, flag == "01")
    spans = exported.get_finished_spans()
    told = [(one.name, one.status.status_code.name, (one.attributes or {})["error.type"]) for one in spans]
    assert told == ([("create t.requests", "ERROR", "KeyError")] if flag == "01" else [])


def test_a_cancellation_begins_no_trace(exported: InMemorySpanExporter) -> None:
    with creating(cancellation(UUID(int=7), None), "t.requests") as traced:
        assert traced.headers == {}
    assert exported.get_finished_spans() == ()
