"""The client's connection to the broker, opened again whenever it is lost.

The worker has one like it, which needs the worker's logging; a client logs through the standard library.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)

from worker.backoff import delays
from worker.client.errors import BrokerUnreachable, ClientError
from worker.process import own_task
from worker.rabbitmq.connection import Broker

LOST = (AMQPError, OSError, TimeoutError, RuntimeError)
"""What a lost connection raises, beside the library's bare `Exception`: see `is_lost`."""
_REFUSED = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)
_STEADY_SECONDS = 5
_log = logging.getLogger("worker.client")

Up = Callable[[], None]


class Link:
    """Serves on a connection, and on a new one when it is lost, until it is closed."""

    def __init__(self, broker: Broker, serve: Callable[[AbstractConnection, Up], Awaitable[None]]) -> None:
        self._broker = broker
        self._serve = serve
        self.reason = "no connection yet"
        self._first_up: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> "asyncio.Task[None]":
        assert self._task is not None, "the link is open"  # noqa: S101 — its owner opens it first
        return self._task

    async def open(self, within_seconds: float) -> None:
        """Returns once it serves for the first time."""
        self._task = asyncio.create_task(self._run())
        first = asyncio.create_task(self._first_up.wait())
        try:
            await asyncio.wait(
                [self._task, first], timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            first.cancel()
            if not self._first_up.is_set() and not self._task.done():
                await self.close()
        if self._first_up.is_set():
            return
        if not self._task.cancelled():
            self._task.result()
        raise BrokerUnreachable(f"RabbitMQ cannot be reached: {self.reason}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        waits = delays(0.2, 5)
        told = ""
        while True:
            begun = clock()
            try:
                await self._serve_once()
                self.reason = "the connection was closed"
            except _REFUSED as error:
                self.reason = f"it refuses this user, password or vhost: {said(error)}"
                if not self._first_up.is_set():
                    raise BrokerUnreachable(f"RabbitMQ cannot be used, {self.reason}") from error
            except ClientError:
                raise
            except Exception as error:  # noqa: BLE001 — the client library ends a lost connection with a bare one, too
                self.reason = str(error) if isinstance(error, OSError) and str(error) else f"{error!r}"[:300]
            except asyncio.CancelledError as error:
                _raise_if_cancelled()
                self.reason = f"{error!r}"[:300]  # the client library's way of saying it was lost
            _raise_if_cancelled()
            if clock() - begun > _STEADY_SECONDS:
                waits, told = delays(0.2, 5), ""
            delay = next(waits)
            _log.log(
                logging.INFO if self.reason == told else logging.WARNING,
                "no connection to RabbitMQ (%s); trying again", self.reason,
            )  # fmt: skip
            told = self.reason
            await asyncio.sleep(delay)

    async def _serve_once(self) -> None:
        connection = await self._broker.connect()
        try:
            await self._serve(connection, self._first_up.set)
        finally:
            with suppress(*LOST, asyncio.CancelledError):
                async with asyncio.timeout(5):
                    await connection.close()


def is_lost(error: Exception) -> bool:
    return isinstance(error, LOST) or type(error) is Exception


def said(error: AMQPError) -> str:
    return str(error.args[0] if error.args else repr(error)).strip("'")


def _raise_if_cancelled() -> None:
    if own_task.is_being_cancelled():
        raise asyncio.CancelledError
