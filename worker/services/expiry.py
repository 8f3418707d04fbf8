"""Sessions past their lifetime become completed."""

import structlog

from worker.monitoring.metrics import Metrics
from worker.postgres.store import Store

INTERVAL_SECONDS = 10
_AT_ONCE = 500
_log = structlog.get_logger(__name__)


class Expiry:
    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def run_once(self) -> None:
        while expired := await self._store.expire_sessions(_AT_ONCE):
            self._metrics.expired_sessions.inc(expired)
            _log.info("sessions.expired", sessions=expired)
