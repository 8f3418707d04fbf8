"""Writes messages on a channel in confirm mode: one by the client's public call, or a batch in one write.

The batch write reaches behind the client library's interface, so it is used only with the version of it that
`aiormq_version` knows.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import (
    ChannelPreconditionFailed,
    ConnectionFrameError,
    ConnectionInternalError,
    ConnectionSyntaxError,
    DeliveryError,
    PublishError,
)
from pamqp import commands as spec
from pamqp.frame import marshal

from worker.process.pace import rest
from worker.rabbitmq.header_frames import header_frame
from worker.rabbitmq.line import Line, open_channel
from worker.values import Receipt

OVER_CONTENT = (
    ChannelPreconditionFailed, ConnectionFrameError, ConnectionInternalError, ConnectionSyntaxError,
)  # fmt: skip
"""The errors that say that something published is too large, or has an address the broker cannot read."""


_BODY_FRAME = 3
_BODY = struct.Struct(">BHI")  # kind, channel, size
_END = b"\xce"


class Outgoing(NamedTuple):
    """A message to publish. Its message_id must differ from that of every other in flight."""

    exchange: str
    routing_key: str
    body: bytes
    properties: spec.Basic.Properties
    mandatory: bool = True  # what no queue takes is returned, and its receipt says so


async def open_proven_line(connection: AbstractConnection, seconds: float) -> Line:
    """Open a line in confirm mode and publish a message to nowhere on it: a broker that accepts connections
    may still be unable to take messages.
    """
    channel = await open_channel(connection, confirms=True, seconds=seconds)
    probe = Outgoing("", f"probe.{id(channel):x}", b"", spec.Basic.Properties(message_id="probe"))
    async with asyncio.timeout(seconds):
        await write_one(channel, probe)
    return Line(channel)


async def write_one(channel: AbstractChannel, message: Outgoing) -> Receipt:
    """Publish one message through the client's public call."""
    try:
        confirm = await channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=message.properties,
            mandatory=message.mandatory,
        )
    except PublishError:
        return Receipt.UNROUTABLE
    except DeliveryError:
        return Receipt.REFUSED
    return Receipt.CONFIRMED if isinstance(confirm, spec.Basic.Ack) else Receipt.REFUSED


class _Confirm:
    """Stands in the client's table of confirms where it keeps a future for each publish."""

    __slots__ = ("_batch", "_done", "_index")

    def __init__(self, batch: "_Batch", index: int) -> None:
        self._batch = batch
        self._index = index
        self._done = False

    def done(self) -> bool:
        return self._done

    def cancelled(self) -> bool:
        return False

    def set_result(self, _frame: object) -> None:
        self._settle(Receipt.CONFIRMED)

    def set_exception(self, error: BaseException) -> None:
        self._settle(Receipt.UNROUTABLE if isinstance(error, PublishError) else Receipt.REFUSED)

    def _settle(self, receipt: Receipt) -> None:
        self._done = True
        self._batch.settle(self._index, receipt)


class _Batch:
    """Gathers the receipts of a batch; its future is done once none is missing."""

    def __init__(self, size: int, future: "asyncio.Future[None]") -> None:
        self.receipts = [Receipt.REFUSED] * size
        self.future = future
        self._missing = size

    def settle(self, index: int, receipt: Receipt) -> None:
        self.receipts[index] = receipt
        self._missing -= 1
        if not self._missing and not self.future.done():
            self.future.set_result(None)


async def write_batch(
    channel: Any,  # noqa: ANN401 — reaches behind the client's interface
    messages: Sequence[Outgoing],
    written: Callable[[], Awaitable[None]] | None = None,
) -> list[Receipt]:
    """Publish a batch in one write, and wait for all receipts together.

    The client's public call makes a future, a lock and a write for each publish. This does what it does,
    once for the batch, with its own tables; a contract test holds it against the pinned version.
    """
    payload = await _marshal(channel, messages)
    async with channel.lock:
        first = channel.delivery_tag + 1
        future = channel.create_future()  # the channel's own: rejected when the channel is lost
        batch = _Batch(len(messages), future)
        for index, message in enumerate(messages):
            channel.confirmations[first + index] = _Confirm(batch, index)
            channel.message_id_delivery_tag[message.properties.message_id] = first + index
        channel.delivery_tag += len(messages)
        try:
            await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        except BaseException:
            # The broker has seen none of these: the next publish takes their numbers.
            channel.delivery_tag = first - 1
            for index in range(len(messages)):
                channel.confirmations.pop(first + index, None)
            _forget(channel, messages)
            future.cancel()
            raise
    try:
        if written:
            await written()
        await future
    finally:
        _forget(channel, messages)
    return batch.receipts


async def _marshal(channel: Any, messages: Sequence[Outgoing]) -> bytes:  # noqa: ANN401 — as above
    number, most = channel.number, channel.max_content_size
    methods: dict[tuple[str, str, bool], bytes] = {}  # most of a batch go to the same exchange and key
    chunks: list[bytes] = []
    for message in messages:
        await rest()
        address = message.exchange, message.routing_key, message.mandatory
        if address not in methods:
            method = spec.Basic.Publish(exchange=address[0], routing_key=address[1], mandatory=address[2])
            methods[address] = marshal(method, number)
        chunks += (methods[address], header_frame(number, message.properties, len(message.body)))
        for start in range(0, len(message.body), most):
            piece = message.body[start : start + most]
            chunks += (_BODY.pack(_BODY_FRAME, number, len(piece)), piece, _END)
    return b"".join(chunks)


def _forget(channel: Any, messages: Sequence[Outgoing]) -> None:  # noqa: ANN401 — as above
    for message in messages:
        channel.message_id_delivery_tag.pop(message.properties.message_id, None)
