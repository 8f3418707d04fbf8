"""The client outlives its connections: calls in flight are answered, no loop body runs twice."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiormq import Channel
from support.faults.proxy import Proxy, proxy_to
from support.harness import delete_topology, eventually, ready_and_readers, run_in_process
from support.responder import Responder, completed, request_id_of, responder_at
from support.servers import FaultyRabbit

from schemas import CreateSessionResponse
from worker.client import Client, Request, Subscription, request_id_for, subscription
from worker.settings import Settings
from worker.stack import Stack


@pytest_asyncio.fixture
async def way(stack: Stack) -> AsyncIterator[tuple[Proxy, str]]:
    async with proxy_to(stack.amqp_url) as proxy:
        yield proxy


async def test_calls_in_flight_are_sent_again(
    responder: Responder, way: tuple[Proxy, str], prefix: str
) -> None:
    proxy, url = way
    async with Client(url, prefix) as client:
        calls = [asyncio.create_task(client.create_session(org_id="org-1")) for _ in range(20)]
        first = {message.correlation_id: message for message in [await responder.next() for _ in calls]}

        assert proxy.cut() == 1
        again = [await responder.next() for _ in calls]
        for message in first.values():
            await responder.answer(message, completed(request_id_of(message)))  # to a queue that is gone
        for message in again:
            await responder.answer(message, completed(request_id_of(message)))

        assert {str((await call).request_id) for call in calls} == set(first)
    assert {message.correlation_id for message in again} == set(first)
    assert all(message.body == first[message.correlation_id].body for message in again)
    assert {message.reply_to for message in again}.isdisjoint(message.reply_to for message in first.values())


async def test_nothing_that_is_being_submitted_gets_lost(
    responder: Responder, way: tuple[Proxy, str], prefix: str
) -> None:
    proxy, url = way
    responder.rule = completed
    confirmed = set()
    async with Client(url, prefix) as client:
        async for request_id in client.submit_many(
            (Request(org_id="org-1", reply_to="nobody") for _ in range(600)), window=50
        ):
            confirmed.add(request_id)
            if len(confirmed) in (100, 300):
                assert proxy.cut(reset=len(confirmed) == 300) == 1

    async def all_there() -> bool:
        return {request_id_of(message) for message in responder.taken} >= confirmed

    await eventually(all_there)
    assert len(confirmed) == 600
    assert proxy.broken_connections == 2


async def test_a_frozen_connection_is_given_up(
    responder: Responder, way: tuple[Proxy, str], prefix: str
) -> None:
    proxy, url = way
    async with Client(url, prefix, confirm_timeout=1) as client:
        await client.submit(org_id="org-1", key="before")
        assert proxy.stall() == 1

        submitting = asyncio.create_task(client.submit(org_id="org-1", key="after"))

        async def connects_anew() -> bool:
            return proxy.connections > 1

        await eventually(connects_anew)
        assert proxy.held_bytes > 0
        proxy.heal()
        await submitting

    wanted = {request_id_for("org-1", "before"), request_id_for("org-1", "after")}
    arrived = set[UUID]()
    while not wanted <= arrived:  # either may come twice: a slow broker takes longer than the second
        arrived.add(request_id_of(await responder.next()))
    assert arrived == wanted


async def test_a_body_that_ran_does_not_run_again(
    responder: Responder, way: tuple[Proxy, str], prefix: str
) -> None:
    proxy, url = way
    wanted = [completed(uuid4()) for _ in range(10)]
    for response in wanted:
        await responder.respond(response)
    seen: list[CreateSessionResponse] = []

    async def read(arriving: Subscription) -> None:
        async for response in arriving:
            seen.append(response)
            if len(seen) in (3, 7):
                assert proxy.cut(reset=True) == 1

    async def all_have_come(readers: int) -> bool:
        """Says whether nothing lies there, and no other reader is left whose deliveries would come back."""
        return await ready_and_readers(responder.channel, responder.names.responses) == (0, readers)

    async def body_ran_for_all() -> bool:
        return len(seen) >= len(wanted)

    async with (
        Client(url, prefix) as client,
        client.subscribe(prefetch=4) as arriving,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(read(arriving))
        await eventually(body_ran_for_all)
        await eventually(lambda: all_have_come(readers=1))  # also what was in hand when a connection broke
        wanted.append(completed(uuid4()))
        await responder.respond(wanted[-1])  # when this is seen, all that came before it is settled
        await eventually(body_ran_for_all)
        arriving.stop()
    await eventually(lambda: all_have_come(readers=0))

    assert sorted(response.request_id for response in seen) == sorted(
        response.request_id for response in wanted
    )


@pytest.mark.parametrize("step", ["queue_declare", "basic_consume"])
async def test_a_node_that_answers_nothing_is_left_for_the_next(
    step: str, responder: Responder, way: tuple[Proxy, str], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = way
    held_up = []

    async def never(channel: Channel, *_: object, **__: object) -> None:
        held_up.append(channel.connection)
        await asyncio.Event().wait()

    response = completed(uuid4())
    await responder.respond(response)
    monkeypatch.setattr(subscription, "SETUP_SECONDS", 0.3)
    async with Client(url, prefix) as client, client.subscribe() as arriving:
        assert await anext(arriving) == response
        with monkeypatch.context() as patch:
            patch.setattr(Channel, step, never)
            assert proxy.cut() == 1
            await eventually(lambda: asyncio.sleep(0, len(held_up) > 1))
        assert held_up[0] is not held_up[1], "it connected anew"

        await responder.respond(response := completed(uuid4()))
        assert await anext(arriving) == response


@pytest.mark.timeout(400)
async def test_a_call_outlives_the_broker(
    settings: Settings, db: asyncpg.Connection, broker: FaultyRabbit
) -> None:
    """The broker is stopped with calls in flight, and started again; only then does a worker start."""
    there = settings.model_copy(update={"amqp_url": type(settings.amqp_url)(broker.url)})
    async with (
        responder_at(broker.url, there.prefix) as silent,
        Client(broker.url, there.prefix) as client,
    ):
        calls = [
            asyncio.create_task(client.create_session(org_id="org-1", key=f"order-{number}", timeout=120))
            for number in range(50)
        ]
        for _ in calls:
            await silent.next()
        await broker.stop()
        await broker.start()
        async with run_in_process(there) as start:
            await start()
            responses = await asyncio.gather(*calls)
    await delete_topology(broker.url, there.prefix)

    assert len({response.payload.session_id for response in responses}) == 50
    assert await db.fetchval("select count(*) from sessions") == 50
