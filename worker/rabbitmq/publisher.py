"""Messages out: every one confirmed by the broker, and a whole batch in one write."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import (
    AMQPError,
    ChannelPreconditionFailed,
    ConnectionFrameError,
    ConnectionInternalError,
    ConnectionSyntaxError,
    DeliveryError,
    PublishError,
)
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from worker.errors import PublishInterrupted
from worker.monitoring.readiness import Readiness
from worker.process.failpoint import FailPoint, Gap
from worker.rabbitmq.eager_reading import inside_is_known
from worker.values import Receipt

PART = "responses"
DIRECT_PART = "direct_replies"
OVER_CONTENT = (
    ChannelPreconditionFailed, ConnectionFrameError, ConnectionInternalError, ConnectionSyntaxError,
)  # fmt: skip
"""How the broker says that something published is too large, or an address that it cannot read."""
WINDOW = 256  # publishes in flight on the channel at once
_SMALL_FRAME = 4088


class Outgoing(NamedTuple):
    """A message to publish. Its message_id must differ from that of every other in flight."""

    exchange: str
    routing_key: str
    body: bytes
    properties: spec.Basic.Properties


class Publisher:
    """Publishes on one channel in confirm mode, on a connection of its own: a broker that is short of memory
    blocks the connections that publish, and acknowledgements must not wait with them."""

    def __init__(
        self, readiness: Readiness, confirm_timeout_seconds: float, fail_point: FailPoint, part: str = PART
    ) -> None:
        self.part = part
        self.lost_over_content = False
        """Whether the broker closed the last connection because of what was published on it."""
        self._fail_point = fail_point
        self._readiness = readiness
        self._timeout = confirm_timeout_seconds
        self._channel: AbstractChannel | None = None
        self._in_flight: set[str | None] = set()
        self._landed = asyncio.Event()
        self._batch_write = inside_is_known("responses go out one by one")
        self._give_up = asyncio.Event()

    async def serve(self, connection: AbstractConnection) -> None:
        """Be the channel that publishes go through, until it is lost."""
        self._give_up.clear()
        channel = await open_channel(connection, self._timeout)
        self._channel = channel
        self._readiness.up(self.part)
        given_up = asyncio.ensure_future(self._give_up.wait())
        try:
            closing = asyncio.ensure_future(channel.closing)
            await asyncio.wait([closing, given_up], return_when=asyncio.FIRST_COMPLETED)
            error = closing.exception() if closing.done() else PublishStalled()
            self.lost_over_content = isinstance(error, OVER_CONTENT)
            if error:
                raise error
        finally:
            given_up.cancel()
            self._channel = None
            self._readiness.down(self.part, "not connected")

    async def until_up(self) -> None:
        await self._readiness.until_up(self.part)

    def carries(self, properties: spec.Basic.Properties) -> bool:
        """Whether these properties fit into a frame: the broker closes the connection over larger ones."""
        if self._channel is None:
            return True  # it is found out when there is one
        most: int = getattr(self._channel, "max_content_size", _SMALL_FRAME)
        return len(ContentHeader(properties=properties).marshal()) <= most

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """What the broker said of each. Raises PublishInterrupted when it did not say: whether those messages
        were published is then unknown, and they have to be published again."""
        receipts: list[Receipt] = []
        for start in range(0, len(messages), WINDOW):
            window = messages[start : start + WINDOW]
            ids = {message.properties.message_id for message in window}
            while not self._in_flight.isdisjoint(ids):
                self._landed.clear()
                await self._landed.wait()  # another copy of one of these: the client tells them apart by id
            self._in_flight |= ids
            try:
                receipts += await self._publish_window(window)
            finally:
                self._in_flight -= ids
                self._landed.set()
        return receipts

    async def _publish_window(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        channel = self._channel
        if channel is None or channel.is_closed:
            self._readiness.down(self.part, "not connected")
            raise PublishInterrupted("not connected to the broker")
        try:
            async with asyncio.timeout(self._timeout):
                if self._batch_write:
                    return await write_batch(channel, messages, self._written)
                return list(await asyncio.gather(*(write_one(channel, message) for message in messages)))
        except TimeoutError:
            self._give_up.set()
            raise PublishInterrupted(f"no confirm within {self._timeout:g} s") from None
        except Exception as error:  # what waits on a lost channel is rejected with any of them
            raise PublishInterrupted(f"{error!r}"[:300]) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise PublishInterrupted("the channel was closed") from error

    async def _written(self) -> None:
        await self._fail_point.reach(Gap.DURING_PUBLISH)


class PublishStalled(AMQPError):
    """A publish was not confirmed in time: the connection is given up and a new one made."""

    reason = "the broker did not confirm in time"


async def open_channel(connection: AbstractConnection, seconds: float) -> AbstractChannel:
    """A channel in confirm mode that messages get through: a broker that accepts connections may still be
    unable to take any, so one is published to nowhere.
    """
    opened = connection.channel(publisher_confirms=True, on_return_raises=True)
    await opened.initialize(timeout=seconds)
    channel = await opened.get_underlay_channel()
    probe = Outgoing("", f"probe.{id(channel):x}", b"", spec.Basic.Properties(message_id="probe"))
    async with asyncio.timeout(seconds):
        await write_one(channel, probe)
    return channel


async def write_one(channel: AbstractChannel, message: Outgoing) -> Receipt:
    """One publish through the client's public call."""
    try:
        confirm = await channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=message.properties,
            mandatory=True,
        )
    except PublishError:
        return Receipt.UNROUTABLE
    except DeliveryError:
        return Receipt.REFUSED
    return Receipt.CONFIRMED if isinstance(confirm, spec.Basic.Ack) else Receipt.REFUSED


