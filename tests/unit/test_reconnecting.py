"""The loop that serves on one connection after the other, with a broker that does as it is told."""

import asyncio
from typing import Any

import aio_pika
import pytest
from yarl import URL

from worker.rabbitmq.connection import close
from worker.rabbitmq.reconnecting import Loss, serve_for_ever


class Connection:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Broker:
    def __init__(self) -> None:
        self.connections: list[Connection] = []

    async def connect(self) -> Connection:
        self.connections.append(Connection())
        return self.connections[-1]


class Final(Exception):
    """No new connection would mend it."""


async def test_every_way_to_lose_a_connection_leads_to_the_next_until_the_callback_raises() -> None:
    ends: list[BaseException | None] = [OSError(), Exception(), asyncio.CancelledError(), None, Final()]
    broker: Any = Broker()
    losses: list[Loss] = []

    async def serve(_connection: object) -> None:
        if error := ends[len(broker.connections) - 1]:
            raise error

    def on_loss(loss: Loss) -> None:
        losses.append(loss)
        if isinstance(loss.error, Final):
            raise loss.error

    with pytest.raises(Final):
        await asyncio.wait_for(serve_for_ever(broker, serve, on_loss, at_once=(OSError,)), 60)

    assert [loss.error for loss in losses] == ends
    assert not any(loss.steady for loss in losses)
    assert losses[0].delay == 0.02, "an error that says nothing of the broker"
    assert all(0.02 <= loss.delay <= 1.6 for loss in losses[1:])
    assert [connection.closed for connection in broker.connections] == [True] * 5


async def test_a_cancellation_ends_it_even_when_it_comes_while_the_connection_is_closed() -> None:
    broker: Any = Broker()
    closing = asyncio.Event()
    losses: list[Loss] = []

    async def close() -> None:
        if not closing.is_set():
            closing.set()
            await asyncio.Event().wait()

    async def serve(connection: Any) -> None:
        connection.close = close

    task = asyncio.create_task(serve_for_ever(broker, serve, losses.append))
    await closing.wait()
    task.cancel()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()
    assert losses == []


class Deaf:
    """A transport to a broker that is frozen."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def close(self, _error: object) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_a_connection_that_cannot_be_closed_in_order_is_not_left_to_the_garbage_collector() -> None:
    connection: Any = aio_pika.Connection(URL("amqp://localhost/"))
    connection.transport = transport = Deaf()

    closing = asyncio.create_task(close(connection))
    await transport.asked.wait()
    closing.cancel()  # as its time-out does, but at once
    await asyncio.wait([closing], timeout=5)

    assert closing.cancelled()
    assert connection.is_closed
