"""A plain aio-pika RPC server, as its documentation shows one: consume, reply, ack. No database."""

import asyncio

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.peers.common import AMQP_URL, QUEUE


async def main() -> None:
    connection = await aio_pika.connect(AMQP_URL)
    channel = await connection.channel()
    exchange = channel.default_exchange
    queue = await channel.get_queue(f"{QUEUE}.rpc", ensure=False)

    async def answer(message: AbstractIncomingMessage) -> None:
        async with message.process():
            await exchange.publish(
                aio_pika.Message(
                    message.body,
                    correlation_id=message.correlation_id,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                routing_key=message.reply_to or "",
            )

    await queue.consume(answer)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
