"""Plain aio-pika, no database: consume, publish with confirm, ack. What the client library alone costs."""

import asyncio

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.peers.common import AMQP_URL, PREFETCH, QUEUE, RESPONSES


async def main() -> None:
    connection = await aio_pika.connect_robust(AMQP_URL)
    consuming = await connection.channel()
    publishing = await connection.channel(publisher_confirms=True)
    await consuming.set_qos(prefetch_count=PREFETCH)
    exchange = await publishing.get_exchange(RESPONSES, ensure=False)
    queue = await consuming.get_queue(QUEUE, ensure=False)

    async def echo(message: AbstractIncomingMessage) -> None:
        await exchange.publish(
            aio_pika.Message(message.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
            routing_key="completed",
        )
        await message.ack()

    await queue.consume(echo)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
