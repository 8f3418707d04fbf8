"""The envelope of a message: the AMQP properties around its body, as they are read and as they are made."""

from datetime import datetime
from typing import NamedTuple

from aio_pika.abc import HeadersType
from pamqp import commands as spec

from schemas.wire import APP_ID, CANCEL_TYPE, CONTENT_TYPE, LONGEST_TEXT, RESPONSE_TYPE
from worker.messages.large_bodies import Dropped
from worker.values import ID_LENGTH, Answer, Route


class Message(NamedTuple):
    """A delivered message, as much of it as matters here."""

    body: bytes
    properties: spec.Basic.Properties
    taken_by_broker: str | None  # why the broker took it from the request queue, if it did
    sent_to_cancel: bool = False  # with the routing key of cancellations
    delivery_count: int = 0  # how often it came back before: three times, and it may be what kills its reader
    exchange: str = ""  # where it was published to
    routing_key: str = ""
    dropped: Dropped | None = None  # a body that was too large to be kept

    @property
    def is_cancel(self) -> bool:
        """Tells whether its sender meant a cancellation, whatever the body says."""
        return self.properties.message_type == CANCEL_TYPE or self.sent_to_cancel


def route_of(properties: spec.Basic.Properties) -> Route:
    """Reads where the response goes."""
    headers = properties.headers or {}
    return Route(
        reply_to=property_text(properties.reply_to),
        correlation_id=property_text(properties.correlation_id),
        traceparent=property_text(headers.get("traceparent")),
    )


def property_text(value: object) -> str | None:
    """Reads a property's text without what Postgres or a frame cannot hold; None when there is none."""
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        return None
    return value.replace("\x00", "").encode("utf-8", "replace").decode()[:LONGEST_TEXT] or None


def response_properties(answer: Answer, now: datetime) -> spec.Basic.Properties:
    """Makes the properties of a response."""
    headers: HeadersType = {"traceparent": answer.route.traceparent} if answer.route.traceparent else {}
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,
        correlation_id=answer.route.correlation_id or answer.message_id[:ID_LENGTH],
        message_id=answer.message_id,
        timestamp=now,
        message_type=RESPONSE_TYPE,
        app_id=APP_ID,
        headers=headers or None,
    )
