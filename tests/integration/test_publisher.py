"""The publisher, on a real broker, returns receipts, keeps to its window, and gives up on a silent broker."""

import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from structlog.testing import capture_logs
from support.confirm_channel import Bench
from support.faults.proxy import proxy_to

from worker.errors import PublishInterrupted
from worker.monitoring.readiness import Readiness
from worker.process.failpoint import FailPoint
from worker.rabbitmq import publisher
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.writing import write_batch
from worker.stack import Stack
from worker.values import Receipt

CONFIRMED, UNROUTABLE = Receipt.CONFIRMED, Receipt.UNROUTABLE


@pytest.fixture
def readiness() -> Readiness:
    return Readiness([publisher.PART])


async def serving(
    connection: AbstractConnection, readiness: Readiness, seconds: float = 10
) -> tuple[Publisher, "asyncio.Task[None]"]:
    opened = Publisher(readiness, seconds, FailPoint(""))
    task = asyncio.create_task(opened.serve(connection))
    await readiness.until_up()
    return opened, task


@pytest.mark.parametrize("version", ["7.2.4", "99.0.0"])
async def test_another_client_version_is_used_in_its_own_way_with_the_same_receipts(
    bench: Bench, readiness: Readiness, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    written = 0

    def counting(write: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def count(*args: object) -> object:
            nonlocal written
            written += 1
            return await write(*args)

        return count

    monkeypatch.setattr(publisher, "write_batch", counting(write_batch))
    with capture_logs() as events:
        opened, task = await serving(bench.connection, readiness)

    receipts = await opened.publish([bench.message(), bench.nowhere(), bench.message()])

    assert receipts == [CONFIRMED, UNROUTABLE, CONFIRMED]
    assert len(await bench.arrived(2)) == 2
    tested = version == "7.2.4"
    assert written == (1 if tested else 0)
    slow_path = {
        "event": "client.slow_path",
        "log_level": "warning",
        "reason": "aiormq is 99.0.0, its inside was tested with 7.2.4",
        "consequence": "responses go out one by one",
    }
    assert events == ([] if tested else [slow_path])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_more_than_a_window_is_published_in_order(bench: Bench, readiness: Readiness) -> None:
    opened, task = await serving(bench.connection, readiness)
    count = 2 * publisher.WINDOW + 3

    receipts = await opened.publish([bench.message(f"{number}".encode()) for number in range(count)])

    assert receipts == [CONFIRMED] * count
    assert await bench.arrived(count) == [f"{number}".encode() for number in range(count)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_two_copies_of_one_message_are_never_in_flight_at_once(
    bench: Bench, readiness: Readiness
) -> None:
    opened, task = await serving(bench.connection, readiness)
    message = bench.message()
    lost = message._replace(routing_key="nowhere.at.all")

    results = await asyncio.gather(
        opened.publish([message]), opened.publish([lost]), opened.publish([message])
    )

    assert list(results) == [[CONFIRMED], [UNROUTABLE], [CONFIRMED]]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_broker_that_does_not_confirm_is_given_up_in_time(
    stack: Stack, bench: Bench, readiness: Readiness
) -> None:
    async with proxy_to(stack.amqp_url) as (proxy, url):
        connection = await aio_pika.connect(url)
        opened, task = await serving(connection, readiness, seconds=0.3)
        assert proxy.stall() == 1

        with pytest.raises(PublishInterrupted, match=r"no confirm within 0\.3 s"):
            await opened.publish([bench.message()])

        with pytest.raises(publisher.PublishStalled):
            await task
        assert proxy.held_bytes > 0
        assert readiness.reasons == {publisher.PART: "not connected"}
        with pytest.raises(PublishInterrupted, match="not connected"):
            await opened.publish([bench.message()])
        proxy.heal()
        await connection.close()
