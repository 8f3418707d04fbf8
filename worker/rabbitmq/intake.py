"""Takes deliveries in and hands them out in batches. Nothing else settles a delivery."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rabbitmq import eager_reading
from worker.rabbitmq.arriving import Arrived, Receive
from worker.rabbitmq.buffered import Source
from worker.rabbitmq.channel_session import ChannelSession, Delivery, OnLoan, by_session
from worker.rabbitmq.connection import SETUP_SECONDS
from worker.rabbitmq.in_hand import ONE_LINE, Bounds, InHand, LineRule
from worker.rabbitmq.line import Line, open_channel
from worker.rabbitmq.reconnecting import serve_together
from worker.rabbitmq.topology import Names

PART = "requests"
_NEEDED = ("postgres", "responses")  # without these a delivery is left where it is
_CANCEL_SECONDS = 5
_MOST_UNTOLD = (
    128  # settled deliveries that the broker is told of later, beside a quarter of what is not settled
)
QUIET_SECONDS = 30
"""The time without a delivery after which the queues are asked for them anew."""
_SHED_SECONDS = 0.05  # between two looks for room, while there is something to give back
_SHED_PATIENCE = 1.0  # for what was given back to come again; another worker may have it
_log = structlog.get_logger(__name__)

Consume = Callable[[DeliveredMessage], None]


def sources_of_requests(names: Names) -> tuple[Source, ...]:
    # `undelivered` first: its backlog arrives before the broker says that the second consumer has begun.
    return Source(names.undelivered, taken_by_broker=True), Source(names.requests)


def sources_of_cancels(names: Names) -> tuple[Source, ...]:
    return (Source(names.cancels),)


def sources_of_dead_letters(names: Names) -> tuple[Source, ...]:
    return (Source(names.dead),)


class Intake:
    """Gathers what the broker delivers, and hands out what has arrived."""

    def __init__(
        self,
        sources: Sequence[Source],
        bounds: Bounds,
        readiness: Readiness,
        metrics: Metrics | None,
        part: str | None = PART,
        *,
        eager: bool,
        lines: LineRule = ONE_LINE,
    ) -> None:
        self._sources = tuple(sources)
        self._bounds = bounds
        self._readiness = readiness
        self._part = part
        self.hand = InHand(sources, bounds, lines, metrics)
        self._stopping = False
        self._going, self._held_back = asyncio.Event(), asyncio.Event()  # one of them is set
        self._going.set()
        self._turned = asyncio.Event()
        """Set when something else is to be read than now."""
        self.reading: tuple[Source, ...] = ()
        """What is read now."""
        self._eager = eager

    async def serve(self, connection: AbstractConnection) -> None:
        """Consume on a channel of this connection until it is lost."""
        line = Line(await open_channel(connection))
        session = ChannelSession(line.channel, min(self._bounds.deliveries // 4, _MOST_UNTOLD))
        channel = self.hand.open(session)
        try:
            receiver_of = self._receivers(channel, session)
            await serve_together(
                line.last(), self._consume(session, receiver_of), self._give_back_shed(session)
            )
        finally:
            self.reading = ()
            if self._part:
                self._readiness.down(self._part, "not consuming")
            self.hand.lose(channel)

    async def arrivals(self) -> int:
        """Wait for a delivery, and for what is needed to work on it; return how many there are to take.
        Returns 0 once the intake is stopped.
        """
        while not self._stopping:
            if not self.hand:
                self.hand.arrived.clear()
                await self.hand.arrived.wait()
            elif self._readiness.are_up(*_NEEDED) and not self._held_back.is_set():
                return len(self.hand)
            else:
                await self._readiness.change()
        return 0

    async def passers_by(self) -> bool:
        """Wait for deliveries whose turn it is before a long line. Returns False once it is stopped."""
        while not self._stopping:
            if self.passes_by and self._readiness.are_up(*_NEEDED):
                return True
            self.hand.passing.clear()
            await self.hand.passing.wait()
        return False

    @property
    def passes_by(self) -> bool:
        return self.hand.passes_by and not self._held_back.is_set()

    def take(self, most: int, *, passing: bool | None = None) -> list[Delivery]:
        """Take what has arrived, at most `most` deliveries; see `InHand.take`."""
        if self._stopping or self._held_back.is_set():
            return []
        return self.hand.take(most, passing=passing)

    async def settle(self, deliveries: Sequence[Delivery], *, everything: bool = False) -> None:
        """Acknowledge these deliveries. On a lost channel that is impossible: they come again."""
        for session, tags in by_session(deliveries):
            await session.acknowledge(tags, everything=everything)

    async def give_back(self, deliveries: Sequence[OnLoan]) -> None:
        """Return deliveries to the broker that could not be dealt with."""
        for session, tags in by_session(deliveries):
            await session.give_back(tags)

    def hold_back(self) -> None:
        """Stop consuming until `go_on`, and give back what is buffered: others may be free for it. What was
        taken stays in hand. A new connection changes nothing about it.
        """
        self._going.clear()
        self._held_back.set()
        self._turned.set()

    @property
    def is_held_back(self) -> bool:
        return self._held_back.is_set()

    def read(self, sources: Sequence[Source]) -> None:
        """Read these queues from now on. What others have delivered stays in hand."""
        if self._sources != tuple(sources) and not self._stopping:
            self._sources = tuple(sources)
            self._turned.set()

    def go_on(self) -> None:
        """Consume again, unless it is stopped."""
        if self._stopping:
            return
        self._held_back.clear()
        self._going.set()
        self._readiness.nudge()

    async def stop(self) -> None:
        """Stop consuming, and give back what is buffered at once: others may be free for it."""
        self._stopping = True
        self.hand.arrived.set()
        self.hand.passing.set()
        self._readiness.nudge()
        for session in self.hand.sessions:
            if session.open:
                try:
                    await self._leave_off(session)
                except Exception:  # noqa: BLE001 — a lost connection ends what waits on it with a bare one, too
                    _log.info("intake.cancel_unanswered")
        await self._give_all_back()

    async def _leave_off(self, session: ChannelSession) -> None:
        for tag in list(session.channel.consumers):
            await session.channel.basic_cancel(tag, timeout=_CANCEL_SECONDS)

    async def _give_all_back(self) -> None:
        """Give back what is not taken."""
        # By hand: to RabbitMQ from 4.3 on that is no sign of a message that kills, a closed channel is.
        await self.give_back(self.hand.take_all())
        for session in self.hand.sessions:
            await session.give_back(session.take_all_shed())

    async def flush(self) -> None:
        """Send the acknowledgements that were held back; return once the broker has them all."""
        for session in self.hand.sessions:
            await session.acknowledge([], everything=True)
            if session.open:
                try:
                    # Any question will do: it is answered after what was sent before it, and a connection
                    # that is closed now would take that along.
                    await session.channel.basic_qos(prefetch_count=self._bounds.deliveries, timeout=5)
                except Exception:  # noqa: BLE001 — as above
                    _log.info("intake.flush_unanswered")

    def _receivers(self, channel: int, session: ChannelSession) -> Callable[[Source], Consume]:
        """Prepare the channel; return what makes the receiver of a queue's deliveries."""
        receivers: dict[bytes, Receive] = {}
        if self._eager:
            eager_reading.divert_deliveries(
                session.channel, receivers, self.hand.body_for, self._bounds.body_bytes
            )

        def receiver_of(source: Source) -> Consume:
            receive = receivers.setdefault(source.queue.encode(), self.hand.receiver(channel, source))
            return self._one_by_one(receive)

        return receiver_of

    async def _consume(self, session: ChannelSession, receiver_of: Callable[[Source], Consume]) -> None:
        """Consume, but for the times when this intake is held back. For other queues it begins anew."""
        while True:
            if self._held_back.is_set():
                self._up()  # it could consume
                await self._going.wait()
            self._turned.clear()
            sources = () if self._stopping else self._sources
            await self._begin(session, sources, receiver_of)
            self.reading = sources
            self._up()
            prefetch = self._prefetch_of(sources)
            _log.info("intake.consuming", queue=self._sources[-1].queue, prefetch=prefetch)
            while not await self._turned_or_quiet(session):
                await self._ask_anew(session, sources, receiver_of)
            await self._leave_off(session)
            self.reading = ()
            if self._held_back.is_set():
                await self._give_all_back()

    async def _begin(
        self, session: ChannelSession, sources: Sequence[Source], receiver_of: Callable[[Source], Consume]
    ) -> None:
        async with asyncio.timeout(SETUP_SECONDS):
            await session.channel.basic_qos(prefetch_count=self._prefetch_of(sources))
            for source in sources:
                if self._stopping:  # since it began: who stops it has looked what is to be cancelled
                    return
                await session.channel.basic_consume(
                    source.queue,
                    receiver_of(source),  # type: ignore[arg-type] # it takes both
                    consumer_tag=source.queue,
                )

    async def _turned_or_quiet(self, session: ChannelSession) -> bool:
        """Wait until something else is to be read, and return True; return False once nothing has come for a
        while though nothing is held.
        """
        while True:
            received = session.received
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._turned.wait()
            if self._turned.is_set():
                return True
            if session.received == received and not session.unsettled and not self._stopping:
                return False

    async def _ask_anew(
        self, session: ChannelSession, sources: Sequence[Source], receiver_of: Callable[[Source], Consume]
    ) -> None:
        """Leave off, and begin again: that is agreed upon by most members of a quorum queue. A node that is
        cut off from them delivers nothing, keeps the connection open, and answers every other question.
        """
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                await self._leave_off(session)
                await self._begin(session, () if self._stopping else sources, receiver_of)
        except TimeoutError:
            raise QueueSilent from None

    def _prefetch_of(self, sources: Sequence[Source]) -> int:
        """Share the deliveries that may be held among these queues: the broker counts for each consumer."""
        shards = sum(1 for source in sources if not source.taken_by_broker)
        return max(1, self._bounds.deliveries // max(1, shards))

    def _up(self) -> None:
        if self._part:
            self._readiness.up(self._part)

    def _one_by_one(self, receive: Receive) -> Callable[[DeliveredMessage], None]:
        """Make what takes a delivery in the client library's own way."""

        def receive_message(message: DeliveredMessage) -> None:
            properties = message.header.properties
            part = self.hand.body_for(len(message.body), lambda: properties)
            part.add(message.body)
            body, dropped = part.end()
            receive(
                Arrived(
                    tag=message.delivery_tag or 0,
                    exchange=message.exchange or "",
                    routing_key=message.routing_key or "",
                    properties=properties,
                    body=body,
                    dropped=dropped,
                )
            )

        return receive_message

    async def _give_back_shed(self, session: ChannelSession) -> None:
        """Give back what was shed as room is made for it, so that it comes again."""
        clock = asyncio.get_running_loop().time
        while True:
            if not session.shed:
                self.hand.short_of_room.clear()
                await self.hand.short_of_room.wait()
            await asyncio.sleep(_SHED_SECONDS)
            held, most = self.hand.held_bytes, self._bounds.held_bytes
            if held > most // 2 or not (tags := session.take_shed(most - held)):
                continue
            expected, begun = session.received + len(tags), clock()
            await session.give_back(tags)
            while session.received < expected and clock() < begun + _SHED_PATIENCE:  # noqa: ASYNC110 — paced
                await asyncio.sleep(_SHED_SECONDS)


class QueueSilent(AMQPError):
    """A queue delivers nothing and does not answer: the connection is given up, for one to the next host."""

    reason = "the queue does not answer: is this node cut off from the others?"
