"""Dramatiq: four processes of eight threads, confirmed delivery, its own queue arguments and quorum."""

import sys

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.peers.common import AMQP_URL, QUEUE, RESPONSES, prepare
from bench.peers.fill import bodies, timed
from bench.peers.psycopg_work import record


class QuorumBroker(RabbitmqBroker):
    def _build_queue_arguments(self, queue_name: str) -> dict[str, object]:
        return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}


broker = QuorumBroker(url=AMQP_URL, confirm_delivery=True)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE, max_retries=0)
def create(request: dict[str, object]) -> None:
    task = prepare(request)
    record(task)
    # The broker keeps one channel in confirm mode for each thread.
    broker.channel.basic_publish(
        RESPONSES, "completed", task.response,
        pika.BasicProperties(
            delivery_mode=2, content_type="application/json", correlation_id=str(task.request_id)
        ),
        mandatory=True,
    )  # fmt: skip


if __name__ == "__main__" and sys.argv[1] == "fill":
    with timed():
        for body in bodies(int(sys.argv[2])):
            create.send(body)
