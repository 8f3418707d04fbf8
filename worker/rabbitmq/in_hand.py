"""Holds what channels have delivered until it is taken and settled, within bounds."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

import structlog
from pamqp import commands as spec

from schemas.wire import RESPONSE_TYPE
from worker.messages.heaviness import is_heavy
from worker.messages.large_bodies import Body, Sieve, Whole
from worker.monitoring.metrics import Metrics
from worker.rabbitmq.arriving import Arrived, Receive
from worker.rabbitmq.buffered import Buffered, Loan, Source, packed, properties_of, read
from worker.rabbitmq.channel_session import ChannelSession, Delivery, OnLoan
from worker.rabbitmq.fair_buffer import FairBuffer

_BATCH_BYTES = 1 << 20
_FULL = 0.9  # of the deliveries, or of their bytes, that may be held
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


class InHand:
    """Knows the channels that are open, and what each delivered. What is not taken waits in lines."""

    def __init__(
        self, sources: Sequence[Source], bounds: Bounds, lines: LineRule, metrics: Metrics | None
    ) -> None:
        self.arrived = asyncio.Event()
        self.passing = asyncio.Event()
        """Set when it is the turn of a short line, before a long one."""
        self.short_of_room = asyncio.Event()
        self._many, self._wanted = asyncio.Event(), 1 << 30
        """The first is set when as many wait to be taken as somebody wants."""
        self._sources = list(sources)
        self._bounds = bounds
        self._line_of = lines.line_of
        self._whose = lines.whose
        self._buffer: FairBuffer[Buffered | Delivery] = FairBuffer(lines.weight_of, lines.long)
        self._channels = count()
        self._sessions: dict[int, ChannelSession] = {}  # by the numbers of their channels
        self._filled = asyncio.Event()
        self._filled.set()  # nobody waits for it
        self._metrics = metrics
        if metrics:  # looked at when they are asked for
            metrics.buffered.set_function(lambda: len(self))
            metrics.oldest_buffered.set_function(self._oldest)
            metrics.in_flight.set_function(self._taken)
            metrics.held_bytes.set_function(lambda: self.held_bytes)

    def __len__(self) -> int:
        """Return how many wait to be taken."""
        return len(self._buffer)

    @property
    def sessions(self) -> list[ChannelSession]:
        return list(self._sessions.values())

    def open(self, session: ChannelSession) -> int:
        """Begin to hold what comes on this channel; return its number."""
        channel = next(self._channels)
        self._sessions[channel] = session
        return channel

    def lose(self, channel: int) -> None:
        """Forget the deliveries of a lost channel: they come again, and would be worked on twice."""
        lost = self._sessions[channel]
        self._buffer.drop(lambda one: self._session_of(one) is lost)
        del self._sessions[channel]

    @property
    def passes_by(self) -> bool:
        return self._buffer.passes_by

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
        while self._buffer and len(batch) < most and size < _BATCH_BYTES:
            if passing is not None and passing is not self._buffer.passes_by:
                break
            one = self._buffer.next()
            session = self._session_of(one)
            if session.open:
                delivery = one if isinstance(one, Delivery) else read(one, self._sources[one[1]], session)
                batch.append(delivery)
                size += len(delivery.message.body)
        if self._buffer.passes_by:
            self.passing.set()
        return batch

    def take_all(self) -> list[OnLoan]:
        """Take all that is left, to give it back."""
        return [
            one if isinstance(one, Delivery) else Loan(one[3], self._session_of(one))
            for one in self._buffer.take_all()
        ]

    async def until(self, wanted: int) -> None:
        """Wait until so many wait to be taken, or until whoever wants them is to look again."""
        self._wanted = wanted
        self._many.clear()
        await self._many.wait()

    def look(self) -> None:
        """Have whoever wants many look again."""
        self._many.set()

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries in line that came by another intake and are for this one."""
        for delivery in deliveries:
            line = self._line_of(delivery.message.body)
            if self._whose is not None:
                line = self._whose(line, delivery.message.properties)
            self._buffer.add(line, delivery)
        self.arrived.set()

    def body_for(self, size: int, properties: Callable[[], spec.Basic.Properties]) -> Body:
        """Choose what takes the pieces of a body. A response that strayed here is kept, however large: it
        goes to the dead letters.
        """
        large = size > self._bounds.body_bytes
        return Sieve() if large and properties().message_type != RESPONSE_TYPE else Whole()

    def receiver(self, channel: int, source: Source) -> Receive:
        """Make what takes the deliveries of one queue on this channel."""
        clock, queue = asyncio.get_running_loop().time, source.queue
        if source not in self._sources:
            self._sources.append(source)
        session, number = self._sessions[channel], self._sources.index(source)

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
            self._buffer.add(line, packed(arrived, channel, number, clock()))
            self.arrived.set()
            if len(self._buffer) >= self._wanted:
                self._many.set()
            if self._buffer.passes_by:
                self.passing.set()
            if not self._filled.is_set() and self.is_backlogged:
                self._filled.set()

        return receive

    def _shed(self, session: ChannelSession, tag: int, size: int, queue: str) -> None:
        if not session.shed:
            _log.warning(
                "intake.full", queue=queue, held_bytes=self.held_bytes, most_bytes=self._bounds.held_bytes,
                consequence="what comes now is given back, and taken once there is room",
            )  # fmt: skip
        session.delivered_and_shed(tag, size)
        self.short_of_room.set()
        if self._metrics:
            self._metrics.shed.inc()

    def _session_of(self, one: Buffered | Delivery) -> ChannelSession:
        return one.session if isinstance(one, Delivery) else self._sessions[one[0]]

    def _oldest(self) -> float:
        """Return for how many seconds the delivery that has waited longest has been here; 0 if none is."""
        heads = [one.received if isinstance(one, Delivery) else one[2] for one in self._buffer.heads()]
        return max(0.0, asyncio.get_running_loop().time() - min(heads)) if heads else 0.0

    def _taken(self) -> int:
        unsettled = sum(session.unsettled - len(session.shed) for session in self._sessions.values())
        return max(0, unsettled - len(self._buffer))
