"""What a worker counts and times, for Prometheus. One registry for each worker, none global."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from worker.readiness import Readiness

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
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
            "Requests taken over from expired leases, by what was done.",
            ["kind"],
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
            "From the message's timestamp (or its arrival, without one) to the confirmed response.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "worker_in_flight_requests", "Deliveries taken and not settled.", registry=registry
        )
        self.buffered = Gauge(
            "worker_buffered_requests", "Deliveries received and not taken.", registry=registry
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

    def show_readiness(self, readiness: Readiness) -> None:
        for part in readiness.parts:
            self.part_up.labels(part).set(part not in readiness.reasons)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        begun = perf_counter()
        try:
            yield
        finally:
            self._stages[stage].observe(perf_counter() - begun)
