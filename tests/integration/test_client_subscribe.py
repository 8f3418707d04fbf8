"""subscribe yields each response once, and acknowledges it when the loop's body is done with it."""

import asyncio
import gc
import socket
import weakref
from uuid import uuid4

import aio_pika
import pytest
from support.harness import eventually
from support.responder import Responder, completed

from worker.client import Client, ClientClosed, QueueMissing, Subscription
from worker.stack import Stack


async def left(responder: Responder, expected: int) -> None:
    """Waits until the queue holds so many: a broker may process an acknowledgement late."""

    async def look() -> bool:
        return await responder.left_in(responder.names.responses) == expected

    await eventually(look)


async def test_each_response_once(responder: Responder, client: Client) -> None:
    first, second = completed(uuid4()), completed(uuid4())
    for response, message_id in ((first, "1"), (first, "1"), (second, "2"), (first, "1"), (second, "3")):
        await responder.respond(response, message_id)

    async with client.subscribe() as arriving:
        got = [await anext(arriving) for _ in range(3)]

    assert got == [first, second, second]
    await left(responder, 0)


async def test_one_is_acknowledged_after_its_body(responder: Responder, client: Client) -> None:
    await responder.respond(completed(uuid4()))
    subscription = client.subscribe(prefetch=1)

    await anext(subscription)
    await subscription.close()
    await left(responder, 1)

    async with client.subscribe(prefetch=1) as arriving:
        async for _ in arriving:
            await responder.respond(completed(uuid4()))
            break
    await left(responder, 1)


async def test_one_whose_body_failed_comes_again(responder: Responder, client: Client) -> None:
    response = completed(uuid4())
    await responder.respond(response)

    async def fail() -> None:
        async with client.subscribe() as arriving:
            async for _ in arriving:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    async with client.subscribe() as arriving:
        assert await anext(arriving) == response


async def test_stop_ends_the_loop_after_the_body(responder: Responder, client: Client) -> None:
    for _ in range(5):
        await responder.respond(completed(uuid4()))
    seen = 0

    subscription = client.subscribe()
    async for _ in subscription:
        seen += 1
        if seen == 2:
            subscription.stop()

    assert seen == 2
    await left(responder, 3)


async def test_stop_wakes_a_loop_that_waits(responder: Responder, client: Client) -> None:
    got = asyncio.Event()

    async def wait(subscription: Subscription) -> int:
        number = 0
        async for _ in subscription:
            number += 1
            got.set()
        return number

    async with client.subscribe() as subscription:
        waiting = asyncio.create_task(wait(subscription))
        await responder.respond(completed(uuid4()))
        await asyncio.wait_for(got.wait(), 60)
        await left(responder, 0)
        subscription.stop()
        assert await waiting == 1


async def test_a_queue_that_is_missing(client: Client, responder: Responder) -> None:
    with pytest.raises(QueueMissing, match="nowhere"):
        await anext(client.subscribe("nowhere"))
    await responder.left_in(responder.names.responses)


async def test_copies_leave_the_queue_alone(responder: Responder, client: Client) -> None:
    response = completed(uuid4())
    exchange = await responder.channel.get_exchange(responder.names.responses, ensure=False)

    async with client.subscribe(copies=True) as watching:
        body = response.model_dump_json().encode()
        await exchange.publish(aio_pika.Message(body), routing_key="completed")
        assert await anext(watching) == response

    await left(responder, 1)


async def test_what_is_no_response_is_set_aside(responder: Responder, client: Client) -> None:
    response = completed(uuid4())
    await responder.publish(responder.names.responses, b"nonsense")
    await responder.respond(response)

    async with client.subscribe() as arriving:
        assert await anext(arriving) == response
    await left(responder, 0)


async def test_closing_the_client_ends_its_subscriptions(
    responder: Responder, stack: Stack, prefix: str
) -> None:
    async with Client(stack.amqp_url, prefix) as client:
        subscription = client.subscribe()
        await responder.respond(completed(uuid4()))
        await anext(subscription)
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    await left(responder, 1)


