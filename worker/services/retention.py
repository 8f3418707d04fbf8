"""What is old enough is deleted: finished requests with their history, and the audit. Sessions stay."""

import asyncio
from datetime import datetime

import structlog

from worker.monitoring.metrics import Metrics
from worker.postgres.database import Database

INTERVAL_SECONDS = 60
AUDIT_INTERVAL_SECONDS = 3_600
_AT_ONCE = 500
_SECONDS_PER_DAY = 86_400
_SECONDS_PER_HOUR = 3_600
_log = structlog.get_logger(__name__)


class Retention:
    """Deletes them, some at a time."""

    def __init__(self, database: Database, metrics: Metrics, days: float) -> None:
        self._database = database
        self._metrics = metrics
        self._seconds = days * _SECONDS_PER_DAY
        self._reached: datetime | None = None
        self._from_the_beginning_at = 0.0

    async def run_once(self) -> None:
        """Delete all that may go. A run begins where the last one ended, past the deleted rows that Postgres
        has not cleared away yet. Once an hour it begins anew, for requests that were not finished before.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._from_the_beginning_at:
            self._reached = None
            self._from_the_beginning_at = now + _SECONDS_PER_HOUR
        while True:
            ((retired, reached),) = await self._database.call(
                "retire_requests", self._seconds, _AT_ONCE, self._reached, aside=True
            )
            if retired:
                self._metrics.retired_requests.inc(retired)
                _log.info("requests.retired", requests=retired)
            if reached is None:
                return
            self._reached = reached


class AuditRetention:
    """Deletes rows of the audit that are old enough, with the selections of that time, some at a time."""

    def __init__(self, database: Database, days: float) -> None:
        self._database = database
        self._seconds = days * _SECONDS_PER_DAY

    async def run_once(self) -> None:
        """Delete all that may go."""
        while True:
            ((gone,),) = await self._database.call("retire_audit", self._seconds, _AT_ONCE, aside=True)
            if not gone:
                return
            _log.info("audit.retired", rows=gone)
