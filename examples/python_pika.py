"""Ask for a session and wait for the response; or read the responses of everybody. Needs only pika.

AMQP_URL=amqp://user:password@host:5672/%2F python python_pika.py         # ask and wait
AMQP_URL=… python python_pika.py subscribe [how-many]                     # read responses
"""

import json
import os
import sys
import time
import uuid
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

PREFIX = os.environ.get("PREFIX", "sessions")
TIMEOUT = 30  # seconds


def ask(channel: BlockingChannel) -> dict[str, Any]:
    """Publish a request and wait for the one response that belongs to it."""
    # The id makes the request idempotent: sent again with the same content, there is still one session.
    request_id = os.environ.get("REQUEST_ID") or str(uuid.uuid4())
    request = {
        "request_id": request_id,
        "org_id": "org-1",
        "operation": "create_session",
        "payload": {"name": "From Python", "expiration_seconds": 3600},
    }
    # A queue of our own for the response. It lives as long as this connection.
    reply_queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()  # publish now raises unless the broker has taken the request
    channel.basic_publish(
        exchange=f"{PREFIX}.requests",
        routing_key="create",
        body=json.dumps(request).encode(),
        properties=pika.BasicProperties(
            type="CreateSessionRequest",
            content_type="application/json",
            delivery_mode=2,
            correlation_id=request_id,
            reply_to=reply_queue,
            # Nobody waits any longer than this, so no worker needs to begin it after that.
            headers={"deadline": int((time.time() + TIMEOUT) * 1000)},
        ),
        mandatory=True,
    )
    for _, properties, body in channel.consume(reply_queue, auto_ack=True, inactivity_timeout=TIMEOUT):
        if body is None:
            break
        if properties.correlation_id == request_id:
            response: dict[str, Any] = json.loads(body)
            return response
    sys.exit(f"no response to {request_id} in {TIMEOUT} s: it is safe to ask again with this id")


def subscribe(channel: BlockingChannel, how_many: int | None) -> None:
    """Read responses to requests that named no reply queue, each one once."""
    seen = set()  # a response may come more than once, always with the same message_id
    # Who takes a few brings none ahead: it would go back, and keep others waiting.
    channel.basic_qos(prefetch_count=1 if how_many else 100)
    for method, properties, body in channel.consume(f"{PREFIX}.responses"):
        if properties.message_id not in seen:
            seen.add(properties.message_id)
            print(json.dumps(json.loads(body)), flush=True)
        if len(seen) == how_many:
            channel.cancel()  # before the last is acknowledged, which would bring the next
        channel.basic_ack(method.delivery_tag)  # only now: what is not acknowledged comes again
        if len(seen) == how_many:
            return


def main() -> None:
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        what, how_many, *_ = [*sys.argv[1:], "", ""]
        if what == "subscribe":
            subscribe(channel, int(how_many) if how_many else None)
            return
        response = ask(channel)
    print(json.dumps(response))
    if response["status"] == "failed":  # `metadata.code` is for programs, `error` for people
        sys.exit(f"{response['metadata']['code']}: {response['error']}")


main()