async def test_closing_the_client_ends_a_subscription_that_is_being_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"amqp://127.0.0.1:{silent.getsockname()[1]}/")
        subscription = client.subscribe()
        waiting = asyncio.create_task(anext(subscription, None))
        connection, _ = await asyncio.to_thread(silent.accept)
        await client.close()
        assert await waiting is None
        with connection:
            connection.settimeout(5)
            while connection.recv(1 << 10):
                pass  # a connection that was left open would time out
    with pytest.raises(ClientClosed):
        client.subscribe()


@pytest.mark.usefixtures("responder")
async def test_a_client_does_not_keep_what_has_ended(client: Client) -> None:
    ended = weakref.WeakSet[Subscription]()
    for _ in range(3):
        async with client.subscribe() as subscription:
            ended.add(subscription)
    client.subscribe()
    del subscription

    async def gone() -> bool:
        gc.collect()
        return not ended

    await eventually(gone)


async def returned(stack: Stack, queue: str) -> list[int]:
    """Returns how often readers returned each of the responses that are left."""
    counts = []
    async with await aio_pika.connect(stack.amqp_url) as connection:
        source = await (await connection.channel()).get_queue(queue, ensure=False)
        while message := await source.get(no_ack=True, fail=False):
            counts.append(int(str(message.headers.get("x-delivery-count", 0))))
    return counts


@pytest.mark.parametrize("prefetch", [1, 3, 100])
async def test_who_takes_some_returns_no_other(
    responder: Responder, client: Client, stack: Stack, prefetch: int
) -> None:
    """A response that is returned too often becomes a dead letter, so a short read must return none."""
    sent = [completed(uuid4()) for _ in range(40)]
    for number, response in enumerate(sent):
        await responder.respond(response, str(number))
        if number in (2, 9):
            await responder.respond(response, str(number))  # again, as it may come
    got = []
    for limit in (1, 1, 1, 1, 1, 2, 7, 8):
        async with client.subscribe(limit=limit, prefetch=prefetch, remember=10_000) as arriving:
            mine = [response async for response in arriving]
        assert len(mine) == limit
        got += mine

    assert set(map(str, got)) == set(map(str, sent[: len(set(map(str, got)))])), "in their order"
    assert set(await returned(stack, responder.names.responses)) == {0}


async def test_a_reader_who_is_done_with_what_lay_there_ends_and_returns_none(
    responder: Responder, client: Client, stack: Stack
) -> None:
    for number in range(12):
        await responder.respond(completed(uuid4()), str(number))
    await left(responder, 12)
    got = 0
    async with client.subscribe(drain=True, prefetch=5) as arriving:
        async for _ in arriving:
            if got == 0:
                for number in range(12, 20):
                    await responder.respond(completed(uuid4()), str(number))
            got += 1

    assert got == 12
    assert await returned(stack, responder.names.responses) == [0] * 8


async def test_a_reader_who_gives_up_early_has_taken_what_it_was_given(
    responder: Responder, client: Client
) -> None:
    """They are acknowledged even if some of the acknowledgements had to wait."""
    for number in range(5):
        await responder.respond(completed(uuid4()), str(number))

    async with client.subscribe(limit=50) as arriving:
        for _ in range(5):
            await anext(arriving)

    await left(responder, 0)


async def test_a_subscriber_that_crashes_again_and_again_loses_no_response(
    responder: Responder, stack: Stack
) -> None:
    """Each time it holds all of them, and acknowledges none."""
    for number in range(30):
        await responder.respond(completed(uuid4()), str(number))
    for _ in range(22):
        connection = await aio_pika.connect(stack.amqp_url)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        await (await channel.get_queue(responder.names.responses, ensure=False)).consume(arrived.put)
        async with asyncio.timeout(60):
            for _ in range(30):
                await arrived.get()
        await connection.close()

    await left(responder, 30)
    assert await responder.left_in(responder.names.dead) == 0
    assert min(await returned(stack, responder.names.responses)) >= 22
