"""A connection to the broker that is opened again whenever it is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AuthenticationError, ConnectionNotAllowed, ProbableAuthenticationError

from worker.backoff import delays
from worker.errors import WorkerError
from worker.monitoring.readiness import Readiness
from worker.process import own_task
from worker.rabbitmq.connection import Broker

_CLOSE_SECONDS = 2
_STEADY_SECONDS = 5
_AT_ONCE_SECONDS = 0.02
_log = structlog.get_logger(__name__)


async def keep_open(
    part: str,
    broker: Broker,
    serve: Callable[[AbstractConnection], Awaitable[None]],
    readiness: Readiness,
    at_once: tuple[type[BaseException], ...] = (),
) -> None:
    """Serve on a connection, and on a new one when it is lost, for ever. The waits in between grow and are
    jittered; after an error that says nothing of how the broker is, there is next to none.
    """
    clock = asyncio.get_running_loop().time
    waits = delays(0.2, 5)
    while True:
        begun = clock()
        soon = False
        try:
            await serve_once(broker, serve)
            reason = "the connection was closed"
        except (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed) as error:
            # Worth trying again all the same: users and permissions are put right while workers wait.
            reason = f"the broker refuses these credentials or this vhost: {error!r}"
        except WorkerError:
            raise
        except Exception as error:  # noqa: BLE001 — the client library ends a lost connection with a bare one, too
            reason = f"{error!r}"[:300]
            soon = isinstance(error, at_once)
        except asyncio.CancelledError as error:
            if own_task.is_being_cancelled():
                raise
            reason = f"the connection was lost: {error!r}"[:300]  # the client library's way of saying so
        readiness.down(part, reason)
        if own_task.is_being_cancelled():
            raise asyncio.CancelledError  # it came while the connection was being closed
        if clock() - begun > _STEADY_SECONDS:
            waits = delays(0.2, 5)
        delay = _AT_ONCE_SECONDS if soon else next(waits)
        _log.warning("broker.lost", part=part, reason=reason, again_in_seconds=round(delay, 1))
        await asyncio.sleep(delay)


async def serve_together(*services: Coroutine[None, None, None]) -> None:
    """Serve all on one connection, until the first of them ends: with it end the others."""
    tasks = [asyncio.ensure_future(service) for service in services]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()


async def serve_once(broker: Broker, serve: Callable[[AbstractConnection], Awaitable[None]]) -> None:
    """On one connection, which is closed afterwards."""
    connection = await broker.connect()
    try:
        await serve(connection)
    finally:
        with suppress(Exception, asyncio.CancelledError):  # it may be past closing in order
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connection.close()
