"""Takes deliveries in and hands them out in batches. Nothing else settles a delivery."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from schemas.wire import RESPONSE_TYPE
from worker.messages.heaviness import is_heavy
from worker.messages.large_bodies import Body, Sieve, Whole
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rabbitmq import eager_reading
from worker.rabbitmq.buffered import Buffered, Loan, Source, packed, properties_of, read
from worker.rabbitmq.channel_session import ChannelSession, Delivery, OnLoan, by_session
from worker.rabbitmq.connection import SETUP_SECONDS
from worker.rabbitmq.eager_reading import Arrived, Receive
from worker.rabbitmq.fair_buffer import FairBuffer
from worker.rabbitmq.line import Line, open_channel
from worker.rabbitmq.reconnecting import serve_together
from worker.rabbitmq.topology import Names

PART = "requests"
_NEEDED = ("postgres", "responses")  # without these a delivery is left where it is
_BATCH_BYTES = 1 << 20
_CANCEL_SECONDS = 5
_MOST_UNTOLD = (
    128  # settled deliveries that the broker is told of later, beside a quarter of what is not settled
)
_FULL = 0.9  # of the deliveries, or of their bytes, that it may hold
_SHED_SECONDS = 0.05  # between two looks for room, while there is something to give back
_SHED_PATIENCE = 1.0  # for what was given back to come again; another worker may have it
_log = structlog.get_logger(__name__)


class Bounds(NamedTuple):
    """The most that may be held at once, and the size up to which a body is kept at all."""

    deliveries: int
    held_bytes: int
    body_bytes: int
    begun_soon: int | None = None
    """With more deliveries than that there is a backlog; None: only with as many as may be held."""

    def have_room(self, held: int, body: bytes) -> bool:
        """Return whether so many bytes may be held with this body. A quarter is left to light ones, which are
        done soon: heavy ones, however many, do not stand in their way.
        """
        return held <= self.held_bytes * 3 // 4 or (held <= self.held_bytes and not is_heavy(body))


def sources_of_requests(names: Names) -> tuple[Source, ...]:
    # `undelivered` first: its backlog arrives before the broker says that the second consumer has begun.
    return Source(names.undelivered, taken_by_broker=True), Source(names.requests)


def sources_of_cancels(names: Names) -> tuple[Source, ...]:
    return (Source(names.cancels),)


def sources_of_dead_letters(names: Names) -> tuple[Source, ...]:
    return (Source(names.dead),)


Consume = Callable[[DeliveredMessage], None]


class LineRule(NamedTuple):
    """Tells whose line a delivery waits in until it is taken, and what share of the turns that line has."""

    line_of: Callable[[bytes], str]
    weight_of: Callable[[str], float]
    long: int
    """A line with more in it is a long one."""
    whose: Callable[[str, spec.Basic.Properties], str] | None = None
    """Changes the line by what the message says of its sender; None: it does not count who that is."""


ONE_LINE = LineRule(lambda _body: "", lambda _line: 1.0, 1 << 30)
"""The deliveries are taken in the order of their arrival."""


class Intake:
    """Gathers what the broker delivers. It never waits for a batch to fill: what has arrived is taken."""

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
        self._sources = sources
        self._bounds = bounds
        self._readiness = readiness
        self._metrics = metrics
        self._part = part
        self._line_of = lines.line_of
        self._whose = lines.whose
        self._buffer: FairBuffer[Buffered | Delivery] = FairBuffer(lines.weight_of, lines.long)
        self._channels = count()
        self._passing = asyncio.Event()
        self._arrived = asyncio.Event()
        self._filled = asyncio.Event()
        self._short_of_room = asyncio.Event()
        self._sessions: dict[int, ChannelSession] = {}  # by the numbers of their channels
        self._stopping = False
        self._going, self._held_back = asyncio.Event(), asyncio.Event()  # one of them is set
        self._going.set()
        if metrics:  # looked at when they are asked for
            metrics.buffered.set_function(lambda: self.buffered)
            metrics.in_flight.set_function(self._taken)
            metrics.held_bytes.set_function(lambda: self.held_bytes)
        self._eager = eager

    async def serve(self, connection: AbstractConnection) -> None:
        """Consume on a channel of this connection until it is lost."""
        line = Line(await open_channel(connection))
        session = ChannelSession(line.channel, min(self._bounds.deliveries // 4, _MOST_UNTOLD))
        channel = next(self._channels)
        self._sessions[channel] = session
        try:
            receivers = await self._set_up(channel, session)
            await serve_together(
                line.last(), self._consume(session, receivers), self._give_back_shed(session)
            )
        finally:
            if self._part:
                self._readiness.down(self._part, "not consuming")
            self._drop(channel)

    async def arrivals(self) -> int:
        """Wait for a delivery, and for what is needed to work on it; return how many there are to take.
        Returns 0 once the intake is stopped.
        """
        while not self._stopping:
            if not self._buffer:
                self._arrived.clear()
                await self._arrived.wait()
            elif self._readiness.are_up(*_NEEDED) and not self._held_back.is_set():
                return len(self._buffer)
            else:
                await self._readiness.change()
        return 0

    async def passers_by(self) -> bool:
        """Wait for deliveries whose turn it is before a long line. Returns False once it is stopped."""
        while not self._stopping:
            if self.passes_by and self._readiness.are_up(*_NEEDED):
                return True
            self._passing.clear()
            await self._passing.wait()
        return False

    @property
    def passes_by(self) -> bool:
        return self._buffer.passes_by and not self._held_back.is_set()

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    @property
    def is_backlogged(self) -> bool:
        """Return whether it holds about as much as can be begun soon, or as it may hold at all."""
        unsettled = sum(session.unsettled for session in self._sessions.values())
        most = min(self._bounds.deliveries, self._bounds.begun_soon or self._bounds.deliveries)
        return unsettled >= _FULL * most or self.held_bytes >= _FULL * self._bounds.held_bytes

    async def until_backlogged(self) -> None:
        while not self.is_backlogged:
            self._filled.clear()
            await self._filled.wait()

    @property
    def held_bytes(self) -> int:
        """The size of all bodies in hand, taken or not."""
        return sum(session.held_bytes for session in self._sessions.values())

    def take(self, most: int, *, passing: bool | None = None) -> list[Delivery]:
        """Take what has arrived, at most `most` deliveries. Large ones make a small batch: they take long to
        read, and the others with them would wait for it. `passing`: only those whose turn it is before a long
        line; if False, none of those.
        """
        batch: list[Delivery] = []
        size = 0
        off = self._stopping or self._held_back.is_set()
        while self._buffer and len(batch) < most and size < _BATCH_BYTES and not off:
            if passing is not None and passing is not self._buffer.passes_by:
                break
            one = self._buffer.next()
            session = self._session_of(one)
            if session.open:
                delivery = one if isinstance(one, Delivery) else read(one, self._sources[one[1]], session)
                batch.append(delivery)
                size += len(delivery.message.body)
        if self._buffer.passes_by:
            self._passing.set()
        return batch

    def take_over(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries in line that came by another intake and are for this one."""
        for delivery in deliveries:
            line = self._line_of(delivery.message.body)
            if self._whose is not None:
                line = self._whose(line, delivery.message.properties)
            self._buffer.add(line, delivery)
        self._arrived.set()

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
        self._arrived.set()
        self._passing.set()
        self._readiness.nudge()
        for session in list(self._sessions.values()):
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
        await self.give_back(
            [
                one if isinstance(one, Delivery) else Loan(one[3], self._session_of(one))
                for one in self._buffer.take_all()
            ]
        )
        for session in list(self._sessions.values()):
            await session.give_back(session.take_all_shed())

    async def flush(self) -> None:
        """Send the acknowledgements that were held back; return once the broker has them all."""
        for session in list(self._sessions.values()):
            await session.acknowledge([], everything=True)
            if session.open:
                try:
                    # Any question will do: it is answered after what was sent before it, and a connection
                    # that is closed now would take that along.
                    await session.channel.basic_qos(prefetch_count=self._bounds.deliveries, timeout=5)
                except Exception:  # noqa: BLE001 — as above
                    _log.info("intake.flush_unanswered")

    async def _set_up(self, channel: int, session: ChannelSession) -> dict[str, Consume]:
        """Prepare the channel; return for each queue what receives its deliveries."""
        async with asyncio.timeout(SETUP_SECONDS):
            await session.channel.basic_qos(prefetch_count=self._bounds.deliveries)
        receivers = {
            source.queue: self._receiver(channel, session, number)
            for number, source in enumerate(self._sources)
        }
        if self._eager:
            eager_reading.divert_deliveries(session.channel, receivers, self._body_for)
        return {queue: self._one_by_one(receive) for queue, receive in receivers.items()}

    async def _consume(self, session: ChannelSession, receivers: dict[str, Consume]) -> None:
        """Consume, but for the times when this intake is held back."""
        while True:
            if self._held_back.is_set():
                self._up()  # it could consume
                await self._going.wait()
            async with asyncio.timeout(SETUP_SECONDS):
                for queue, receiver in receivers.items():
                    await session.channel.basic_consume(queue, receiver, consumer_tag=queue)  # type: ignore[arg-type] # it takes both
            self._up()
            queue = self._sources[-1].queue
            _log.info("intake.consuming", queue=queue, prefetch=self._bounds.deliveries)
            await self._held_back.wait()
            await self._leave_off(session)
            await self._give_all_back()

    def _up(self) -> None:
        if self._part:
            self._readiness.up(self._part)

    def _body_for(self, size: int, properties: Callable[[], spec.Basic.Properties]) -> Body:
        """Choose what takes the pieces of a body. A response that strayed here is kept, however large: it
        goes to the dead letters.
        """
        large = size > self._bounds.body_bytes
        return Sieve() if large and properties().message_type != RESPONSE_TYPE else Whole()

    def _receiver(self, channel: int, session: ChannelSession, source: int) -> Receive:
        clock, queue = asyncio.get_running_loop().time, self._sources[source].queue

        def receive(arrived: Arrived) -> None:
            size = len(arrived.body)
            held = self.held_bytes
            if held and not self._bounds.have_room(held + size, arrived.body):
                self._shed(session, arrived.tag, size, queue)
                return
            session.delivered(arrived.tag, size)
            line = self._line_of(arrived.body)
            if self._whose is not None:
                line = self._whose(line, properties_of(arrived))
            self._buffer.add(line, packed(arrived, channel, source, clock()))
            self._arrived.set()
            if self._buffer.passes_by:
                self._passing.set()
            if not self._filled.is_set() and self.is_backlogged:
                self._filled.set()

        return receive

    def _one_by_one(self, receive: Receive) -> Callable[[DeliveredMessage], None]:
        """Make what takes a delivery in the client library's own way."""

        def receive_message(message: DeliveredMessage) -> None:
            properties = message.header.properties
            part = self._body_for(len(message.body), lambda: properties)
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
        """Give back what was shed as room is made for it, so that it comes again."""
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

    def _session_of(self, one: Buffered | Delivery) -> ChannelSession:
        return one.session if isinstance(one, Delivery) else self._sessions[one[0]]

    def _drop(self, channel: int) -> None:
        """Forget the deliveries of a lost channel: they come again, and would be worked on twice."""
        lost = self._sessions[channel]
        self._buffer.drop(lambda one: self._session_of(one) is lost)
        del self._sessions[channel]

    def _taken(self) -> int:
        unsettled = sum(session.unsettled - len(session.shed) for session in self._sessions.values())
        return max(0, unsettled - len(self._buffer))
