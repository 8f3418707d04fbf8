"""The intake, on a real broker, outlives lost channels and gives deliveries back."""

import asyncio
import importlib.metadata
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest
from support.faults.proxy import proxy_to
from support.harness import Desk, declare_topology, eventually, good_request

from worker.messages.envelope import Message
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rabbitmq.eager_reading import read_eagerly
from worker.rabbitmq.in_hand import Bounds
from worker.rabbitmq.intake import PART, Intake, sources_of_requests
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.stack import Stack


@asynccontextmanager
async def intake_on(intake: Intake, readiness: Readiness, url: str) -> AsyncIterator["asyncio.Task[None]"]:
    """Runs the intake on a connection of its own."""
    connection = await aio_pika.connect(url)
    serving = asyncio.create_task(intake.serve(connection))
    await asyncio.wait_for(readiness.until_up(PART), 60)
    try:
        yield serving
    finally:
        await connection.close()
        await asyncio.gather(serving, return_exceptions=True)


def new_intake(prefix: str, prefetch: int = 100, metrics: Metrics | None = None) -> tuple[Intake, Readiness]:
    readiness = Readiness([PART])
    sources = sources_of_requests(names_for(prefix))
    return Intake(
        sources, Bounds(prefetch, 64 << 20, 1 << 20), readiness, metrics or Metrics(), eager=read_eagerly()
    ), readiness


async def take(intake: Intake, count: int) -> list[bytes]:
    """Waits until so many are buffered, and takes them all."""

    async def look() -> bool:
        return await intake.arrivals() == count

    await eventually(look)
    return sorted(delivery.message.body for delivery in intake.take(count))


async def test_deliveries_of_a_lost_channel_are_dropped_and_come_again(
    settings: Settings, stack: Stack, desk: Desk
) -> None:
    await declare_topology(settings)
    for number in range(3):
        await desk.send(f"{number}")
    metrics = Metrics()
    intake, readiness = new_intake(desk.prefix, metrics=metrics)
    async with proxy_to(stack.amqp_url) as (proxy, url), intake_on(intake, readiness, url) as serving:

        async def all_there() -> bool:
            return await intake.arrivals() == 3

        await eventually(all_there)
        assert 0 < (metrics.registry.get_sample_value("worker_oldest_buffered_seconds") or 0) < 60
        assert proxy.cut() == 1
        await asyncio.wait([serving], timeout=10)
        assert readiness.reasons == {PART: "not consuming"}

    assert metrics.registry.get_sample_value("worker_buffered_requests") == 0
    assert metrics.registry.get_sample_value("worker_oldest_buffered_seconds") == 0
    assert intake.take(10) == []
    async with intake_on(intake, readiness, stack.amqp_url):
        assert await take(intake, 3) == [b"0", b"1", b"2"]


async def test_a_settlement_on_a_lost_channel_is_no_error(
    settings: Settings, stack: Stack, desk: Desk
) -> None:
    await declare_topology(settings)
    await desk.send("again")
    intake, readiness = new_intake(desk.prefix)
    async with intake_on(intake, readiness, stack.amqp_url):
        assert await intake.arrivals() == 1
        taken = intake.take(1)

    await intake.settle(taken)
    await intake.flush()

    async with intake_on(intake, readiness, stack.amqp_url):
        assert await take(intake, 1) == [b"again"]


async def test_what_is_settled_is_gone_and_what_is_not_comes_again(
    settings: Settings, stack: Stack, desk: Desk
) -> None:
    await declare_topology(settings)
    for number in range(5):
        await desk.send(f"{number}")
    intake, readiness = new_intake(desk.prefix)
    async with intake_on(intake, readiness, stack.amqp_url):

        async def all_there() -> bool:
            return await intake.arrivals() == 5

        await eventually(all_there)
        zero, one, two, three, four = intake.take(5)
        await intake.settle([zero, one])
        await intake.settle([three])
        await intake.give_back([two])
        assert await take(intake, 1) == [b"2"]
        await intake.flush()
        assert four.session is zero.session

    async with intake_on(intake, readiness, stack.amqp_url):
        assert await take(intake, 2) == [b"2", b"4"]


async def test_no_more_is_held_than_the_prefetch(settings: Settings, stack: Stack, desk: Desk) -> None:
    await declare_topology(settings)
    for number in range(10):
        await desk.send(f"{number}")
    intake, readiness = new_intake(desk.prefix, prefetch=4)
    async with intake_on(intake, readiness, stack.amqp_url):

        async def six_left() -> bool:
            return await intake.arrivals() == 4 and await desk.count(names_for(desk.prefix).requests) == 6

        await eventually(six_left)
        await intake.settle(intake.take(4))
        assert len(await take(intake, 4)) == 4


async def test_a_stopped_intake_takes_nothing_more(settings: Settings, stack: Stack, desk: Desk) -> None:
    await declare_topology(settings)
    await desk.send("left")
    intake, readiness = new_intake(desk.prefix)
    async with intake_on(intake, readiness, stack.amqp_url):
        assert await intake.arrivals() == 1
        await intake.stop()

        assert intake.take(1) == []
        assert await intake.arrivals() == 0

    other, readiness = new_intake(desk.prefix)
    async with intake_on(other, readiness, stack.amqp_url):
        assert await take(other, 1) == [b"left"]


