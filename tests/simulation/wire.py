"""Connects the worker's code to the stand-in for RabbitMQ: the client library's own channels, and no socket.

What is on its way arrives in order, late, and not at all once the connection is cut.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pamqp.frame
from aiormq.abc import ChannelFrame
from aiormq.base import Base
from aiormq.channel import Channel
from aiormq.exceptions import AMQPConnectionError
from pamqp import commands as spec
from simulation.broker import Broker, ServerChannel, Written
from simulation.loop import ACTOR, SERVERS, SimulatedLoop

from worker.rabbitmq import eager_reading
from worker.rabbitmq.connection import Broker as WorkersBroker

T = TypeVar("T")
_FRAME_MAX = 131_072
HEARTBEATS_SECONDS = 6.0
"""The time after which a silent worker's connection is closed. It is shorter, as leases are."""


class Network:
    """Draws how long things take, and knows which connections are open."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, broker: Broker) -> None:
        self.loop = loop
        self.chance = chance
        self.broker = broker
        self.is_up = True
        self.slow = 0.0  # how often something takes long
        self.connections: list[Connection] = []
        self.on_message: Callable[[int], object] = lambda _: (
            None
        )  # a publish or an acknowledgement, whose it is

    def latency(self) -> float:
        if self.slow and self.chance.random() < self.slow:
            return self.chance.uniform(0.2, 4.0)
        return self.chance.uniform(0.0001, 0.004)

    def cut(self, connection: "Connection") -> None:
        if connection in self.connections:
            self.connections.remove(connection)
            connection.cut()

    def lose(self, actor: int) -> None:
        """Cut what a worker has open."""
        for connection in [one for one in self.connections if one.actor == actor]:
            self.cut(connection)


class _Pipe(Generic[T]):
    """One direction of a connection."""

    def __init__(self, network: Network, actor: int, arrive: Callable[[T], None]) -> None:
        self._network = network
        self._context = network.loop.context_of(actor)
        self._arrive_one = arrive
        self._items: deque[T] = deque()
        self._is_moving = False
        self.is_cut = False

    def send(self, item: T) -> None:
        if self.is_cut:
            return
        self._items.append(item)
        if not self._is_moving:
            self._move()

    def _move(self) -> None:
        self._is_moving = True
        self._network.loop.call_later(self._network.latency(), self._arrive, context=self._context)

    def _arrive(self) -> None:
        self._is_moving = False
        for _ in range(self._network.chance.randint(1, len(self._items)) if self._items else 0):
            if not self.is_cut and self._items:
                self._arrive_one(self._items.popleft())
        if self._items and not self.is_cut:
            self._move()


class _Tuned:
    frame_max = _FRAME_MAX
    heartbeat = 10


class _Transport(Base):
    """What a channel of the client library needs of its connection."""

    publisher_confirms = basic_nack = True
    accept_consumer_cancel_ok = False
    connection_tune = _Tuned

    def __init__(self, connection: "Connection") -> None:
        super().__init__(loop=connection.network.loop)
        self.channels: dict[int, Channel] = {}
        self.write_queue = _WriteQueue(connection)
        self.is_opened = True

    async def _on_close(self, exc: Any = None) -> None:  # noqa: ARG002 — as the library has it
        self.is_opened = False

    def __str__(self) -> str:
        return "the stand-in"


class _WriteQueue:
    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def put(self, frame: ChannelFrame) -> None:
        self.put_nowait(frame)

    def put_nowait(self, frame: ChannelFrame) -> None:
        self._connection.to_server.send(frame.payload)
        frame.drain()


class _OpenedChannel:
    """What `open_channel` asks of a channel of aio-pika."""

    def __init__(self, connection: "Connection", how: dict[str, bool]) -> None:
        self._connection = connection
        self._how = how
        self._channel: Channel | None = None

    async def initialize(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 — as aio-pika has it
        self._channel = await self._connection.open_channel(self._how, timeout)

    async def get_underlay_channel(self) -> Channel | None:
        return self._channel


class Connection:
    """A connection between a worker and the broker, with both of its ends."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.actor = ACTOR.get()
        self.transport = _Transport(self)
        self.diverted: dict[int, Any] = {}  # as the eager reading of the worker has it
        self.to_server: _Pipe[bytes] = _Pipe(network, SERVERS, self._served)
        self.to_worker: _Pipe[tuple[int, list[bytes]]] = _Pipe(network, self.actor, self._received)
        self.at_server: dict[int, ServerChannel] = {}

    # The worker's end.

    def channel(self, **how: bool) -> _OpenedChannel:
        return _OpenedChannel(self, how)

    async def open_channel(self, how: dict[str, bool], seconds: float | None) -> Channel:
        if not self.transport.is_opened:
            raise AMQPConnectionError("the connection was cut")
        number = len(self.transport.channels) + 1
        channel = Channel(self.transport, number, **how)  # type: ignore[arg-type] # what it needs of one
        self.transport.channels[number] = channel
        await channel.open(timeout=seconds)
        return channel

    async def close(self) -> None:
        """Close it in order: the broker hears of it after all that was sent before."""
        self.to_server.send(b"")
        await self.transport.close(asyncio.CancelledError())

    def _received(self, item: tuple[int, list[bytes]]) -> None:
        number, frames = item
        eager_reading._reading.set(self)  # type: ignore[arg-type] # what it needs of one
        for frame in frames:
            taker = self.diverted.get(number)
            if taker is not None and (taker.take_whole(frame, 0) or taker.take(frame)):
                continue
            while frame:  # the library's own way
                size, _, value = pamqp.frame.unmarshal(frame)
                frame = frame[size:]  # noqa: PLW2901 — what is left of it
                self._hand_on(number, value)

    def _hand_on(self, number: int, frame: Any) -> None:
        putting = self.transport.channels[number].frames.put((0, frame))
        try:
            putting.send(None)  # it never waits: the queue has no bound
        except StopIteration:
            return
        raise AssertionError("the queue of frames is full")

    def _lost(self) -> None:
        if not self.transport.is_closed:
            error = AMQPConnectionError("the connection was cut")
            self.network.loop.create_task(self.transport.close(error))

    # The broker's end.

    def _served(self, payload: bytes) -> None:
        if not payload:
            self.network.cut(self)
        while payload:
            size, number, frame = pamqp.frame.unmarshal(payload)
            payload = payload[size:]
            if number not in self.at_server:
                self.at_server[number] = self._new_channel(number)
            self.at_server[number].receive(frame)  # type: ignore[arg-type] # no heartbeats
            if isinstance(frame, spec.Basic.Publish | spec.Basic.Ack):
                self.network.on_message(self.actor)

    def _new_channel(self, number: int) -> ServerChannel:
        made = ServerChannel(self.network.broker, number, self._say)

        def confirm_later() -> None:
            seconds = self.network.latency()
            self.network.loop.later(seconds, lambda: self._confirm_some(made))

        made.on_publish = confirm_later
        return made

    def _confirm_some(self, channel: ServerChannel) -> None:
        """Confirm some of what was published: several at once, or one, in any order."""
        chance, waiting = self.network.chance, list(channel.unconfirmed)
        if not waiting or self.to_server.is_cut:
            return
        alike = list(channel.unconfirmed.values())
        most = chance.randint(1, len(waiting))
        if most > 1 and len(set(alike[:most])) == 1 and chance.random() < 0.5:
            for number in waiting[: most - 1]:
                del channel.unconfirmed[number]
            channel.confirm([waiting[most - 1]], multiple=True)
        else:
            channel.confirm([waiting[chance.randrange(len(waiting))]], multiple=False)
        if channel.unconfirmed:
            self.network.loop.later(self.network.latency(), lambda: self._confirm_some(channel))

    def _say(self, channel: ServerChannel, frames: list[Written]) -> None:
        marshalled = [pamqp.frame.marshal(frame, channel.number) for frame in frames]
        if isinstance(frames[0], spec.Basic.Deliver):
            marshalled = [b"".join(marshalled)]  # as most arrive
        self.to_worker.send((channel.number, marshalled))

    def cut(self) -> None:
        """End it, with all that is on its way."""
        self.to_server.is_cut = self.to_worker.is_cut = True
        for channel in self.at_server.values():
            channel.close()
        self.network.loop.later(self.network.latency(), self._lost, self.actor)


class SimulatedBroker(WorkersBroker):
    """Connects to the stand-in."""

    def __init__(self, network: Network) -> None:
        super().__init__("amqp://worker@simulated/", None, "simulated")
        self._network = network

    async def connect(self) -> Any:
        await asyncio.sleep(self._network.latency())
        if not self._network.is_up:
            raise AMQPConnectionError("nobody listens")
        connection = Connection(self._network)
        self._network.connections.append(connection)
        return connection
