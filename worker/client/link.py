"""The client's connection to the broker, opened again whenever it is lost.

It logs through the standard library: the worker's logging is not installed where a client runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError

from worker.client.errors import BrokerUnreachable, ClientError
from worker.process import own_task
from worker.rabbitmq.connection import REFUSED, Broker
from worker.rabbitmq.lenient_reading import read_leniently
from worker.rabbitmq.reconnecting import Loss, serve_for_ever
from worker.tls_words import tls_in_words

_log = logging.getLogger("session_worker.client")

Up = Callable[[], None]


class Link:
    """Serves on a connection, and on a new one when it is lost, until it is closed."""

    def __init__(self, broker: Broker, serve: Callable[[AbstractConnection, Up], Awaitable[None]]) -> None:
        self._broker = broker
        self._serve = serve
        self.reason = "no connection yet"
        """Why there is no connection."""
        self._logged = ""
        self._first_up: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> "asyncio.Task[None]":
        assert self._task is not None, "the link is open"  # noqa: S101 — its owner opens it first
        return self._task

    async def open(self, within_seconds: float) -> None:
        """Return once it serves for the first time; raise BrokerUnreachable when that takes too long."""
        read_leniently()
        self._logged = ""
        self._task = asyncio.create_task(
            serve_for_ever(
                self._broker,
                lambda connection: self._serve(connection, self._first_up.set),
                self._on_loss,
            )
        )
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
            await own_task.end([self._task])

    def _on_loss(self, loss: Loss) -> None:
        """Log why the connection is lost, a new reason as a warning. At first, a refusal ends the link."""
        if isinstance(loss.error, ClientError):
            raise loss.error
        self.reason = _reason(loss.error)
        if isinstance(loss.error, REFUSED) and not self._first_up.is_set():
            raise BrokerUnreachable(f"RabbitMQ cannot be used, {self.reason}") from loss.error
        known = self.reason == self._logged and not loss.steady
        _log.log(
            logging.INFO if known else logging.WARNING,
            "no connection to RabbitMQ (%s); trying again", self.reason,
        )  # fmt: skip
        self._logged = self.reason


def words_of(error: AMQPError) -> str:
    """Return what the broker said."""
    return str(error.args[0] if error.args else repr(error)).strip("'")


def refuses_user(error: AMQPError) -> BrokerUnreachable:
    """Make the error that says that the broker does not let this user do what it asks for."""
    return BrokerUnreachable(f"RabbitMQ refuses this user: {words_of(error)}")


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "the connection was closed"
    if of_tls := tls_in_words(error):
        return of_tls
    if isinstance(error, REFUSED):
        return f"it refuses this user, password or vhost: {words_of(error)}"
    if isinstance(error, OSError) and str(error):
        return str(error)
    return f"{error!r}"[:300]
