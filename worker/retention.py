"""Finished requests are kept for a while, then deleted with their history, a few at a time. Sessions stay."""

import structlog

from worker.metrics import Metrics
from worker.store import Store

INTERVAL_SECONDS = 60
_AT_ONCE = 500
_SECONDS_PER_DAY = 86_400
_log = structlog.get_logger(__name__)


class Retention:
    def __init__(self, store: Store, metrics: Metrics, days: float) -> None:
        self._store = store
        self._metrics = metrics
        self._seconds = days * _SECONDS_PER_DAY

    async def run_once(self) -> None:
        while retired := await self._store.retire_requests(self._seconds, _AT_ONCE):
            self._metrics.retired_requests.inc(retired)
            _log.info("requests.retired", requests=retired)
