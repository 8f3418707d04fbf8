"""Exports spans over OTLP/HTTP, in a thread of its own: a collector that is away holds up nobody."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

_CLOSE_SECONDS = 2
_LIBRARIES = (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal")
_FULL = "Queue full"
_GIVES_UP = "max retries"  # its last word, which gives no reason
_LONGEST = 300  # of a reason
_log = structlog.get_logger(__name__)


class Exporting:
    """Keeps spans in a queue that is bounded, and exports them from there. The rest is lost."""

    def __init__(self, endpoint: str) -> None:
        self.processor = BatchSpanProcessor(_Telling(endpoint))

    async def close(self) -> None:
        """Export what is left, as far as that is done soon: a worker that stops waits for no collector."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self.processor.shutdown()  # type: ignore[no-untyped-call]  # the library has not annotated it
            with suppress(RuntimeError):  # the loop has not waited, and is closed
                loop.call_soon_threadsafe(over.set)

        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await over.wait()
        except TimeoutError:
            _log.warning("tracing.cut_short", consequence="the last spans are lost")


class _Telling(SpanExporter):
    """Tells once that the collector does not take the spans, and once that it does again. What the library
    would log at each try is kept for that.
    """

    def __init__(self, endpoint: str) -> None:
        self._exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._collector = urlsplit(endpoint).netloc
        self._away = False
        self._was_full = False
        self._reason = ""
        for library in _LIBRARIES:
            logging.getLogger(library).addFilter(self._keep)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._away:
                _log.info("tracing.exported_again", collector=self._collector)
            self._away, self._reason = False, ""
        elif not self._away:
            _log.warning(
                "tracing.not_exported", collector=self._collector, reason=self._reason[:_LONGEST],
                consequence="spans are lost until it takes them",
            )  # fmt: skip
            self._away = True
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # as above
        for library in _LIBRARIES:
            logging.getLogger(library).removeFilter(self._keep)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _keep(self, record: logging.LogRecord) -> bool:
        if _FULL in record.msg and not self._was_full:
            self._was_full = True
            _log.warning("tracing.queue_full", collector=self._collector, remedy="record a smaller share")
        if not self._reason or _GIVES_UP not in record.msg:
            self._reason = record.getMessage()
        return False
