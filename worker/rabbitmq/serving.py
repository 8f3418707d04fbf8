"""Keeps a part of the worker served by a connection to the broker, and says why when it is not."""

import asyncio

import structlog

from worker.errors import WorkerError
from worker.monitoring.readiness import Readiness
from worker.rabbitmq.connection import REFUSED, Broker
from worker.rabbitmq.reconnecting import Loss, Serve, serve_for_ever
from worker.tls_words import tls_in_words

_log = structlog.get_logger(__name__)


async def keep_open(
    part: str,
    broker: Broker,
    serve: Serve,
    readiness: Readiness,
    at_once: tuple[type[BaseException], ...] = (),
) -> None:
    """Serve on one connection after the other, for ever; after each loss the part is down."""

    def on_loss(loss: Loss) -> None:
        if isinstance(loss.error, WorkerError):
            raise loss.error
        reason = _reason(loss.error)
        readiness.down(part, reason)
        _log.warning("broker.lost", part=part, reason=reason, again_in_seconds=round(loss.delay, 1))

    await serve_for_ever(broker, serve, on_loss, at_once)


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "the connection was closed"
    if of_tls := tls_in_words(error):
        return of_tls
    if isinstance(error, REFUSED):
        # Worth trying again all the same: users and permissions are put right while workers wait.
        return f"the broker refuses these credentials or this vhost: {error!r}"
    if isinstance(error, asyncio.CancelledError):
        return f"the connection was lost: {error!r}"[:300]
    return f"{error!r}"[:300]
