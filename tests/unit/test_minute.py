"""Once a minute the log sums up what a worker has done since the line before."""

from time import time
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import Histogram
from structlog.testing import capture_logs

from worker.monitoring import log
from worker.monitoring.handler_calls import SECONDS
from worker.monitoring.metrics import Metrics, _observe_all
from worker.services.minute import Minute
from worker.settings import Settings
from worker.values import Answer, Beginning, Route


@pytest.fixture(autouse=True)
def _talkative() -> None:
    url: dict[str, Any] = {"amqp_url": "amqp://h/", "database_url": "postgresql://h/x"}
    log.configure(Settings(**url, mode="test", log_level="info"))


async def test_a_line_sums_up_what_came_and_ended_since_the_one_before() -> None:
    metrics = Metrics()
    minute = Minute(metrics)
    for _ in range(2):
        metrics.batch.observe(40)
        metrics.requests.labels("completed", "").inc(70)
        metrics.requests.labels("failed", "rejected").inc(6)
        metrics.requests.labels("failed", "timeout").inc(2)
        now = time()
        for seconds in (0.02, 0.02, 0.02, 7):
            since = Beginning(now - seconds, "direct")
            answer = Answer(uuid4(), "completed", None, "", "m", Route(None, None, None), since)
            metrics.answered([answer], now)
        metrics.retries_due.set(3)

        with capture_logs() as events:
            await minute.tell()
            await minute.tell()

        first, second = events
        assert first.pop("seconds") >= 0
        assert 0.01 < first.pop("p50_seconds") <= 0.025
        assert 5 < first.pop("p99_seconds") <= 10
        assert first == {
            "event": "worker.minute", "log_level": "info", "received": 40, "completed": 70, "failed": 8,
            "retries_due": 3,
        }  # fmt: skip
        assert (second["received"], second["completed"], second["failed"]) == (0, 0, 0)
        assert (second["p50_seconds"], second["p99_seconds"]) == (None, None)


def test_times_that_are_noted_together_are_those_that_are_noted_one_by_one() -> None:
    amounts = [0.0, 0.001, 0.0011, 0.3, 0.3, 300, 1_000]
    together = Histogram("worker_x", "x", buckets=SECONDS, registry=None)
    apart = Histogram("worker_x", "x", buckets=SECONDS, registry=None)

    _observe_all(together, amounts)
    for amount in amounts:
        apart.observe(amount)

    one, other = [
        [sample for metric in each.collect() for sample in metric.samples] for each in (together, apart)
    ]
    assert [sample[:3] for sample in one if "created" not in sample.name] == [
        sample[:3] for sample in other if "created" not in sample.name
    ]
