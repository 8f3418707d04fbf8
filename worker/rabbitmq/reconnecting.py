"""Serves on a connection, and on a new one whenever it is lost. The worker and the client share this loop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import NamedTuple

from aio_pika.abc import AbstractConnection

from worker.backoff import delays
from worker.process import own_task
from worker.rabbitmq.connection import Broker, close

_STEADY_SECONDS = 5
_AT_ONCE_SECONDS = 0.02

Serve = Callable[[AbstractConnection], Awaitable[None]]


class Loss(NamedTuple):
    """The end of a connection, or of the attempt to make one."""

    error: BaseException | None
    """The error that ended it; None when it was closed in order."""
    steady: bool
    """True when the connection had lasted for a while: this loss has nothing to do with the one before."""
    delay: float
    """The seconds until the next attempt."""


async def serve_for_ever(
    broker: Broker,
    serve: Serve,
    on_loss: Callable[[Loss], None],
    at_once: tuple[type[BaseException], ...] = (),
) -> None:
    """Serve on one connection after the other. The delays in between grow and are jittered; after an error of
    `at_once`, which says nothing of how the broker is, there is next to none.

    `on_loss` is called for each loss. To end the loop it raises: when no new connection would mend the error.
    """
    clock = asyncio.get_running_loop().time
    waits = delays(0.2, 5)
    while True:
        begun = clock()
        error: BaseException | None = None
        try:
            await serve_once(broker, serve)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 — the client library says by any of them that a connection is lost
            error = raised
        if own_task.is_being_cancelled():  # now, or while the connection was being closed
            raise asyncio.CancelledError
        steady = clock() - begun > _STEADY_SECONDS
        if steady:
            waits = delays(0.2, 5)
        delay = _AT_ONCE_SECONDS if isinstance(error, at_once) else next(waits)
        on_loss(Loss(error, steady, delay))
        await asyncio.sleep(delay)


async def serve_once(broker: Broker, serve: Serve) -> None:
    """Serve on one connection, and close it."""
    connection = await broker.connect()
    try:
        await serve(connection)
    finally:
        await close(connection)


async def serve_together(*services: Coroutine[None, None, None]) -> None:
    """Run all services of one connection until the first of them ends: with it end the others."""
    tasks = [asyncio.ensure_future(service) for service in services]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await own_task.end(tasks)
    for task in ended:
        task.result()
