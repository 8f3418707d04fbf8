"""The floor: aiormq in batches through this worker's own publisher, no database. What is left to gain."""

import asyncio
from collections import deque

import aio_pika
import uvloop
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from bench.peers.common import AMQP_URL, QUEUE, RESPONSES
from worker.rabbitmq.writing import Outgoing, write_batch

PREFETCH = 512
BATCH = 128


async def main() -> None:
    connection = await aio_pika.connect(AMQP_URL)
    consuming = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
    second = await aio_pika.connect(AMQP_URL)
    publishing = await (await second.channel(publisher_confirms=True)).get_underlay_channel()
    buffer: deque[DeliveredMessage] = deque()
    arrived = asyncio.Event()

    async def take(message: DeliveredMessage) -> None:
        buffer.append(message)
        arrived.set()

    await consuming.basic_qos(prefetch_count=PREFETCH)
    await consuming.basic_consume(QUEUE, take)
    number = 0
    while True:
        arrived.clear()
        if not buffer:
            await arrived.wait()
        batch = [buffer.popleft() for _ in range(min(BATCH, len(buffer)))]
        number += 1
        outgoing = [
            Outgoing(
                RESPONSES, "completed", message.body,
                spec.Basic.Properties(delivery_mode=2, message_id=f"{number}.{index}"),
            )
            for index, message in enumerate(batch)
        ]  # fmt: skip
        await write_batch(publishing, outgoing)
        await consuming.basic_ack(batch[-1].delivery_tag or 0, multiple=True, wait=False)


if __name__ == "__main__":
    uvloop.run(main())
