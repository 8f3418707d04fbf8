"""The properties of what a worker publishes: responses and dead letters."""

from datetime import datetime
from uuid import uuid4

from aio_pika.abc import HeadersType
from pamqp import commands as spec

from schemas.readable import shortened
from schemas.wire import APP_ID, CONTENT_TYPE, LONGEST_TEXT, RESPONSE_TYPE
from worker.messages.decoding import LONGEST_REASON, Message
from worker.messages.origin import origin_headers, text
from worker.values import Answer


def response_properties(answer: Answer, now: datetime) -> spec.Basic.Properties:
    headers: HeadersType = {"traceparent": answer.route.traceparent} if answer.route.traceparent else {}
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,
        correlation_id=answer.route.correlation_id or str(answer.request_id),
        message_id=answer.message_id,
        timestamp=now,
        message_type=RESPONSE_TYPE,
        app_id=APP_ID,
        headers=headers or None,
    )


def dead_letter_properties(
    message: Message, reason: str, worker: str, version: str, now: datetime
) -> spec.Basic.Properties:
    """Says why the message could not be answered, and where it came from; nothing of its body. It can be
    sent again.
    """
    original = message.properties
    return spec.Basic.Properties(
        content_type=text(original.content_type, LONGEST_TEXT),
        content_encoding=text(original.content_encoding, LONGEST_TEXT),
        delivery_mode=2,
        correlation_id=text(original.correlation_id, LONGEST_TEXT),
        reply_to=text(original.reply_to, LONGEST_TEXT),
        message_id=str(uuid4()),
        timestamp=original.timestamp or now,
        message_type=text(original.message_type, LONGEST_TEXT),
        app_id=APP_ID,
        headers=origin_headers(original, message.exchange, message.routing_key)
        | {
            "x-reason": shortened(reason, LONGEST_REASON),
            "x-code": "unreadable",
            "x-failed-at": now.isoformat(),
            "x-worker": worker,
            "x-version": version,
        },
    )


def bare_dead_letter_properties(worker: str, version: str, now: datetime) -> spec.Basic.Properties:
    """The same for a message whose own reason or properties the broker does not take."""
    return spec.Basic.Properties(
        delivery_mode=2,
        message_id=str(uuid4()),
        timestamp=now,
        app_id=APP_ID,
        headers={
            "x-reason": "it could not be read; the broker did not take the reason or its properties",
            "x-code": "unreadable",
            "x-failed-at": now.isoformat(),
            "x-worker": worker,
            "x-version": version,
        },
    )
