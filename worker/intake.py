"""Deliveries in, batches out; and the only place that settles a delivery."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelInvalidStateError
from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from pamqp import commands as spec

from worker import frames
from worker.envelope import Message
from worker.metrics import Metrics
from worker.readiness import Readiness
from worker.topology import CANCEL_KEY, Names

PART = "requests"
_NEEDED = ("postgres", "responses")  # without these a delivery is left where it is
CONSUME_SECONDS = 15  # a node cut off from its cluster answers nothing, and keeps the connection open
_BATCH_BYTES = 1 << 20
_SEND_SECONDS = 10
_log = structlog.get_logger(__name__)


class Delivery(NamedTuple):
    """A message on loan from the broker until it is settled."""

    tag: int
    message: Message
    session: "_ChannelSession"
    received: float


class _ChannelSession:
    """What one channel has delivered and what of it is still unsettled: both end with the channel."""

    def __init__(self, channel: Channel, hold_back: int) -> None:
        self.channel = channel
        self._hold_back = hold_back
        self._unsettled: deque[int] = deque()
        self._settled: set[int] = set()
        self._in_order = asyncio.Lock()  # the queue of writes is not: who waits for room is overtaken

    @property
    def open(self) -> bool:
        return not self.channel.is_closed

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    def delivered(self, tag: int) -> None:
        self._unsettled.append(tag)

    def forget(self, tag: int) -> bool:
        """Whether it was still unsettled."""
        if tag in self._settled or tag not in self._unsettled:
            return False
        self._unsettled.remove(tag)
        return True

    def settle(self, tags: Sequence[int], *, everything: bool) -> list[spec.Basic.Ack]:
        """The acknowledgements to send now. A run from the oldest delivery on needs one frame; what lies
        behind a gap waits for the gap to close, unless that would hold back too many.
        """
        self._settled.update(tags)
        run = 0
        while self._unsettled and self._unsettled[0] in self._settled:
            run = self._unsettled.popleft()
            self._settled.discard(run)
        frames = [spec.Basic.Ack(delivery_tag=run, multiple=True)] if run else []
        if self._settled and (everything or len(self._settled) > self._hold_back):
            frames += [spec.Basic.Ack(delivery_tag=tag) for tag in sorted(self._settled)]
            self._unsettled = deque(tag for tag in self._unsettled if tag not in self._settled)
            self._settled.clear()
        return frames

    async def acknowledge(self, tags: Sequence[int], *, everything: bool) -> None:
        async with self._in_order:
            await self._send(self.settle(tags, everything=everything))

    async def give_back(self, tags: Sequence[int]) -> None:
        async with self._in_order:
            nacks = [spec.Basic.Nack(delivery_tag=tag, requeue=True) for tag in tags if self.forget(tag)]
            # Acknowledgements may have waited for just these.
            await self._send([*nacks, *self.settle([], everything=False)])

    async def _send(self, frames: Sequence[spec.Basic.Ack | spec.Basic.Nack]) -> None:
        if not frames or not self.open:
            return
        try:
            # A connection that dies with a full queue of writes would keep this waiting for ever.
            async with asyncio.timeout(_SEND_SECONDS):
                await self.channel.write_queue.put(
                    ChannelFrame.marshall(channel_number=self.channel.number, frames=frames)
                )
        except (ChannelInvalidStateError, OSError, TimeoutError):
            _log.info("intake.settle_unsent", deliveries=len(frames))


class Intake:
    """Gathers what the broker delivers. It never waits for a batch to fill: what has arrived is taken."""

    def __init__(self, names: Names, prefetch: int, readiness: Readiness, metrics: Metrics) -> None:
        self._names = names
        self._prefetch = prefetch
        self._readiness = readiness
        self._metrics = metrics
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._sessions: list[_ChannelSession] = []
        self._stopping = False
        self._eager = frames.inside_is_known("deliveries are taken one by one")
        if self._eager:
            frames.read_eagerly()

    async def serve(self, connection: AbstractConnection) -> None:
        """Consume on a channel of this connection until it is lost."""
        opened = connection.channel(publisher_confirms=False)
        await opened.initialize()
        channel = await opened.get_underlay_channel()
        assert isinstance(channel, Channel)  # noqa: S101 — the abstract class hides what is needed of it
        session = _ChannelSession(channel, self._prefetch // 4)
        self._sessions.append(session)
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_cancel(frame: spec.Basic.Cancel) -> None:
            if not lost.done():
                lost.set_result(
                    f"the broker cancelled the consumer {frame.consumer_tag}: was the queue deleted?"
                )

        channel.on_consumer_cancel_callbacks.add(on_cancel)
        try:
            async with asyncio.timeout(CONSUME_SECONDS):
                await channel.basic_qos(prefetch_count=self._prefetch)
                receivers = {  # in this order: the second answer comes behind all that the first queue holds
                    self._names.undelivered: self._receiver(session, taken_by_broker=True),
                    self._names.requests: self._receiver(session, taken_by_broker=False),
                }
                if self._eager:
                    frames.divert_deliveries(channel, receivers)
                for queue, receiver in receivers.items():
                    await channel.basic_consume(queue, receiver, consumer_tag=queue)  # type: ignore[arg-type] # it takes both
            self._readiness.up(PART)
            _log.info("intake.consuming", queue=self._names.requests, prefetch=self._prefetch)
            closing = asyncio.ensure_future(channel.closing)
            await asyncio.wait([closing, lost], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise AMQPError(lost.result())
            if error := closing.exception():
                raise error
        finally:
            self._readiness.down(PART, "not consuming")
            self._drop(session)

    async def arrivals(self) -> int:
        """How many deliveries are there to take; waits for the first, and for what is needed to work on it.
        None at all once the intake is stopped."""
        while not self._stopping:
            if not self._buffer:
                self._arrived.clear()
                await self._arrived.wait()
            elif self._readiness.are_up(*_NEEDED):
                return len(self._buffer)
            else:
                await self._readiness.change()
        return 0

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def take(self, most: int) -> list[Delivery]:
        """What has arrived, at most so many. Large ones make a small batch: they take long to read, and the
        others with them would wait for it.
        """
        batch: list[Delivery] = []
        size = 0
        while self._buffer and len(batch) < most and size < _BATCH_BYTES and not self._stopping:
            delivery = self._buffer.popleft()
            if delivery.session.open:
                batch.append(delivery)
                size += len(delivery.message.body)
        self._gauge()
        return batch

    async def settle(self, deliveries: Sequence[Delivery], *, everything: bool = False) -> None:
        """Tell the broker that these are dealt with. On a lost channel there is nothing to tell: they come
        again.
        """
        for session, tags in _by_session(deliveries):
            await session.acknowledge(tags, everything=everything)
        self._gauge()

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return to the broker what could not be dealt with. That counts towards the delivery limit."""
        for session, tags in _by_session(deliveries):
            await session.give_back(tags)

    async def stop(self) -> None:
        """Take nothing more. What is buffered goes back to the broker when its channel closes."""
        self._stopping = True
        self._arrived.set()
        self._readiness.nudge()
        for session in self._sessions:
            if session.open:
                try:
                    for tag in list(session.channel.consumers):
                        await session.channel.basic_cancel(tag, timeout=5)
                except Exception:  # noqa: BLE001 — a lost connection ends what waits on it with a bare one, too
                    _log.info("intake.cancel_unanswered")

    async def flush(self) -> None:
        """Send the acknowledgements that were held back."""
        for session in self._sessions:
            await session.acknowledge([], everything=True)

    def _receiver(self, session: _ChannelSession, *, taken_by_broker: bool) -> frames.Receive:
        clock = asyncio.get_running_loop().time

        def receive(message: DeliveredMessage) -> None:
            tag = message.delivery_tag or 0
            properties = message.header.properties
            why = None
            if taken_by_broker:
                why = str((properties.headers or {}).get("x-first-death-reason", "unknown"))
            session.delivered(tag)
            found = Message(
                body=message.body,
                properties=properties,
                taken_by_broker=why,
                sent_to_cancel=message.routing_key == CANCEL_KEY,
                exchange=message.exchange or "",
                routing_key=message.routing_key or "",
            )
            self._buffer.append(Delivery(tag, found, session, clock()))
            self._arrived.set()

        return receive

    def _drop(self, session: _ChannelSession) -> None:
        """Deliveries of a lost channel come again on the next: working on these would be work done twice."""
        self._sessions.remove(session)
        self._buffer = deque(delivery for delivery in self._buffer if delivery.session is not session)
        self._gauge()

    def _gauge(self) -> None:
        self._metrics.buffered.set(len(self._buffer))
        self._metrics.in_flight.set(sum(session.unsettled for session in self._sessions) - len(self._buffer))


def _by_session(deliveries: Sequence[Delivery]) -> Iterable[tuple[_ChannelSession, list[int]]]:
    tags: dict[int, tuple[_ChannelSession, list[int]]] = {}
    for delivery in deliveries:
        tags.setdefault(id(delivery.session), (delivery.session, []))[1].append(delivery.tag)
    return tags.values()
