"""The properties of a dead letter: why nobody could be answered, and where the message came from.

A person finds its producer by them and can send the message again.
"""

from datetime import datetime
from uuid import uuid4

from aio_pika.abc import HeadersType
from pamqp import commands as spec
from pamqp import encode

from schemas.readable import shortened
from schemas.secret import is_secret_name
from schemas.wire import APP_ID
from worker.messages.envelope import Message, property_text
from worker.messages.refusing import LONGEST_REASON

_MOST_HEADERS = 100
_MOST_BYTES = 16_384  # of a frame's 131,072, which the other properties share
_LONGEST_VALUE = 1024
_ROUTING = {"cc", "bcc"}  # the broker would act upon them again
_PLAIN = (str, bytes, bytearray, int, float)


def dead_letter_properties(
    message: Message, reason: str, worker: str, version: str, now: datetime
) -> spec.Basic.Properties:
    """Makes the properties of a dead letter from those of its message; they repeat nothing of its body."""
    original = message.properties
    return spec.Basic.Properties(
        content_type=property_text(original.content_type),
        content_encoding=property_text(original.content_encoding),
        delivery_mode=2,
        correlation_id=property_text(original.correlation_id),
        reply_to=property_text(original.reply_to),
        message_id=str(uuid4()),
        timestamp=original.timestamp or now,
        message_type=property_text(original.message_type),
        app_id=APP_ID,
        headers=_kept_headers(original)
        | _origin(message)
        | _verdict(shortened(reason, LONGEST_REASON), worker, version, now),
    )


def bare_dead_letter_properties(worker: str, version: str, now: datetime) -> spec.Basic.Properties:
    """Makes the properties of a dead letter whose own reason or properties the broker does not take."""
    reason = "it could not be read; the broker did not take the reason or its properties"
    return spec.Basic.Properties(
        delivery_mode=2,
        message_id=str(uuid4()),
        timestamp=now,
        app_id=APP_ID,
        headers=_verdict(reason, worker, version, now),
    )


def _verdict(reason: str, worker: str, version: str, now: datetime) -> HeadersType:
    return {
        "x-reason": reason,
        "x-code": "unreadable",
        "x-failed-at": now.isoformat(),
        "x-worker": worker,
        "x-version": version,
    }


def _origin(message: Message) -> HeadersType:
    """Makes headers of the properties that must not be repeated as they are: they would be another's."""
    original = message.properties
    return {
        "x-original-exchange": message.exchange,
        "x-original-routing-key": message.routing_key,
        "x-original-message-id": property_text(original.message_id) or "",
        "x-original-app-id": property_text(original.app_id) or "",
        "x-original-user-id": property_text(original.user_id) or "",
    }


def _kept_headers(original: spec.Basic.Properties) -> HeadersType:
    """Keeps the producer's headers that are plain and short, and carry no credential."""
    kept: HeadersType = {}
    room = _MOST_BYTES
    for name, value in list((original.headers or {}).items())[:_MOST_HEADERS]:
        size = _size(name, value)
        if size is not None and size <= room:
            kept[name] = value
            room -= size
    return kept


def _size(name: str, value: object) -> int | None:
    """Measures how many bytes a header takes; None for one that is not kept."""
    if name.lower() in _ROUTING or is_secret_name(name) or not isinstance(value, _PLAIN):
        return None
    if isinstance(value, str | bytes | bytearray) and len(value) > _LONGEST_VALUE:
        return None
    try:
        return len(encode.field_table({name: value}))
    except Exception:  # noqa: BLE001 — whatever the library cannot write is not kept
        return None
