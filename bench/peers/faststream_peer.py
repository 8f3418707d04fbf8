"""FastStream: a subscriber on a quorum queue, on uvloop; its prefetch is how many run at once."""

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from bench.peers.asyncpg_work import open_pool, record
from bench.peers.common import AMQP_URL, PREFETCH, QUEUE, RESPONSES, prepare

broker = RabbitBroker(
    AMQP_URL, default_channel=Channel(prefetch_count=PREFETCH, publisher_confirms=True), logger=None
)
app = FastStream(broker, logger=None)
responses = RabbitExchange(RESPONSES, type=ExchangeType.TOPIC, declare=False)
state: dict[str, object] = {}


@app.on_startup
async def connect() -> None:
    state["pool"] = await open_pool()


@broker.subscriber(RabbitQueue(QUEUE, declare=False), ack_policy=AckPolicy.NACK_ON_ERROR)
async def create(message: RabbitMessage) -> None:
    task = prepare(message.body)
    await record(state["pool"], task)
    await broker.publish(
        task.response, exchange=responses, routing_key="completed", persist=True,
        correlation_id=str(task.request_id), content_type="application/json",
    )  # fmt: skip


if __name__ == "__main__":
    uvloop.run(app.run())
