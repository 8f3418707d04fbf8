"""Celery: prefork, acks late, one message at a time for each process, responses confirmed through kombu."""

import sys

from celery import Celery
from kombu import Exchange, Queue

from bench.peers.common import AMQP_URL, QUEUE, RESPONSES, prepare
from bench.peers.fill import bodies, timed
from bench.peers.psycopg_work import record

app = Celery("bench", broker=AMQP_URL)
app.conf.update(
    task_queues=[
        Queue(QUEUE, Exchange(QUEUE, type="direct"), "create", queue_arguments={"x-queue-type": "quorum"})
    ],
    task_default_queue=QUEUE,
    task_default_exchange=QUEUE,
    task_default_routing_key="create",
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,  # its guide: 64 or 128 for short tasks
    worker_detect_quorum_queues=True,
    broker_transport_options={"confirm_publish": True},
    task_serializer="json",
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
responses = Exchange(RESPONSES, type="topic", no_declare=True)


@app.task(name="create_session")
def create(request: dict[str, object]) -> None:
    task = prepare(request)
    record(task)
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            task.response, exchange=responses, routing_key="completed", delivery_mode=2,
            content_type="application/json", content_encoding="utf-8", correlation_id=str(task.request_id),
        )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        with app.producer_pool.acquire(block=True) as producer, timed():
            for body in bodies(int(sys.argv[2])):
                create.apply_async((body,), producer=producer)
    else:
        app.worker_main(
            ["worker", "-c", "4", "-P", "prefork", "-l", "error", "--without-gossip", "--without-mingle"]
        )
