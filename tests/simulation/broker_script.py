"""One script of what a client asks of a broker, for the stand-in and for the real RabbitMQ.

What is delivered is noted, with its tag and whether it came again, and the receipt of each publish. On the
real broker nobody knows when the last delivery has come: the script waits for as many as the stand-in gave.
"""

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple, Protocol
from uuid import UUID

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp import commands as spec

from worker.rabbitmq.line import open_channel
from worker.rabbitmq.writing import Outgoing, write_batch

_STEPS = 60
_WAIT_SECONDS = 10
PREFETCHES = (0, 1, 3)


class Names(NamedTuple):
    requests: str
    full: str
    nowhere: str


class Side(Protocol):
    """A broker, real or not."""

    async def connect(self) -> AbstractConnection: ...


class Reader:
    """A channel that reads, until it is closed."""

    def __init__(self, channel: Channel, arrived: Callable[[int, bytes, bool], None]) -> None:
        self.channel = channel
        self.unsettled: dict[int, bytes] = {}
        self._arrived = arrived

    async def read(self, queue: str, prefetch: int) -> None:
        await self.channel.basic_qos(prefetch_count=prefetch)
        await self.channel.basic_consume(queue, self._receive, consumer_tag="reader")

    async def _receive(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        self.unsettled[tag] = message.body
        self._arrived(tag, message.body, bool(message.redelivered))


class Played(NamedTuple):
    """What was seen after each step, and which messages were settled in all."""

    steps: list[str]
    tags: list[list[int]]
    told: list[object]
    settled: list[bytes]


async def play(seed: int, side: Side, names: Names, expected: Played | None = None) -> Played:
    """Play the script of this seed. `expected`: what the other side has seen."""
    return await _Player(seed, side, names, expected).play()


class _Player:
    def __init__(self, seed: int, side: Side, names: Names, expected: Played | None) -> None:
        self._chance = random.Random(seed)  # noqa: S311 — a run is to be like the one before
        self._side = side
        self._names = names
        self._expected = expected
        self._played = Played([], [], [], [])
        self._tags: list[int] = []
        self._known: set[bytes] = set()
        self._came = asyncio.Event()
        self._reader: Reader | None = None
        self._sent = 0
        self._publisher: Channel | None = None

    async def play(self) -> Played:
        connection = await self._side.connect()
        self._publisher = await open_channel(connection, confirms=True)
        usual = [self._publish, self._begin, self._ack, self._ack_some, self._nack]
        steps = [*usual * 4, self._leave_off, self._close, self._settle_twice]
        last = [self._close, self._begin_without_bound, self._ack_all]
        for number in range(_STEPS + len(last)):
            step = last[number - _STEPS] if number >= _STEPS else self._chance.choice(steps)
            told = await step()
            await self._until_all_came(number)
            self._played.steps.append(step.__name__)
            self._played.told.append(told)
            self._played.tags.append(list(self._tags))
            self._tags.clear()
        await connection.close()
        self._played.settled.sort()
        return self._played

    def _arrived(self, tag: int, body: bytes, again: bool) -> None:
        """Note a delivery. The broker may choose which message comes next, but not whether it is new."""
        assert again is (body in self._known), body
        self._known.add(body)
        self._tags.append(tag)
        self._came.set()

    async def _until_all_came(self, number: int) -> None:
        if self._expected is None:
            await asyncio.sleep(5.0)  # no time passes: it is the stand-in's
            return
        async with asyncio.timeout(_WAIT_SECONDS):
            while len(self._tags) < len(self._expected.tags[number]):
                self._came.clear()
                await self._came.wait()

    async def _publish(self) -> object:
        assert self._publisher is not None
        messages = []
        for _ in range(self._chance.randint(1, 4)):
            self._sent += 1
            queue = self._chance.choice([self._names.requests] * 3 + [self._names.full, self._names.nowhere])
            properties = spec.Basic.Properties(message_id=str(UUID(int=self._sent)), delivery_mode=2)
            messages.append(Outgoing("", queue, b"%d" % self._sent, properties))
        return [receipt.value for receipt in await write_batch(self._publisher, messages)]

    async def _begin(self) -> object:
        return await self._read(self._chance.choice(PREFETCHES))

    async def _begin_without_bound(self) -> object:
        return await self._read(0)

    async def _read(self, prefetch: int) -> object:
        if self._reader is not None:
            return None
        self._reader = Reader(await open_channel(await self._side.connect()), self._arrived)
        await self._reader.read(self._names.requests, prefetch)
        return "begins"

    async def _ack(self) -> object:
        return await self._settle(multiple=False)

    async def _ack_some(self) -> object:
        return await self._settle(multiple=True)

    async def _ack_all(self) -> object:
        return await self._settle(multiple=True, last=True)

    async def _settle(self, *, multiple: bool, last: bool = False) -> object:
        reader = self._reader
        if reader is None or not reader.unsettled:
            return None
        tag = max(reader.unsettled) if last else self._chance.choice(sorted(reader.unsettled))
        for one in sorted(reader.unsettled):
            if one == tag or (multiple and one < tag):
                self._played.settled.append(reader.unsettled.pop(one))
        await reader.channel.basic_ack(tag, multiple=multiple)
        return tag

    async def _nack(self) -> object:
        reader = self._reader
        if reader is None or not reader.unsettled:
            return None
        tag = self._chance.choice(sorted(reader.unsettled))
        del reader.unsettled[tag]
        await reader.channel.basic_nack(tag, requeue=True)
        return tag

    async def _leave_off(self) -> object:
        if self._reader is None or not self._reader.channel.consumers:
            return None
        for _ in range(2):  # the second one is answered as well
            await self._reader.channel.basic_cancel("reader")
        return "left off"

    async def _close(self) -> object:
        if self._reader is None:
            return None
        reader, self._reader = self._reader, None
        await reader.channel.close()
        return "closed"

    async def _settle_twice(self) -> object:
        if self._reader is None:
            return None
        reader, self._reader = self._reader, None
        closing = reader.channel.closing
        await reader.channel.basic_ack(10_000)
        try:
            await closing
        except Exception as error:  # noqa: BLE001 — its type is what is compared
            return type(error).__name__
        return "closed in order"
