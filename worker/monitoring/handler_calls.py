"""Counts and times the calls of a handler."""

import asyncio
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.handlers import Rejected, RetryLater
from worker.monitoring.tracing import OFF, Tracing
from worker.process import own_task
from worker.traceparent import exemplar
from worker.values import Work

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
OUTCOMES = ("ok", "rejected", "retry", "raised", "timeout", "cancelled")
_TYPES = 20
_LONGEST_NAME = 80


class HandlerCalls:
    """The metrics of all calls; `of` watches one call."""

    def __init__(self, registry: CollectorRegistry | None = None, tracing: Tracing = OFF) -> None:
        self.tracing = tracing
        self.seconds = Histogram(
            "worker_handler_seconds",
            "Time of a call of the handler: `ok`, `rejected`, `retry`, `raised`, `timeout` (at the "
            "request's deadline, too), or `cancelled` by a stop of the worker. Watch: the share of "
            "`raised`, `timeout` and `retry`; p99 against `WORKER_HANDLER_TIMEOUT_SECONDS`.",
            ["outcome"],
            buckets=SECONDS,
            registry=registry,
        )
        for outcome in OUTCOMES:  # a series that begins above 0 has not risen, to whoever reads it
            self.seconds.labels(outcome)
        self.running = Gauge(
            "worker_handler_running",
            "Calls that are running. Watch: at the limit all the time: the handler is the limit.",
            registry=registry,
        )
        self.limit = Gauge(
            "worker_handler_limit",
            "How many may run at once while the breaker is closed; 0 without a handler.",
            registry=registry,
        )
        self.breaker_open = Gauge(
            "worker_breaker_open",
            "1 while one call of the handler at a time is made, since too many failed. Watch: 1 for a "
            "minute: what the handler calls is away.",
            registry=registry,
        )
        self.breaker_opened = Counter(
            "worker_breaker_opened",
            "How often too many calls failed. Watch: it rises again and again: part of what the "
            "handler calls is in trouble.",
            registry=registry,
        )
        self._errors = Counter(
            "worker_handler_errors",
            "The calls that `raised`, by the error's type; after the first 20 types `other`. Watch: a "
            "type that is new.",
            ["type"],
            registry=registry,
        )
        self._types: set[str] = set()
        self.begun = self.running_now = 0  # calls

    def of(self, work: Work, limit: asyncio.Timeout) -> "_Call":
        """Watch the call that is made inside this context; the limit may end it. It yields the traceparent
        that the handler passes on.
        """
        return _Call(self, work, limit)

    def left_running(self, number: int) -> None:
        """Count threads that are left of calls that took too long among those that run."""
        self.running_now += number
        self.running.inc(number)

    def raised(self, error: BaseException) -> None:
        """Count an error by its type. Only the first types get a series each, since a series stays as
        long as the process lives.
        """
        name = type(error).__name__[:_LONGEST_NAME]
        if name not in self._types:
            if len(self._types) >= _TYPES:
                name = "other"
            else:
                self._types.add(name)
        self._errors.labels(name).inc()


class _Call:
    def __init__(self, calls: HandlerCalls, work: Work, limit: asyncio.Timeout) -> None:
        self._calls = calls
        self._work = work
        self._limit = limit
        self._clock = asyncio.get_running_loop().time

    def __enter__(self) -> str | None:
        self._begun = self._clock()
        self._calls.begun += 1
        self._calls.running_now += 1
        self._calls.running.inc()
        self._traced = self._calls.tracing.call(self._work)
        return self._traced.traceparent

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._calls.running_now -= 1
        self._calls.running.dec()
        outcome = self._outcome(error)
        self._traced.end(outcome, error)
        recorded = exemplar(self._traced.traceparent) if self._calls.tracing.on else None
        self._calls.seconds.labels(outcome).observe(self._clock() - self._begun, recorded)
        if error is not None and outcome == "raised":
            self._calls.raised(error)

    def _outcome(self, error: BaseException | None) -> str:
        match error:
            case None:
                return "ok"
            case Rejected():
                return "rejected"
            case RetryLater():
                return "retry"
            case TimeoutError() if self._limit.expired():
                return "timeout"
            case asyncio.CancelledError() if own_task.is_being_cancelled():
                return "cancelled"
            case _:
                return "raised"
