"""The stand-ins do what the real servers do: one script is taken on both, and what it tells is compared."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractConnection
from simulation import sides
from simulation.broker import Broker, ServerChannel
from simulation.broker_script import Names, Played, play
from simulation.loop import SimulatedLoop
from simulation.rows import Request
from simulation.store_script import Script
from simulation.tables import Tables
from simulation.wire import Network, SimulatedBroker

from worker.rabbitmq.line import open_channel
from worker.stack import Stack

STEPS = 150


async def take_steps(seed: int, database_url: str, db: asyncpg.Connection) -> None:
    """Take the script of this seed on both sides. Raises AssertionError at the first difference."""
    stand_in, real = sides.StandIn(), sides.Real(database_url, db)
    await stand_in.open()
    await real.open()
    script = Script(seed, stand_in, real)
    try:
        for _ in range(STEPS):
            await script.take_step()
    finally:
        await real.close()
    assert {row.status for row in stand_in.tables.requests.values()} & {"completed", "failed"}


@pytest.mark.parametrize("seed", range(8))
async def test_the_stand_in_for_postgres_does_what_postgres_does(
    seed: int, database_url: str, db: asyncpg.Connection
) -> None:
    await take_steps(seed, database_url, db)


class StandIn:
    """The stand-in for RabbitMQ."""

    def __init__(self, network: Network) -> None:
        self._broker = SimulatedBroker(network)

    async def connect(self) -> AbstractConnection:
        return await self._broker.connect()  # type: ignore[no-any-return] # as much of one as is needed


class RealBroker:
    """RabbitMQ, with queues of this test's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: list[AbstractConnection] = []

    async def connect(self) -> AbstractConnection:
        connection = await aio_pika.connect(self._url)
        self._opened.append(connection)
        return connection

    async def declare(self, names: Names) -> None:
        channel = await open_channel(await self.connect())
        await channel.queue_declare(names.requests, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.queue_declare(names.full, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})

    async def delete(self, names: Names) -> None:
        channel = await open_channel(await self.connect())
        await channel.queue_delete(names.requests)
        await channel.queue_delete(names.full)
        for connection in self._opened:
            await connection.close()


def played_on_the_stand_in(seed: int, names: Names) -> Played:
    """Play the script on the stand-in, in its own time."""
    chance = random.Random(seed)  # noqa: S311 — a run is to be like the one before
    loop, broker = SimulatedLoop(chance, in_order=True, most_steps=1_000_000), Broker(chance)
    broker.declare(names.requests)
    broker.declare(names.full).room = 0
    try:
        return loop.run(play(seed, StandIn(Network(loop, chance, broker)), names))
    finally:
        loop.discard()


async def play_on_both(seed: int, stack: Stack) -> None:
    """Play the script of this seed on both sides. Raises AssertionError where they differ."""
    names = Names(*(f"{name}-{uuid4().hex[:12]}" for name in Names._fields))
    expected = await asyncio.to_thread(played_on_the_stand_in, seed, names)
    real = RealBroker(stack.amqp_url)
    await real.declare(names)
    try:
        found = await play(seed, real, names, expected)
    finally:
        await real.delete(names)
    for number, step in enumerate(expected.steps):
        assert found.told[number] == expected.told[number], f"{number}: {step}"
        assert found.tags[number] == expected.tags[number], f"{number}: {step}"
    assert found.settled == expected.settled
    assert len(found.settled) >= 5


@pytest.mark.parametrize("seed", range(8))
async def test_the_stand_in_for_rabbitmq_does_what_rabbitmq_does(seed: int, stack: Stack) -> None:
    await play_on_both(seed, stack)


def _any_attempt(self: Tables, request_id: UUID, _attempt: int) -> Request | None:
    row = self.requests.get(request_id)
    return row if row and not row.finished else None


def _release_anybodys(self: Tables, done: list[int], confirmed: list[int], _me: UUID) -> list[int]:
    for one in (*done, *confirmed):
        self.leases.pop(one, None)
    return [*done, *confirmed]


@pytest.mark.parametrize(("method", "wrong"), [("_current", _any_attempt), ("_release", _release_anybodys)])
async def test_a_wrong_stand_in_for_postgres_is_found(
    method: str, wrong: Any, database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tables, method, wrong)
    with pytest.raises(AssertionError):
        await take_steps(0, database_url, db)


async def test_a_wrong_stand_in_for_rabbitmq_is_found(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerChannel, "has_room", lambda *_: True)  # the prefetch bounds nothing
    with pytest.raises((AssertionError, TimeoutError)):
        await play_on_both(0, stack)
