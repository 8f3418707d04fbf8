"""Tells operators of whoever acts for an organisation that is not theirs."""

from uuid import UUID

import structlog

from worker.monitoring.metrics import Metrics

_log = structlog.get_logger(__name__)


def note_not_allowed(metrics: Metrics, operation: str, request_id: UUID, **about: str | None) -> None:
    """Count and log a message that was refused for its sender."""
    metrics.not_allowed.labels(operation).inc()
    _log.warning("request.not_allowed", request_id=str(request_id), operation=operation, **about)