class _Confirm:
    """Stands in the client's table of confirms where it keeps a future for each publish."""

    __slots__ = ("_batch", "_index", "_over")

    def __init__(self, batch: "_Batch", index: int) -> None:
        self._batch = batch
        self._index = index
        self._over = False

    def done(self) -> bool:
        return self._over

    def cancelled(self) -> bool:
        return False

    def set_result(self, _frame: object) -> None:
        self._settle(Receipt.CONFIRMED)

    def set_exception(self, error: BaseException) -> None:
        self._settle(Receipt.UNROUTABLE if isinstance(error, PublishError) else Receipt.REFUSED)

    def _settle(self, receipt: Receipt) -> None:
        self._over = True
        self._batch.settle(self._index, receipt)


class _Batch:
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
    """All of these in one write, waited for together.

    The client's public call makes a future, a lock and a write for each publish. This does what it does,
    once for the batch, with its own tables; a contract test holds it against the pinned version.
    """
    payload = _marshal(channel, messages)
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


def _marshal(channel: Any, messages: Sequence[Outgoing]) -> bytes:  # noqa: ANN401 — as above
    number, most = channel.number, channel.max_content_size
    methods: dict[tuple[str, str], bytes] = {}  # most of a batch go to the same exchange and key
    chunks: list[bytes] = []
    for message in messages:
        address = message.exchange, message.routing_key
        if address not in methods:
            method = spec.Basic.Publish(exchange=address[0], routing_key=address[1], mandatory=True)
            methods[address] = marshal(method, number)
        chunks.append(methods[address])
        header = ContentHeader(properties=message.properties, body_size=len(message.body))
        chunks.append(marshal(header, number))
        chunks.extend(
            marshal(ContentBody(message.body[start : start + most]), number)
            for start in range(0, len(message.body), most)
        )
    return b"".join(chunks)


def _forget(channel: Any, messages: Sequence[Outgoing]) -> None:  # noqa: ANN401 — as above
    for message in messages:
        channel.message_id_delivery_tag.pop(message.properties.message_id, None)
