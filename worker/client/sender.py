"""Publishes requests until they are confirmed, and reads the one reply queue of all the calls of a client."""

import asyncio
from collections.abc import Callable, Coroutine

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)

from worker.backoff import delays
from worker.client.errors import ClientClosed, RequestUnroutable
from worker.client.link import Link, Up, refuses_user, words_of
from worker.client.request import RequestMessage
from worker.process import own_task
from worker.rabbitmq.connection import CONNECT_SECONDS, Broker, is_lost
from worker.rabbitmq.line import Line, open_channel

WINDOW = 512  # publishes in flight at once

OnReply = Callable[[DeliveredMessage], Coroutine[None, None, None]]


class Sender:
    """Publishes until the broker has confirmed, over as many connections as that takes."""

    def __init__(
        self,
        broker: Broker,
        exchange: str,
        app_id: str,
        user: str | None,
        confirm_seconds: float,
        on_reply: OnReply,
        on_up: Up,
    ) -> None:
        self.link = Link(broker, self._serve)
        self.closed = False
        self._exchange = exchange
        self._app_id = app_id
        self._user = user
        self._confirm_seconds = confirm_seconds
        self._on_reply = on_reply
        self._on_up = on_up
        self._line: Line | None = None
        self._reply_queue: asyncio.Future[str] | None = None
        self._connected = asyncio.Event()
        self._window = asyncio.Semaphore(WINDOW)

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def send(self, message: RequestMessage, *, answer_here: bool = False) -> None:
        """Publish a message until it is confirmed. With `answer_here` the response comes to this client."""
        refusals = delays(0.1, 5)
        while True:
            async with self._window:
                await self._connected.wait()
                if self.closed:
                    raise ClientClosed("the client was closed before the request was confirmed")
                sent = await self._try(message, answer_here=answer_here)
            if sent:
                return
            if self._connected.is_set():
                await asyncio.sleep(next(refusals))  # the queue is full

    async def close(self) -> None:
        self.closed = True
        await self.link.close()
        self._connected.set()  # wakes those that wait for a connection: they find it closed

    async def _try(self, message: RequestMessage, *, answer_here: bool) -> bool:
        line = self._line
        if line is None:
            return False
        try:
            async with asyncio.timeout(self._confirm_seconds):
                reply_to = await self._reply_to(line) if answer_here else None
                await line.channel.basic_publish(
                    message.body,
                    exchange=self._exchange,
                    routing_key=message.routing_key,
                    properties=message.properties(self._app_id, reply_to, self._user),
                    mandatory=True,
                )
        except (PublishError, ChannelNotFoundEntity):
            raise RequestUnroutable(self._exchange) from None
        except DeliveryError:
            return False
        except (ChannelAccessRefused, ChannelPreconditionFailed) as error:
            await self._give_up(line, words_of(error))
            if self._is_refused(error, answer_here=answer_here):
                raise refuses_user(error) from None
            return False  # another call's want of rights closed the channel
        except Exception as error:
            if not is_lost(error):
                raise
            await self._give_up(line, f"{error!r}")
            return False
        except asyncio.CancelledError:
            if own_task.is_being_cancelled():
                raise
            await self._give_up(line, "the channel was closed")
            return False
        return True

    def _is_refused(self, error: AMQPError, *, answer_here: bool) -> bool:
        """Tell whether the broker refuses the user itself, and not only what some call did."""
        if isinstance(error, ChannelPreconditionFailed):
            return self._user is not None  # it is not the one that messages name
        return answer_here or self._exchange in words_of(error)

    async def _give_up(self, line: Line, reason: str) -> None:
        """Give up a line that failed one publish, and wait for its end: the next line is a new one."""
        line.give_up(AMQPError(reason))
        await line.over.wait()

    async def _reply_to(self, line: Line) -> str:
        """Return the reply queue of this connection: it is made for the first call, and is gone with it."""
        if self._reply_queue is None:
            self._reply_queue = asyncio.ensure_future(self._open_reply_queue(line))
        return await asyncio.shield(self._reply_queue)

    async def _open_reply_queue(self, line: Line) -> str:
        declared = await line.channel.queue_declare("", exclusive=True, arguments={"x-queue-type": "classic"})
        queue = str(declared.queue)
        await line.channel.basic_consume(queue, self._on_reply, no_ack=True)
        return queue

    async def _serve(self, connection: AbstractConnection, up: Up) -> None:
        line = Line(await open_channel(connection, confirms=True, seconds=CONNECT_SECONDS))
        self._line = line
        self._connected.set()
        up()
        self._on_up()
        try:
            await line.last()
        finally:
            self._line = None
            self._connected.clear()
            line.over.set()
            if self._reply_queue is not None:
                await own_task.end([self._reply_queue])
                self._reply_queue = None
