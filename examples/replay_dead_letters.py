"""Send the dead letters on, once the cause is gone: each to where it belongs. Needs only pika.

For workers that leave them in their queue (WORKER_MAX_DEAD_LETTERS=0). Otherwise they are in Postgres, and
`session-worker dead replay` does this.

AMQP_URL=amqp://user:password@host:5672/%2F python replay_dead_letters.py           # all that lie there now
AMQP_URL=… python replay_dead_letters.py 10                                         # the ten oldest
"""

import json
import os
import sys
from collections import Counter
from typing import Any, NamedTuple

import pika
from pika.exceptions import UnroutableError

PREFIX = os.environ.get("PREFIX", "sessions")
# What the broker and the worker noted on the way here.
NOTES = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-original-")
REASONS = ("x-reason", "x-code", "x-failed-at", "x-worker", "x-version")


class Destination(NamedTuple):
    kind: str
    exchange: str
    key: str
    or_else: str = ""  # key of the responses, where the queue of a single reader is gone


def destination(properties: pika.BasicProperties, body: bytes) -> Destination:
    """By what it is. A response is never sent as a request: it would be answered, to somebody who was told
    the truth before."""
    document = read(body)
    payload = document.get("payload")
    status = str(document.get("status", ""))
    answered = "operation" not in document and isinstance(payload, dict) and "session_id" in payload
    if properties.type == "CreateSessionResponse" or (answered and status in ("completed", "failed")):
        if properties.reply_to:
            return Destination("response", "", properties.reply_to, or_else=status or "failed")
        return Destination("response", f"{PREFIX}.responses", status or "failed")
    if properties.type == "CancelSessionRequest" or document.get("operation") == "cancel_session":
        return Destination("cancel request", f"{PREFIX}.requests", "cancel")
    return Destination("request", f"{PREFIX}.requests", "create")


def read(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def main() -> None:
    moved: Counter[str] = Counter()
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        waiting = channel.queue_declare(f"{PREFIX}.dead", passive=True).method.message_count
        # No more than lie there now: what nobody can read comes back here.
        for _ in range(min(waiting, int(sys.argv[1]) if len(sys.argv) > 1 else waiting)):
            method, properties, body = channel.basic_get(f"{PREFIX}.dead")
            if method is None:
                break
            to = destination(properties, body)
            properties.headers = {
                name: value
                for name, value in (properties.headers or {}).items()
                if name not in REASONS and not name.startswith(NOTES)
            }
            properties.expiration = None  # it has passed; the header `deadline` stays
            try:
                channel.basic_publish(to.exchange, to.key, body, properties, mandatory=True)
            except UnroutableError:
                if not to.or_else:
                    raise  # it stays where it is
                properties.reply_to = None
                channel.basic_publish(f"{PREFIX}.responses", to.or_else, body, properties, mandatory=True)
            channel.basic_ack(method.delivery_tag)  # only once the copy is confirmed
            moved[to.kind] += 1
    print(", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in moved.items()) or "none there")


if __name__ == "__main__":
    main()
