"""Keeps deliveries as they came until they are taken; only then their properties are read."""

import struct
from typing import NamedTuple

import structlog
from pamqp import commands as spec
from pamqp.exceptions import PAMQPException

from worker.messages.envelope import Message
from worker.messages.large_bodies import Dropped
from worker.rabbitmq.arriving import Arrived
from worker.rabbitmq.channel_session import ChannelSession, Delivery
from worker.rabbitmq.topology import CANCEL_KEY

_log = structlog.get_logger(__name__)


class Source(NamedTuple):
    """A queue to consume."""

    queue: str
    taken_by_broker: bool = False


Buffered = tuple[int, int, float, int, str, str, bytes | spec.Basic.Properties, bytes, Dropped | None]
"""A delivery that is not taken yet: the numbers of its channel and of its source, when it came, and what
`Arrived` has. The garbage collector leaves a bare tuple of plain values alone; anything else, of which many
thousands may wait here, it would look at again and again.
"""


class Loan(NamedTuple):
    """What settles a delivery that was never taken."""

    tag: int
    session: ChannelSession


def packed(arrived: Arrived, channel: int, source: int, received: float) -> Buffered:
    """Pack a delivery to be kept."""
    return channel, source, received, *arrived


def read(one: Buffered, source: Source, session: ChannelSession) -> Delivery:
    """Read what came with the body. It is done only now: a flood that waits here is not held up by it."""
    arrived = Arrived(*one[3:])
    properties = properties_of(arrived)
    headers = properties.headers or {}
    message = Message(
        body=arrived.body,
        properties=properties,
        taken_by_broker=str(headers.get("x-first-death-reason", "unknown"))
        if source.taken_by_broker
        else None,
        sent_to_cancel=arrived.routing_key == CANCEL_KEY,
        delivery_count=_delivery_count(headers.get("x-delivery-count")),
        exchange=arrived.exchange,
        routing_key=arrived.routing_key,
        dropped=arrived.dropped,
    )
    return Delivery(arrived.tag, message, session, one[2])


def properties_of(arrived: Arrived) -> spec.Basic.Properties:
    """Read the properties of a delivery; of what cannot be read there are none."""
    try:
        return arrived.properties_read()
    except (ValueError, LookupError, struct.error, PAMQPException):
        _log.warning("intake.properties_unreadable", delivery=arrived.tag, consequence="it is read without")
        return spec.Basic.Properties()


def _delivery_count(value: object) -> int:
    """Return how often a message came back from a reader that was lost. RabbitMQ 4.3 counts returns by hand
    elsewhere, as acquired: they are no sign of a message that kills.
    """
    return max(0, value) if isinstance(value, int) else 0
