"""Sends messages that no client library would send: their properties are raw bytes."""

import struct

from aio_pika.abc import AbstractChannel
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal

from worker.rabbitmq.topology import names_for

FLAGS = spec.Basic.Properties.flags
_FRAME_END = b"\xce"


def short_string(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def table(items: dict[bytes, bytes]) -> bytes:
    """Returns an encoded table of values that are encoded already, each with its type."""
    content = b"".join(short_string(key) + value for key, value in items.items())
    return struct.pack(">I", len(content)) + content


def nested_table(depth: int) -> bytes:
    inner = table({})
    for _ in range(depth):
        inner = table({b"k": b"F" + inner})
    return inner


async def send_raw(channel: AbstractChannel, prefix: str, body: bytes, properties: dict[str, bytes]) -> None:
    """Publishes to the request queue. Nothing confirms it: the caller knows by its effect that it arrived."""
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, Channel)
    names = sorted(properties, key=lambda name: -FLAGS[name])
    header = struct.pack(">HxxQH", 60, len(body), sum(FLAGS[name] for name in names))
    header += b"".join(properties[name] for name in names)
    number = underlay.number
    publish = spec.Basic.Publish(exchange=names_for(prefix).requests, routing_key="create", mandatory=True)
    frames = [
        marshal(publish, number),
        struct.pack(">BHI", 2, number, len(header)) + header + _FRAME_END,
        marshal(ContentBody(body), number),
    ]
    underlay.delivery_tag += 1
    await underlay.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False))
