"""Finished requests are kept for a while, then deleted with their history, a few at a time. Sessions stay."""

import asyncio
from datetime import datetime

import structlog

from worker.monitoring.metrics import Metrics
from worker.postgres.database import Database

INTERVAL_SECONDS = 60
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
        """Deletes all that may go. It begins where the last run ended, past what was deleted and is not
        cleared away yet; once an hour at the beginning, for those that were not finished when it passed by.
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
