"""Deliveries in, batches out; and the only place that settles a delivery."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from pamqp import commands as spec
from pamqp.header import ContentHeader

from schemas.wire import RESPONSE_TYPE
from worker.messages.envelope import Message
from worker.messages.large_bodies import Body, Dropped, Sieve, Whole
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rabbitmq import eager_reading
from worker.rabbitmq.channel_session import ChannelSession, Delivery, by_session
from worker.rabbitmq.topology import CANCEL_KEY, Names

PART = "requests"
_NEEDED = ("postgres", "responses")  # without these a delivery is left where it is
CONSUME_SECONDS = 15  # a node cut off from its cluster answers nothing, and keeps the connection open
_BATCH_BYTES = 1 << 20
_SHED_SECONDS = 0.05  # between two looks for room, while there is something to give back
_SHED_PATIENCE = 1.0  # for what was given back to come again; another worker may have it
_log = structlog.get_logger(__name__)


class Source(NamedTuple):
    """A queue to consume."""

    queue: str
    taken_by_broker: bool = False


class Bounds(NamedTuple):
    """What may be held at once, and how large a body may be to be kept at all."""

    deliveries: int
    held_bytes: int
    body_bytes: int


def sources_of_requests(names: Names) -> tuple[Source, ...]:
    # In this order: the second answer comes behind all that the first queue holds.
    return Source(names.undelivered, taken_by_broker=True), Source(names.requests)


def sources_of_cancels(names: Names) -> tuple[Source, ...]:
    return (Source(names.cancels),)


class Intake:
    """Gathers what the broker delivers. It never waits for a batch to fill: what has arrived is taken."""

    def __init__(
        self,
        sources: Sequence[Source],
        bounds: Bounds,
        readiness: Readiness,
        metrics: Metrics | None,
        part: str | None = PART,
    ) -> None:
        self._sources = sources
        self._bounds = bounds
        self._readiness = readiness
        self._metrics = metrics
        self._part = part
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._short_of_room = asyncio.Event()
        self._sessions: list[ChannelSession] = []
        self._stopping = False
        if metrics:  # looked at when they are asked for
            metrics.buffered.set_function(lambda: self.buffered)
            metrics.in_flight.set_function(self._taken)
            metrics.held_bytes.set_function(lambda: self.held_bytes)
        self._eager = eager_reading.inside_is_known("deliveries are taken one by one")
        if self._eager:
            eager_reading.read_eagerly()

    async def serve(self, connection: AbstractConnection) -> None:
        """Consume on a channel of this connection until it is lost."""
        opened = connection.channel(publisher_confirms=False)
        await opened.initialize()
        channel = await opened.get_underlay_channel()
        assert isinstance(channel, Channel)  # noqa: S101 — the abstract class hides what is needed of it
        session = ChannelSession(channel, self._bounds.deliveries // 4)
        self._sessions.append(session)
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_cancel(frame: spec.Basic.Cancel) -> None:
            if not lost.done():
                lost.set_result(
                    f"the broker cancelled the consumer {frame.consumer_tag}: was the queue deleted?"
                )

        channel.on_consumer_cancel_callbacks.add(on_cancel)
        giving_back = asyncio.create_task(self._give_back_shed(session))
        try:
            async with asyncio.timeout(CONSUME_SECONDS):
                await channel.basic_qos(prefetch_count=self._bounds.deliveries)
                receivers = {source.queue: self._receiver(session, source) for source in self._sources}
                if self._eager:
                    eager_reading.divert_deliveries(channel, receivers, self._body_for)
                for queue, receiver in receivers.items():
                    await channel.basic_consume(queue, receiver, consumer_tag=queue)  # type: ignore[arg-type] # it takes both
            if self._part:
                self._readiness.up(self._part)
            queue = self._sources[-1].queue
            _log.info("intake.consuming", queue=queue, prefetch=self._bounds.deliveries)
            closing = asyncio.ensure_future(channel.closing)
            await asyncio.wait([closing, lost, giving_back], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise AMQPError(lost.result())
            if giving_back.done():
                giving_back.result()
            if error := closing.exception():
                raise error
        finally:
            giving_back.cancel()
            if self._part:
                self._readiness.down(self._part, "not consuming")
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

    @property
    def held_bytes(self) -> int:
        """How many bytes the bodies have that are in hand, taken or not."""
        return sum(session.held_bytes for session in self._sessions)

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
        return batch

    def take_over(self, deliveries: Sequence[Delivery]) -> None:
        """Put in line what came by another intake and is for this one."""
        self._buffer.extend(deliveries)
        self._arrived.set()

    async def settle(self, deliveries: Sequence[Delivery], *, everything: bool = False) -> None:
        """Tell the broker that these are dealt with. On a lost channel there is nothing to tell: they come
        again.
        """
        for session, tags in by_session(deliveries):
            await session.acknowledge(tags, everything=everything)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return to the broker what could not be dealt with."""
        for session, tags in by_session(deliveries):
            await session.give_back(tags)

    async def stop(self) -> None:
        """Take nothing more. What is buffered goes back to the broker at once: others may be free for it."""
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
        waiting, self._buffer = self._buffer, deque()
        # By hand: to RabbitMQ from 4.3 on that is no sign of a message that kills, a closed channel is.
        await self.give_back(waiting)
        for session in self._sessions:
            await session.give_back(session.take_all_shed())

    async def flush(self) -> None:
        """Send the acknowledgements that were held back; returns once the broker has them all."""
        for session in self._sessions:
            await session.acknowledge([], everything=True)
            if session.open:
                try:
                    # Any question will do: it is answered after what was sent before it, and a connection
                    # that is closed now would take that along.
                    await session.channel.basic_qos(prefetch_count=self._bounds.deliveries, timeout=5)
                except Exception:  # noqa: BLE001 — as above
                    _log.info("intake.flush_unanswered")

    def _body_for(self, header: ContentHeader) -> Body:
        """What takes the pieces of a body. A response that strayed here is kept, however large: it is for the
        dead letters.
        """
        large = header.body_size > self._bounds.body_bytes
        return Sieve() if large and header.properties.message_type != RESPONSE_TYPE else Whole()

    def _receiver(self, session: ChannelSession, source: Source) -> eager_reading.Receive:
        clock = asyncio.get_running_loop().time

        def receive(message: DeliveredMessage, dropped: Dropped | None = None) -> None:
            tag = message.delivery_tag or 0
            properties, body = message.header.properties, message.body
            if not self._eager and not dropped:
                part = self._body_for(message.header)
                part.add(body)
                body, dropped = part.end()
            held = self.held_bytes
            if held and held + len(body) > self._bounds.held_bytes:
                self._shed(session, tag, len(body), source.queue)
                return
            session.delivered(tag, len(body))
            headers = properties.headers or {}
            found = Message(
                body=body,
                properties=properties,
                taken_by_broker=str(headers.get("x-first-death-reason", "unknown"))
                if source.taken_by_broker
                else None,
                sent_to_cancel=message.routing_key == CANCEL_KEY,
                delivery_count=_delivery_count(headers.get("x-delivery-count")),
                exchange=message.exchange or "",
                routing_key=message.routing_key or "",
                dropped=dropped,
            )
            self._buffer.append(Delivery(tag, found, session, clock()))
            self._arrived.set()

        return receive

    def _shed(self, session: ChannelSession, tag: int, size: int, queue: str) -> None:
        if not session.shed:
            _log.warning(
                "intake.full", queue=queue, held_bytes=self.held_bytes, most_bytes=self._bounds.held_bytes,
                consequence="what comes now is given back, and taken once there is room",
            )  # fmt: skip
        session.delivered_and_shed(tag, size)
        self._short_of_room.set()
        if self._metrics:
            self._metrics.shed.inc()

    async def _give_back_shed(self, session: ChannelSession) -> None:
        """Let what was shed come again as room is made for it."""
        clock = asyncio.get_running_loop().time
        while True:
            if not session.shed:
                self._short_of_room.clear()
                await self._short_of_room.wait()
            await asyncio.sleep(_SHED_SECONDS)
            held, most = self.held_bytes, self._bounds.held_bytes
            if held > most // 2 or not (tags := session.take_shed(most - held)):
                continue
            expected, begun = session.received + len(tags), clock()
            await session.give_back(tags)
            while session.received < expected and clock() < begun + _SHED_PATIENCE:  # noqa: ASYNC110 — paced
                await asyncio.sleep(_SHED_SECONDS)

    def _drop(self, session: ChannelSession) -> None:
        """Deliveries of a lost channel come again on the next: working on these would be work done twice."""
        self._sessions.remove(session)
        self._buffer = deque(delivery for delivery in self._buffer if delivery.session is not session)

    def _taken(self) -> int:
        unsettled = sum(session.unsettled - len(session.shed) for session in self._sessions)
        return max(0, unsettled - len(self._buffer))


def _delivery_count(value: object) -> int:
    """How often a message came back. RabbitMQ 4.3 also counts, as acquired, what was returned by hand: that
    is no sign of a message that kills, and is not counted here.
    """
    return max(0, value) if isinstance(value, int) else 0
