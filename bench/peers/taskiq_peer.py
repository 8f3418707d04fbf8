"""Taskiq on aio-pika, and on uvloop by itself: its quorum queue, prefetch as wide as its concurrency."""

import asyncio
import sys
from typing import Any

import aio_pika
from taskiq import TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType

from bench.peers.asyncpg_work import open_pool, record
from bench.peers.common import AMQP_URL, PREFETCH, QUEUE, RESPONSES, prepare
from bench.peers.fill import bodies, timed

broker = AioPikaBroker(
    AMQP_URL,
    qos=PREFETCH,
    exchange=Exchange(name=f"{QUEUE}.taskiq"),
    task_queues=[Queue(name=QUEUE, type=QueueType.QUORUM)],
    dead_letter_queue=Queue(name=f"{QUEUE}.dead", type=QueueType.QUORUM),
)
state: dict[str, Any] = {}


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(_state: TaskiqState) -> None:
    state["pool"] = await open_pool()
    connection = await aio_pika.connect_robust(AMQP_URL)
    channel = await connection.channel(publisher_confirms=True)
    state["exchange"] = await channel.get_exchange(RESPONSES, ensure=False)
    state["connection"] = connection


@broker.task(task_name="create_session")
async def create(request: dict[str, object]) -> None:
    task = prepare(request)
    await record(state["pool"], task)
    message = aio_pika.Message(
        task.response, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, content_type="application/json",
        correlation_id=str(task.request_id),
    )  # fmt: skip
    await state["exchange"].publish(message, routing_key="completed")


async def fill(count: int) -> None:
    await broker.startup()
    with timed():
        for body in bodies(count):
            await create.kiq(body)
    await broker.shutdown()


if __name__ == "__main__" and sys.argv[1] == "fill":
    asyncio.run(fill(int(sys.argv[2])))
