"""Opens a channel in confirm mode on the real broker, and a queue whose messages a test can read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from pamqp import commands as spec
from support.harness import eventually

from worker.rabbitmq.eager_reading import divert_confirms, read_eagerly
from worker.rabbitmq.writing import Outgoing


@dataclass
class Bench:
    """A channel in confirm mode, and a queue whose messages a test can read."""

    connection: AbstractConnection
    channel: Channel
    queue: aio_pika.abc.AbstractQueue

    def message(self, body: bytes = b"hello", *, to: str | None = None) -> Outgoing:
        properties = spec.Basic.Properties(message_id=str(uuid4()), content_type="text/plain")
        return Outgoing("", to or self.queue.name, body, properties)

    def nowhere(self) -> Outgoing:
        return self.message(to=f"nowhere.{uuid4().hex}")

    async def arrived(self, count: int) -> list[bytes]:
        bodies: list[bytes] = []

        async def look() -> bool:
            while message := await self.queue.get(no_ack=True, fail=False):
                bodies.append(message.body)
            return len(bodies) == count

        await eventually(look)
        assert await self.queue.get(no_ack=True, fail=False) is None
        return bodies

    def assert_nothing_left_over(self) -> None:
        assert dict(self.channel.confirmations) == {}
        assert self.channel.message_id_delivery_tag == {}


async def open_channel(connection: AbstractConnection) -> Channel:
    opened = connection.channel(publisher_confirms=True, on_return_raises=True)
    await opened.initialize()
    channel = await opened.get_underlay_channel()
    assert isinstance(channel, Channel)
    divert_confirms(channel)
    return channel


@asynccontextmanager
async def open_bench(amqp_url: str) -> AsyncIterator[Bench]:
    read_eagerly()
    async with await aio_pika.connect(amqp_url) as connection:
        looking = await connection.channel()
        queue = await looking.declare_queue(exclusive=True)
        yield Bench(connection, await open_channel(connection), queue)
