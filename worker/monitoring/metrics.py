"""Counts and times what a worker does, for Prometheus. Each worker has a registry; none is global."""

from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import get_args
from uuid import UUID

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from schemas import FailureCode
from worker.monitoring.crowd import Crowd
from worker.monitoring.handler_calls import SECONDS, HandlerCalls
from worker.monitoring.readiness import Readiness
from worker.monitoring.tracing import OFF, Timed, Tracing
from worker.monitoring.watched import Watched
from worker.rules import WaitReason
from worker.traceparent import exemplar
from worker.values import Answer, Receipt

_REMEMBERED = 10_000  # twice as many at most
STAGES = ("decode", "wait", "accept", "create", "finish", "publish", "settle")
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics by name; `docs/metrics.md` says what to watch."""

    def __init__(self, tracing: Tracing = OFF) -> None:
        self._tracing = tracing
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter was made says nothing, and doubles the page
        registry = self.registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        seconds = partial(Histogram, registry=registry, buckets=SECONDS)
        sizes = partial(Histogram, registry=registry, buckets=_SIZES)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        # What came in, and what became of it.
        self.requests = counter(
            "worker_requests",
            "Requests finished, by status and code. Watch: a rising share of `failed`; any "
            "`attempts_exhausted`.",
            ["status", "code"],
        )
        self.duplicates = counter(
            "worker_duplicates",
            "Deliveries of requests already known, by what was done: `answered_again`, `in_progress`, "
            "`conflict`. Watch: `conflict`: a producer uses ids twice.",
            ["kind"],
        )
        self.not_allowed = counter(
            "worker_not_allowed",
            "Messages refused with `not_allowed`, by operation: `create_session`, `cancel_session`. "
            "Watch: any: a producer acts for another one's organisation, or does not name its sender.",
            ["operation"],
        )
        self.lost_fences = counter(
            "worker_lost_fences",
            "Verdicts not stored, since another worker had claimed the request. Watch: any: workers "
            "stall longer than a lease.",
        )
        self.unopened = counter(
            "worker_unopened_requests",
            "Requests on record that were put off, since no key at hand opens their secrets, or a "
            "newer version wrote them. Watch: any: a key is missing in `WORKER_SEAL_KEYS`.",
        )
        self.dead_letters = counter(
            "worker_dead_letters", "Messages without a request id. Watch: any: a producer is broken."
        )
        self.expired_sessions = counter("worker_expired_sessions", "Sessions past their lifetime.")
        self.retired_requests = counter("worker_retired_requests", "Old requests deleted.")

        # Further attempts.
        self.retries = counter(
            "worker_retries", "Attempts put off. Watch: a jump: what the handler calls is in trouble."
        )
        self.retried = counter(
            "worker_retried",
            "Put-off requests that were tried again when they were due. Watch: below the rate of "
            "`worker_retries_total` for long.",
        )
        self.retries_due = gauge(
            "worker_retries_due",
            "Put-off requests that are due and not begun, of all workers (each shows the same), "
            "counted up to 10,000. Watch: above 0 for a minute: no call of the handler is free, or "
            "the breaker is open.",
        )
        self.retry_overdue = gauge(
            "worker_retry_overdue_seconds", "For how long the oldest of them has been due. Watch: above 10."
        )
        self.recovered = counter(
            "worker_recovered",
            "Requests taken over from workers that went silent: `tried_again`, `answered`, `exhausted`. "
            "Watch: more than after known crashes.",
            ["kind"],
        )

        # Waiting.
        self.shares_throttled = counter(
            "worker_shares_throttled",
            "How often an organisation was held back in a batch, since it wanted more than its share "
            "while others want theirs: once in each batch. Watch: for long: somebody sends more than "
            "there is; `session-worker orgs` says who.",
        )
        self.put_in_line = counter(
            "worker_put_in_line",
            "Requests that could not begin when they came. Watch: `over_share` for long: somebody "
            "sends more than there is.",
            ["reason"],
        )
        self.waiting = gauge(
            "worker_waiting_requests",
            "Requests that wait in Postgres, of all workers (each shows the same): `paused`, "
            "`over_share`, `rate`, `not_before`, `breaker`. Watch: near `WORKER_MAX_WAITING`.",
            ["reason"],
        )
        self.oldest_waiting = gauge(
            "worker_oldest_waiting_seconds",
            "For how long the oldest of them could have begun. Watch: it grows, and nothing is paused "
            "or limited.",
        )
        self.paused = gauge(
            "worker_paused",
            "1 while there is a pause of `all`, of an `org`, or of this `worker`. Watch: longer than "
            "was meant.",
            ["scope"],
        )

        # Responses.
        self.responses = counter(
            "worker_responses",
            "Responses published, by what the broker said: `confirmed`, `unroutable`, `refused`, "
            "`unpublishable`. Watch: `refused` that goes on: a full queue; `unroutable`: requesters "
            "gone, or no response queue.",
            ["result"],
        )
        self.given_up = counter(
            "worker_given_up_responses",
            "Responses that are tried no more: the requester's queue is gone, was full for a day, or "
            "has an address that the broker cannot read. Watch: a jump: requesters do not wait for "
            "their responses.",
        )
        self.unanswered = gauge(
            "worker_unanswered_responses",
            "Responses on record that wait for a queue: `refused` (it is full), `unroutable` (there "
            "is none); counted every 15 s, the same in every worker, up to 100,000 of each kind. "
            "Watch: above 0 for a while: nobody reads `sessions.responses`, or requesters do not read "
            "theirs.",
            ["state"],
        )
        self.oldest_unanswered = gauge(
            "worker_oldest_unanswered_seconds", "Since when the oldest of them is finished. Watch: it grows."
        )

        # The installation.
        self.crowd = Crowd(registry)
        self.watched = Watched(registry)

        # Times.
        self.stage = seconds(
            "worker_stage_seconds",
            "Time of each stage of a batch: `decode`, `wait`, `accept`, `create`, `finish`, `publish`, "
            "`settle`. Watch: which one grows.",
            ["stage"],
        )
        self.batch = sizes(
            "worker_batch_requests",
            "Requests in a batch. Watch: near `WORKER_BATCH_SIZE` all the time: at its limit.",
        )
        self.end_to_end = seconds(
            "worker_end_to_end_seconds",
            "From when a request was made to its first confirmed response. Watch: p99 against what "
            "you promise.",
            ["path", "status"],
        )
        self.handler_calls = HandlerCalls(registry, tracing)
        self.loop_lag = seconds(
            "worker_event_loop_lag_seconds",
            "How late the event loop was, looked at four times a second. Watch: above 0.1: the "
            "handler blocks, or the processor is short.",
        )
        self.pool_wait = seconds(
            "worker_pool_wait_seconds",
            "How long a statement waited for a connection to Postgres. Watch: it grows with the rate: "
            "`WORKER_POOL_SIZE`.",
        )

        # What is in hand, and what is up.
        self.in_flight = gauge(
            "worker_in_flight_requests",
            "Deliveries taken and not settled. Watch: stuck above 0 without traffic.",
        )
        self.buffered, self.oldest_buffered = (
            gauge(
                "worker_buffered_requests",
                "Deliveries received and not taken. Watch: at the prefetch for long: more workers.",
            ),
            gauge(
                "worker_oldest_buffered_seconds",
                "How long ago the oldest of them was received. Watch: it grows: more comes than is done.",
            ),
        )
        self.held_bytes = gauge(
            "worker_held_bytes",
            "Bytes of the bodies of deliveries that are not settled. Watch: at "
            "`WORKER_PREFETCH_BYTES` for long: Postgres or RabbitMQ is away, or bodies are very "
            "large.",
        )
        self.shed = counter(
            "worker_shed_deliveries",
            "Deliveries given back since too many bytes were held. Watch: a rise without an outage: "
            "raise `WORKER_PREFETCH_BYTES`, if there is memory for it.",
        )
        self.part_up = gauge(
            "worker_part_up",
            "1 while `postgres`, `requests`, `responses`, `response_queue`, `dead_letters` is up. "
            "Watch: 0 for a minute.",
            ["part"],
        )

        self._stages = {name: self.stage.labels(name) for name in STAGES}
        self._ways: dict[tuple[str, str], Histogram] = {}
        self._timed: set[UUID] = set()  # the latest requests whose answers are in the end-to-end times
        self._timed_before: set[UUID] = set()
        self.finished = self._begun_at_zero()
        """`requests`, each series by its status and code: to look one up costs more than to count."""

    def _begun_at_zero(self) -> dict[tuple[str, str | None], Counter]:
        """Make the series that are known: whoever asks how much one has risen leaves out its first value.
        Returns those of `requests`.
        """
        finished: dict[tuple[str, str | None], Counter] = {
            ("failed", code.value): self.requests.labels("failed", code.value) for code in FailureCode
        }
        finished["completed", None] = self.requests.labels("completed", "")
        for kind in ("answered_again", "in_progress", "conflict"):
            self.duplicates.labels(kind)
        for operation in ("create_session", "cancel_session"):
            self.not_allowed.labels(operation)
        for receipt in Receipt:
            self.responses.labels(receipt.value)
        for state in ("refused", "unroutable"):
            self.unanswered.labels(state)
        for reason in get_args(WaitReason):
            self.waiting.labels(reason)
            self.put_in_line.labels(reason)
        return finished

    def page(self, accept: str) -> tuple[bytes, str]:
        """Write them in a format that is accepted; return it with its content type. Only OpenMetrics has room
        for the traces behind the values.
        """
        if self._tracing.on and "application/openmetrics-text" in accept:
            page = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]  # has no types
            return page, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def show_readiness(self, readiness: Readiness) -> None:
        for part in readiness.parts:
            self.part_up.labels(part).set(part not in readiness.reasons)

    def show_waiting(self, by_reason: Mapping[WaitReason, int]) -> None:
        for reason in get_args(WaitReason):
            self.waiting.labels(reason).set(by_reason.get(reason, 0))

    def answered(self, answers: Iterable[Answer], at: float) -> None:
        """Time responses that were confirmed at this time, in seconds since 1970.

        Only the first response of a request counts, as far as this worker knows.
        """
        took: dict[tuple[str, str], list[float]] = {}
        for answer in answers:
            since, request_id = answer.since, answer.request_id
            if since is None or request_id in self._timed or request_id in self._timed_before:
                continue
            if len(self._timed) >= _REMEMBERED:
                self._timed_before, self._timed = self._timed, set()
            self._timed.add(request_id)
            way: tuple[str, str] = (since.path, answer.status)
            seconds = max(0.0, at - since.at)
            if self._tracing.on:
                self._way(way).observe(seconds, exemplar(answer.route.traceparent))
            else:
                took.setdefault(way, []).append(seconds)
        for path_and_status, some in took.items():
            _observe_all(self._way(path_and_status), some)

    def _way(self, way: tuple[str, str]) -> Histogram:
        child = self._ways.get(way)
        if child is None:
            child = self._ways[way] = self.end_to_end.labels(*way)
        return child

    def answered_in(self) -> list[int]:
        """Return how many answers took up to each of SECONDS, and how many longer, since the start."""
        found = [0] * (len(SECONDS) + 1)
        for child in self._ways.values():
            for index, bucket in enumerate(child._buckets):  # noqa: SLF001 — what it collects is text by text
                found[index] += int(bucket.get())
        return found

    @contextmanager
    def timed(self, stage: str) -> Iterator[Timed]:
        timed = Timed()
        try:
            yield timed
        finally:
            self._stages[stage].observe(timed.end())

    @contextmanager
    def in_pieces(self, stage: str) -> Iterator["Pieces"]:
        """Time a stage that goes on in pieces, with other stages in between: their sum is observed once."""
        pieces = Pieces()
        try:
            yield pieces
        finally:
            self._stages[stage].observe(pieces.seconds)


def _observe_all(histogram: Histogram, amounts: Sequence[float]) -> None:
    """Observe these. One by one each would raise two counters with a lock of its own, which takes 2 µs."""
    histogram._sum.inc(sum(amounts))  # noqa: SLF001 — it has no way to observe several
    for bucket, number in Counted(bisect_left(SECONDS, amount) for amount in amounts).items():
        histogram._buckets[bucket].inc(number)  # noqa: SLF001


class Pieces:
    """A stopwatch that runs while it is entered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(self, *_error: object) -> None:
        self.seconds += perf_counter() - self._begun


def value_of(gauge: Gauge) -> float:
    """Return what a gauge without labels shows now."""
    return next(iter(gauge.collect())).samples[0].value


def values_of(gauge: Gauge) -> dict[str, float]:
    """Return what a gauge with one label shows now, by the label's value."""
    return {
        next(iter(sample.labels.values())): sample.value
        for metric in gauge.collect()
        for sample in metric.samples
    }
