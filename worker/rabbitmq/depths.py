"""Asks the broker how many messages lie in each queue, in AMQP: that needs no management API."""

import asyncio
from collections.abc import Callable, Sequence

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from worker.monitoring.watched import QueueDepth
from worker.process import own_task
from worker.rabbitmq.connection import SETUP_SECONDS, Broker, close
from worker.rabbitmq.line import open_channel


class Depths:
    """Asks on a connection of its own, which it keeps until it is closed or lost."""

    def __init__(self, broker: Broker, queues: Callable[[], Sequence[str]]) -> None:
        self._broker = broker
        self._queues = queues
        self._connection: AbstractConnection | None = None

    async def ask(self) -> list[QueueDepth]:
        """Return the depth of each queue that is there; none at all while the broker does not answer."""
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                if self._connection is None:
                    self._connection = await self._broker.connect()
                return await self._ask(self._connection)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 — the client library says by any of them that a connection is lost
            await self.close()
            return []

    async def _ask(self, connection: AbstractConnection) -> list[QueueDepth]:
        found = []
        channel = await open_channel(connection)
        for queue in self._queues():
            try:
                there = await channel.queue_declare(queue, passive=True)
            except ChannelNotFoundEntity:  # and the broker has closed the channel
                channel = await open_channel(connection)
            else:
                found.append(QueueDepth(queue, there.message_count or 0, there.consumer_count or 0))
        await channel.close()
        return found

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await close(connection)
        if own_task.is_being_cancelled():  # in what led here
            raise asyncio.CancelledError
