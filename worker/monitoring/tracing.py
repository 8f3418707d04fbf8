"""What the steps call where they time themselves, so that a request leaves a trace; and tracing that is off.

OpenTelemetry is imported by `recording` alone, and that only where tracing is on.
"""

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import Protocol, Self, TypeVar
from uuid import UUID

import structlog

from worker.settings import Settings
from worker.values import Answer, Read, Receipt, Verdict, Waiting, Work


class Delivered(Protocol):
    """A delivery, as much of it as matters here."""

    @property
    def received(self) -> float: ...


D = TypeVar("D", bound=Delivered)
_log = structlog.get_logger(__name__)


class Timed:
    """When a stage began and ended, by `perf_counter`."""

    __slots__ = ("began", "ended")

    def __init__(self) -> None:
        self.began = self.ended = perf_counter()

    def end(self) -> float:
        """Note the end; return how long it took."""
        self.ended = perf_counter()
        return self.ended - self.began


class Processing:
    """Work on claimed requests, while its context is open. A request that has not come to an end in it has
    come to nothing here.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = works

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Leave it."""

    def end(self, verdicts: Sequence[Verdict], finishing: Timed, publishing: Timed) -> None:
        """Note that these are stored, answered and settled."""


class Call:
    """A call of the handler."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent
        """What the handler passes on to those it calls."""

    def end(self, outcome: str, error: BaseException | None) -> None:
        """Note how it ended."""


class Publishing:
    """A publish of answers, which carry the trace to whoever gets them."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = answers

    def end(self, receipts: Sequence[Receipt | None]) -> None:
        """Note what the broker said of each."""


class Tracing:
    """Records nothing: tracing is off."""

    on = False

    def open(self) -> None:
        """Begin to record and to export."""

    async def close(self) -> None:
        """Export what is left, as far as that is done soon."""

    def receive(self, reads: Sequence[tuple[D, Read]]) -> Sequence[tuple[D, Read]]:
        """Note that a batch has arrived. Returns it, with a trace begun for each request that has none and is
        to have one.
        """
        return reads

    def wait(self, waiting: Iterable[Waiting], lining: Timed) -> None:
        """Note that these have joined a line, and are settled."""

    def process(self, works: Sequence[Work], _accepting: Timed | None) -> Processing:
        """Follow the attempts at these requests. `accepting`: they have just been accepted; None: they come
        from the record.
        """
        return Processing(works)

    def call(self, work: Work) -> Call:
        """Begin a call of the handler, in this task."""
        return Call(work.route.traceparent)

    def publish(self, answers: Sequence[Answer]) -> Publishing:
        """Begin to publish these."""
        return Publishing(answers)

    def remember(self, request_id: UUID, traceparent: str | None) -> None:
        """Remember the trace of a request, for the log."""

    def trace_id_of(self, _event: structlog.typing.EventDict) -> str | None:
        """Return the trace that an event of the log belongs to, if that is recorded."""
        return None


OFF = Tracing()
in_use: ContextVar[Tracing] = ContextVar("tracing", default=OFF)
"""The tracing of the worker whose task this is."""


def add_trace_id(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add the id of its trace to an event of the log."""
    if trace_id := in_use.get().trace_id_of(event):
        event["trace_id"] = trace_id
    return event


def tracing_of(
    settings: Settings, *, requests: str, responses: str, build: str, resource: dict[str, str]
) -> Tracing:
    """Make the tracing that the settings ask for. `requests`, `responses`: the names of the queues."""
    if not settings.otlp_endpoint:
        return OFF
    try:
        from worker.monitoring.recording import Recording  # noqa: PLC0415 — an extra, and slow to import
    except ImportError:
        _log.warning(
            "tracing.not_installed", setting="OTEL_EXPORTER_OTLP_ENDPOINT", consequence="there are no traces",
            remedy="install session-worker[worker,tracing]",
        )  # fmt: skip
        return OFF
    return Recording(
        settings.otlp_endpoint, settings.trace_sample, requests=requests, responses=responses, build=build,
        resource={"service.name": settings.service_name, **resource},
    )  # fmt: skip