async def test_large_messages_make_small_batches(desk: Desk, settings: Settings) -> None:
    await declare_topology(settings)
    large = b"x" * 400_000
    for body in (b"small", large, large, large, b"small", b"small"):
        await desk.send(body)
    intake, _ = new_intake(desk.prefix)
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        serving = asyncio.create_task(intake.serve(connection))

        async def all_there() -> bool:
            return len(intake.hand) == 6

        await eventually(all_there)
        sizes = [[len(delivery.message.body) for delivery in intake.take(100)] for _ in range(2)]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    assert sizes == [[5, 400_000, 400_000, 400_000], [5, 5]]


async def test_what_is_buffered_goes_back_at_once_when_it_stops(
    settings: Settings, stack: Stack, desk: Desk
) -> None:
    """The connection stays open, since requests in work still have to be settled on it."""
    await declare_topology(settings)
    for number in range(5):
        await desk.send(f"{number}")
    intake, readiness = new_intake(desk.prefix)
    async with intake_on(intake, readiness, stack.amqp_url):

        async def all_there() -> bool:
            return await intake.arrivals() == 5

        await eventually(all_there)
        assert len(intake.take(1)) == 1
        await intake.stop()

        async def four_back() -> bool:
            return await desk.count(names_for(desk.prefix).requests) == 4

        await eventually(four_back)


async def test_it_knows_how_often_a_message_came_back(settings: Settings, stack: Stack, desk: Desk) -> None:
    await declare_topology(settings)
    await desk.send("again and again")
    intake, readiness = new_intake(desk.prefix)
    counts = []
    async with intake_on(intake, readiness, stack.amqp_url):
        for _ in range(4):
            await intake.arrivals()
            taken = intake.take(1)
            counts.append(taken[0].message.delivery_count)
            await intake.give_back(taken)

    assert counts == [0, 1, 2, 3]


@pytest.mark.parametrize("version", ["7.2.4", "99.0.0"])
async def test_no_more_bytes_are_held_than_the_bound_and_all_come_in_the_end(
    settings: Settings, stack: Stack, desk: Desk, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    await declare_topology(settings)
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    for number in range(20):
        await desk.send(f"{number:02}" + "x" * 998)
    metrics = Metrics()
    readiness = Readiness([PART])
    sources = sources_of_requests(names_for(desk.prefix))
    intake = Intake(sources, Bounds(100, 5_000, 1 << 20), readiness, metrics, eager=read_eagerly())
    taken: list[bytes] = []
    async with intake_on(intake, readiness, stack.amqp_url):

        async def all_delivered() -> bool:
            assert intake.hand.held_bytes <= 5_000
            return metrics.registry.get_sample_value("worker_shed_deliveries_total") == 15

        await eventually(all_delivered)
        assert len(intake.hand) == 5
        assert metrics.registry.get_sample_value("worker_held_bytes") == 5_000
        while len(taken) < 20:
            await intake.arrivals()
            batch = intake.take(1)
            taken += [delivery.message.body[:2] for delivery in batch]
            await intake.settle(batch)
            assert intake.hand.held_bytes <= 5_000
        await intake.flush()
    assert taken == [f"{number:02}".encode() for number in range(20)], "in their order, each once"
    assert await desk.count(names_for(desk.prefix).requests) == 0


async def test_one_message_is_always_taken_whatever_its_size(
    settings: Settings, stack: Stack, desk: Desk
) -> None:
    await declare_topology(settings)
    for _ in range(3):
        await desk.send("x" * 9_000)
    readiness = Readiness([PART])
    sources = sources_of_requests(names_for(desk.prefix))
    intake = Intake(sources, Bounds(100, 5_000, 1 << 20), readiness, Metrics(), eager=read_eagerly())
    async with intake_on(intake, readiness, stack.amqp_url):
        for _ in range(3):
            await intake.arrivals()
            assert len(intake.hand) == 1
            await intake.settle(intake.take(9))


@pytest.mark.parametrize("version", ["7.2.4", "99.0.0"])
async def test_a_body_that_is_too_large_is_dropped_as_it_comes(
    settings: Settings, stack: Stack, desk: Desk, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    await declare_topology(settings)
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    request = good_request() | {"metadata": {"padding": "x" * 2_000_000}}
    size = len(json.dumps(request).encode())
    nobody_s, response = b"x" * 2_000_000, json.dumps(request).encode()
    await desk.send(request)
    await desk.send(nobody_s)
    await desk.send(response, type="CreateSessionResponse")
    intake, readiness = new_intake(desk.prefix)
    async with intake_on(intake, readiness, stack.amqp_url):

        async def all_there() -> bool:
            return len(intake.hand) == 3

        await eventually(all_there)
        assert intake.hand.held_bytes == len(nobody_s) + len(response)
        messages: list[Message] = []
        while len(messages) < 3:
            messages += [delivery.message for delivery in intake.take(3)]

    assert messages[0].body == b""
    assert messages[0].dropped is not None
    assert (str(messages[0].dropped.request_id), messages[0].dropped.size) == (request["request_id"], size)
    assert [(message.body, message.dropped) for message in messages[1:]] == [
        (nobody_s, None),
        (response, None),
    ]
