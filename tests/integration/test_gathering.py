"""Requests that come while others are in hand are gathered for a moment into one batch."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, metric_of

from worker.handlers import Context
from worker.rabbitmq.channel_session import Delivery
from worker.steps import lanes
from worker.steps.pipeline import Pipeline
from worker.steps.slots import Slots
from worker.testing.running import RunningWorker

FULL = 16


class Batches:
    """Lets batches begin, and go on when it is told."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go_on: list[asyncio.Event] = []

    async def until(self, sizes: list[int]) -> None:
        await eventually(lambda: asyncio.sleep(0, self.sizes == sizes))


@pytest_asyncio.fixture
async def batches(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Batches]:
    found, run = Batches(), Pipeline.run

    async def held(self: Pipeline, deliveries: Sequence[Delivery], slots: Slots) -> None:
        found.sizes.append(len(deliveries))
        found.go_on.append(asyncio.Event())
        await found.go_on[-1].wait()
        await run(self, deliveries, slots)

    monkeypatch.setattr(Pipeline, "run", held)
    yield found
    for each in found.go_on:
        each.set()


async def until_wait(worker: RunningWorker, number: int) -> None:
    async def there_are() -> bool:
        return await metric_of(worker, "worker_buffered_requests") == number

    await eventually(there_are)


async def test_beside_others_a_batch_begins_with_many_or_when_they_are_done(
    new_worker: NewWorker, desk: Desk, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_GATHER_SECONDS", 60)
    worker = await new_worker(batches=3, batch_size=FULL)

    await desk.send(good_request())
    await batches.until([1])
    for _ in range(3):
        await desk.send(good_request())
    await until_wait(worker, 3)
    assert batches.sizes == [1], "three are not worth it beside the first"
    await desk.send(good_request())
    await batches.until([1, 4])

    for _ in range(FULL - 1):
        await desk.send(good_request())
    await until_wait(worker, FULL - 1)
    assert batches.sizes == [1, 4], "beside two it has to be a full one"
    await desk.send(good_request())
    await batches.until([1, 4, FULL])

    batches.go_on[2].set()
    for _ in range(3):
        await desk.send(good_request())
    await until_wait(worker, 3)
    batches.go_on[0].set()
    batches.go_on[1].set()
    await batches.until([1, 4, FULL, 3])
    batches.go_on[3].set()
    for _ in range(1 + 4 + FULL + 3):
        await desk.next()


async def test_nobody_waits_long_for_others(new_worker: NewWorker, desk: Desk, batches: Batches) -> None:
    await new_worker(batches=3, batch_size=FULL)
    for number in range(3):
        await desk.send(good_request())
        await batches.until([1] * (number + 1))


async def test_the_calls_of_a_handler_wait_for_no_others(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_GATHER_SECONDS", 60)
    called, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def act(_request: object, _context: Context) -> None:
        called.release()
        await go_on.wait()

    await new_worker(handler=steer(act), handler_concurrency=3, batch_size=FULL)
    for _ in range(3):
        await desk.send(good_request())
        await asyncio.wait_for(called.acquire(), 60)
    go_on.set()
    for _ in range(3):
        await desk.next()
