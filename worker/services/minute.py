"""Sums up in the log, once a minute, what this worker has done: one line, however much that was."""

import asyncio
from typing import NamedTuple

import structlog
from prometheus_client.metrics import MetricWrapperBase

from worker.monitoring.metrics import Metrics, value_of
from worker.operations.measures import quantile

INTERVAL_SECONDS = 60.0
_log = structlog.get_logger(__name__)


class _Counted(NamedTuple):
    """What there was since the start."""

    received: int  # deliveries that were taken in batches
    completed: int
    failed: int
    answered: list[int]  # by how long it took


class Minute:
    """Compares what the metrics count with what they had counted at the line before."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self._before, self._at = self._count(), self._clock()

    def _count(self) -> _Counted:
        metrics = self._metrics
        return _Counted(
            received=_sum(metrics.batch, "_sum"),
            completed=_sum(metrics.requests, "_total", status="completed"),
            failed=_sum(metrics.requests, "_total", status="failed"),
            answered=metrics.answered_in(),
        )

    async def tell(self) -> None:
        before, now, begun = self._before, self._count(), self._at
        self._before, self._at = now, self._clock()
        answered = [later - earlier for later, earlier in zip(now.answered, before.answered, strict=True)]
        _log.info(
            "worker.minute", seconds=round(self._at - begun, 1), received=now.received - before.received,
            completed=now.completed - before.completed, failed=now.failed - before.failed,
            p50_seconds=_rounded(quantile(answered, 0.5)), p99_seconds=_rounded(quantile(answered, 0.99)),
            retries_due=int(value_of(self._metrics.retries_due)),
        )  # fmt: skip


def _sum(metric: MetricWrapperBase, suffix: str, **labels: str) -> int:
    """Add up the values of a metric that have these labels."""
    return int(
        sum(
            sample.value
            for family in metric.collect()
            for sample in family.samples
            if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
        )
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
