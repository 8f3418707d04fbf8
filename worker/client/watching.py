"""Watches requests: one connection and one queue bring the events of all that a client watches."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from pamqp.common import FieldValue
from pydantic import ValidationError

from schemas import RequestEvent
from worker.client.errors import BrokerUnreachable, ClientClosed, EventsMissed, EventsOff
from worker.client.link import Link, Up, refuses_user
from worker.process import own_task
from worker.rabbitmq.connection import CONNECT_SECONDS, LOST, SETUP_SECONDS, Broker
from worker.rabbitmq.line import Line, open_channel
from worker.rabbitmq.topology import one_channel

_PREFETCH = 256
_KEPT_MS = 300_000  # the queue keeps what comes while the connection is away
_CLOSE_SECONDS = 2
_QUEUE: Final[dict[str, FieldValue]] = {"x-queue-type": "classic", "x-expires": _KEPT_MS}
_log = logging.getLogger("session_worker.client")


class Watch:
    """Iterates over the events of one request from when it is entered, for one task. It ends after the last
    event that the request has. An event that comes twice is given once.
    """

    def __init__(self, watches: "Watches", request_id: UUID) -> None:
        self.request_id = request_id
        self._watches = watches
        self._buffer: deque[RequestEvent] = deque()
        self._changed = asyncio.Event()
        self._last = 0
        self._error: Exception | None = None
        self._over = False
        self.begun = False

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RequestEvent:
        await self._begin()
        while not self._over and not self._buffer:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        if self._over:
            await self.close()
            raise StopAsyncIteration
        event = self._buffer.popleft()
        self._over = event.is_final
        return event

    async def close(self) -> None:
        self._over = True
        self._changed.set()
        await self._watches.end(self)

    def receive(self, event: RequestEvent) -> None:
        if event.number > self._last:  # else it came before
            self._last = event.number
            self._buffer.append(event)
            self._changed.set()

    def fail(self, error: Exception) -> None:
        """End with this error, after the events that have come."""
        self._error = self._error or error
        self._changed.set()

    async def _begin(self) -> None:
        if not self.begun and not self._over:
            await self._watches.begin(self)
            self.begun = True


class Watches:
    """Brings its events to each watch. The queue outlasts the loss of a connection for some minutes."""

    def __init__(self, broker: Broker, exchange: str, connect_seconds: float) -> None:
        self._link = Link(broker, self._serve)
        self._exchange = exchange
        self._connect_seconds = connect_seconds
        self._opening: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # two that bind and unbind the same request
        self._up = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._queue = ""
        self._watches: dict[UUID, list[Watch]] = {}

    async def begin(self, watch: Watch) -> None:
        """Return once its events come from now on."""
        if self._opening is None or _failed(self._opening):
            self._opening = asyncio.create_task(self._link.open(self._connect_seconds))
        await asyncio.shield(self._opening)
        self._watches.setdefault(watch.request_id, []).append(watch)
        try:
            async with asyncio.timeout(self._connect_seconds):
                while not await self._bind(watch.request_id):
                    await self._up.wait()
        except BaseException as error:
            await self.end(watch)
            if isinstance(error, TimeoutError):
                raise BrokerUnreachable(f"RabbitMQ cannot be reached: {self._link.reason}") from None
            raise

    async def end(self, watch: Watch) -> None:
        """Bring it no more events."""
        async with self._turn:
            others = self._watches.get(watch.request_id, [])
            if watch not in others:
                return
            others.remove(watch)
            if others:
                return
            del self._watches[watch.request_id]
            connection = self._connection
            with suppress(*LOST):  # what still comes of it is for nobody
                if connection is not None:
                    async with asyncio.timeout(_CLOSE_SECONDS), one_channel(connection) as channel:
                        await channel.queue_unbind(self._queue, self._exchange, _key(watch.request_id))

    async def close(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.fail(ClientClosed("the client was closed before the request had its last event"))
        if self._opening is None:
            return
        await own_task.end([self._opening])
        if self._connection is not None:
            with suppress(*LOST):  # it goes by itself after a while
                async with asyncio.timeout(_CLOSE_SECONDS), one_channel(self._connection) as channel:
                    await channel.queue_delete(self._queue)
        await self._link.close()

    async def _bind(self, request_id: UUID) -> bool:
        """Bind the queue to a request's events; False when the connection is away."""
        async with self._turn:
            if self._connection is None:
                return False
            try:
                async with one_channel(self._connection) as channel:
                    await channel.queue_bind(self._queue, self._exchange, _key(request_id))
            except ChannelNotFoundEntity:
                raise EventsOff(self._exchange) from None
            except ChannelAccessRefused as error:
                raise refuses_user(error) from None
            except LOST:
                self._up.clear()  # until the next connection is there
                return False
            return True

    async def _serve(self, connection: AbstractConnection, up: Up) -> None:
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                await self._find_queue(connection)
                line = Line(await open_channel(connection, seconds=CONNECT_SECONDS))

                async def receive(message: DeliveredMessage) -> None:
                    await self._receive(line, message)

                await line.channel.basic_qos(prefetch_count=_PREFETCH)
                await line.channel.basic_consume(self._queue, receive)
            self._connection = connection
            self._up.set()
            up()
            await line.last()
        except ChannelAccessRefused as error:
            if self._queue:
                raise  # it was allowed: rights are taken and given back while others wait
            raise refuses_user(error) from None
        finally:
            self._connection = None
            self._up.clear()

    async def _find_queue(self, connection: AbstractConnection) -> None:
        """Look for the queue of the connection before; if it is gone, what came meanwhile is gone with it."""
        if self._queue:
            try:
                async with one_channel(connection) as channel:
                    await channel.queue_declare(self._queue, passive=True)
            except ChannelNotFoundEntity:
                for watch in [one for watches in self._watches.values() for one in watches]:
                    if watch.begun:
                        watch.fail(EventsMissed(watch.request_id))
            else:
                return
        async with one_channel(connection) as channel:
            made = await channel.queue_declare("", durable=True, arguments=_QUEUE)
            self._queue = str(made.queue)

    async def _receive(self, line: Line, message: DeliveredMessage) -> None:
        try:
            event = RequestEvent.model_validate_json(message.body)
        except ValidationError:  # of a worker that is newer than this client
            _log.info("an event that this client does not know: left out")
        else:
            for watch in self._watches.get(event.request_id, ()):
                watch.receive(event)
        with suppress(*LOST):
            await line.channel.basic_ack(message.delivery_tag or 0, wait=False)


def _key(request_id: UUID) -> str:
    return f"*.{request_id}"


def _failed(task: "asyncio.Task[None]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
