"""A session past its lifetime becomes completed."""

import structlog

from worker.monitoring.metrics import Metrics
from worker.postgres.database import Database

INTERVAL_SECONDS = 10
_AT_ONCE = 500
_log = structlog.get_logger(__name__)


class Expiry:
    """Completes them, some at a time."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def run_once(self) -> None:
        while expired := await self._database.call("expire_sessions", _AT_ONCE, aside=True):
            self._metrics.expired_sessions.inc(len(expired))
            _log.info("sessions.expired", sessions=len(expired))
