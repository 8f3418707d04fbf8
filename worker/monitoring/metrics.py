"""What a worker counts and times, for Prometheus. One registry for each worker, none global."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from worker.monitoring.handler_calls import HandlerCalls
from worker.monitoring.readiness import Readiness
from worker.values import Answer

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_REMEMBERED = 10_000  # twice as many at most
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics by name; `docs/operating.md` says what to watch."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter was made says nothing, and doubles the page
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "worker_requests",
            "Requests finished, by status and code.",
            ["status", "code"],
            registry=registry,
        )
        self.duplicates = Counter(
            "worker_duplicates",
            "Deliveries of requests already known, by what was done.",
            ["kind"],
            registry=registry,
        )
        self.retries = Counter("worker_retries", "Attempts put off until later.", registry=registry)
        self.recovered = Counter(
            "worker_recovered",
            "Requests taken over from workers that went silent, by what was done.",
            ["kind"],
            registry=registry,
        )
        self.retried = Counter(
            "worker_retried", "Put-off requests that were tried again when they were due.", registry=registry
        )
        self.retries_due = Gauge(
            "worker_retries_due",
            "Put-off requests that are due and not begun, of all workers; counted up to 10,000.",
            registry=registry,
        )
        self.retry_overdue = Gauge(
            "worker_retry_overdue_seconds",
            "For how long the oldest of them has been due.",
            registry=registry,
        )
        self.lost_fences = Counter(
            "worker_lost_fences",
            "Verdicts not stored, since another worker has claimed the request.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "worker_dead_letters", "Messages in which no request id was found.", registry=registry
        )
        self.responses = Counter(
            "worker_responses",
            "Responses published, by what the broker said.",
            ["result"],
            registry=registry,
        )
        self.given_up = Counter(
            "worker_given_up_responses",
            "Responses that are tried no more: the requester's queue is gone, was full for a day, or has an "
            "address that the broker cannot read.",
            registry=registry,
        )
        self.unanswered = Gauge(
            "worker_unanswered_responses",
            "Responses on record that wait for a queue, by what the broker said last.",
            ["state"],
            registry=registry,
        )
        self.oldest_unanswered = Gauge(
            "worker_oldest_unanswered_seconds",
            "How long the oldest of them has waited.",
            registry=registry,
        )
        for state in ("refused", "unroutable"):
            self.unanswered.labels(state)
        self.stage = Histogram(
            "worker_stage_seconds",
            "Time of each stage of a batch.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "worker_batch_requests", "Requests in a batch.", buckets=_SIZES, registry=registry
        )
        self.end_to_end = Histogram(
            "worker_end_to_end_seconds",
            "From when a request was made, as far as that is known, to its first confirmed response.",
            ["path", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.handler_calls = HandlerCalls(registry)
        self.loop_lag = Histogram(
            "worker_event_loop_lag_seconds",
            "How late the event loop is, looked at four times a second.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.pool_wait = Histogram(
            "worker_pool_wait_seconds",
            "How long a statement waited for a connection to Postgres.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "worker_in_flight_requests", "Deliveries taken and not settled.", registry=registry
        )
        self.buffered = Gauge(
            "worker_buffered_requests", "Deliveries received and not taken.", registry=registry
        )
        self.held_bytes = Gauge(
            "worker_held_bytes", "Bytes of the bodies of deliveries that are not settled.", registry=registry
        )
        self.shed = Counter(
            "worker_shed_deliveries",
            "Deliveries given back since too many bytes were held.",
            registry=registry,
        )
        self.part_up = Gauge("worker_part_up", "1 while a part is up, else 0.", ["part"], registry=registry)
        self.expired_sessions = Counter(
            "worker_expired_sessions", "Sessions past their lifetime.", registry=registry
        )
        self.retired_requests = Counter("worker_retired_requests", "Old requests deleted.", registry=registry)
        self._stages = {
            name: self.stage.labels(name)
            for name in ("decode", "accept", "create", "finish", "publish", "settle")
        }
        self._ways: dict[tuple[str, str], Histogram] = {}
        self._timed: set[UUID] = set()  # whose answers are in the end-to-end times, the latest of them
        self._timed_before: set[UUID] = set()

    def show_readiness(self, readiness: Readiness) -> None:
        for part in readiness.parts:
            self.part_up.labels(part).set(part not in readiness.reasons)

    def answered(self, answer: Answer, at: float) -> None:
        """Times a response that was confirmed at this time, in seconds since 1970. The first one of a request
        counts alone, as far as this worker knows.
        """
        if (
            answer.since is None
            or answer.request_id in self._timed
            or answer.request_id in self._timed_before
        ):
            return
        if len(self._timed) >= _REMEMBERED:
            self._timed_before, self._timed = self._timed, set()
        self._timed.add(answer.request_id)
        way = answer.since.path, answer.status
        child = self._ways.get(way)
        if child is None:
            child = self._ways[way] = self.end_to_end.labels(*way)
        child.observe(max(0.0, at - answer.since.at))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        begun = perf_counter()
        try:
            yield
        finally:
            self._stages[stage].observe(perf_counter() - begun)

    @contextmanager
    def in_pieces(self, stage: str) -> Iterator["Pieces"]:
        """A stage that goes on in pieces, with others in between: what was timed of it counts once."""
        pieces = Pieces()
        try:
            yield pieces
        finally:
            self._stages[stage].observe(pieces.seconds)


class Pieces:
    """A stopwatch: runs while it is entered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(self, *_error: object) -> None:
        self.seconds += perf_counter() - self._begun
