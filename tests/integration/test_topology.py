"""Exchanges and queues: declared again and again, compared without a change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity
from harness import Desk, NewWorker, declare_topology, good_request

from worker import topology
from worker.errors import TopologyError
from worker.settings import Settings
from worker.stack import Stack


@pytest_asyncio.fixture
async def connection(stack: Stack) -> AsyncIterator[AbstractConnection]:
    async with await aio_pika.connect(stack.amqp_url) as opened:
        yield opened


@pytest.fixture
def wanted(prefix: str) -> topology.Topology:
    return topology.design(prefix, 20, limits_from_policy=False)


async def test_it_can_be_declared_again_and_keeps_what_is_in_the_queues(
    connection: AbstractConnection, wanted: topology.Topology, desk: Desk
) -> None:
    await topology.apply(connection, wanted)
    await desk.send(good_request())

    await topology.apply(connection, wanted)

    assert await topology.verify(connection, wanted) == []
    assert await desk.count(wanted.names.requests) == 1


async def test_every_queue_is_a_durable_quorum_queue_with_its_limits(wanted: topology.Topology) -> None:
    prefix = wanted.names.requests.removesuffix(".requests")

    def dying_to(name: str) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": f"{prefix}.{name}",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": 20,
        }

    assert {queue.name: queue.arguments for queue in wanted.queues} == {
        f"{prefix}.requests": dying_to("undelivered"),
        f"{prefix}.undelivered": dying_to("dead"),
        f"{prefix}.responses": dying_to("dead"),
        f"{prefix}.dead": {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000},
    }


async def test_with_a_policy_nothing_but_the_queue_type_is_declared(prefix: str) -> None:
    left_to_policy = topology.design(prefix, 20, limits_from_policy=True)

    assert [queue.arguments for queue in left_to_policy.queues] == [{"x-queue-type": "quorum"}] * 4


async def test_a_worker_serves_with_limits_from_a_policy(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker(queue_limits="policy")

    assert (await desk.ask(good_request())).status == "completed"


async def test_what_is_missing_is_named_and_not_made(
    connection: AbstractConnection, wanted: topology.Topology, stack: Stack
) -> None:
    problems = await topology.verify(connection, wanted)

    assert problems == [
        *(
            f"the exchange {exchange.name!r} is missing: run `session-worker topology apply`"
            for exchange in wanted.exchanges
        ),
        *(
            f"the queue {queue.name!r} is missing: run `session-worker topology apply`"
            for queue in wanted.queues
        ),
    ]
    async with await aio_pika.connect(stack.amqp_url) as other:
        for name in wanted.names:
            channel = await other.channel()
            with pytest.raises(ChannelNotFoundEntity):
                await channel.get_queue(name)
            channel = await other.channel()
            with pytest.raises(ChannelNotFoundEntity):
                await channel.get_exchange(name)


MISMATCHES = [
    pytest.param({"x-delivery-limit": 7}, "x-delivery-limit", "'20'", "'7'", id="another delivery limit"),
    pytest.param({"x-overflow": "drop-head"}, "x-overflow", "'reject-publish'", "'drop-head'", id="overflow"),
    pytest.param(
        {"x-dead-letter-exchange": "elsewhere"},
        "x-dead-letter-exchange",
        "",
        "'elsewhere'",
        id="dead letters",
    ),
]


@pytest.mark.parametrize(("changed", "argument", "should", "actual"), MISMATCHES)
async def test_a_queue_that_differs_is_named_with_its_argument_and_a_remedy(
    connection: AbstractConnection,
    wanted: topology.Topology,
    new_worker: NewWorker,
    changed: dict[str, Any],
    argument: str,
    should: str,
    actual: str,
) -> None:
    arguments = wanted.queues[0].arguments | changed
    channel = await connection.channel()
    await channel.declare_queue(wanted.names.requests, durable=True, arguments=arguments)

    found = [problem for problem in await topology.verify(connection, wanted) if "missing" not in problem]

    assert len(found) == 1
    assert repr(wanted.names.requests) in found[0]
    assert f"{argument} should be " in found[0]
    assert should in found[0]
    assert f"but is {actual}" in found[0]
    assert "Remedy: drain and delete it" in found[0]
    for attempt in (topology.apply(connection, wanted), new_worker()):
        with pytest.raises(TopologyError) as raised:
            await attempt
        assert str(raised.value) == found[0]


async def test_a_classic_queue_is_found_out(
    connection: AbstractConnection, prefix: str, new_worker: NewWorker
) -> None:
    wanted = topology.design(prefix, 20, limits_from_policy=True)
    channel = await connection.channel()
    await channel.declare_queue(wanted.names.requests, durable=True)

    found = [problem for problem in await topology.verify(connection, wanted) if "missing" not in problem]

    assert len(found) == 1
    assert repr(wanted.names.requests) in found[0]
    assert "x-queue-type should be" in found[0]
    with pytest.raises(TopologyError, match="x-queue-type should be"):
        await new_worker(queue_limits="policy")


async def test_an_exchange_of_another_kind_is_named(
    connection: AbstractConnection, wanted: topology.Topology
) -> None:
    channel = await connection.channel()
    await channel.declare_exchange(wanted.names.responses, "fanout", durable=True)

    problems = await topology.verify(connection, wanted)

    found = [problem for problem in problems if "missing" not in problem]
    assert len(found) == 1
    assert (
        f"the exchange {wanted.names.responses!r} is not as this worker needs it: type should be" in found[0]
    )


async def test_a_queue_deleted_under_a_worker_is_declared_again(
    new_worker: NewWorker, desk: Desk, settings: Settings
) -> None:
    worker = await new_worker()
    down = asyncio.create_task(worker.readiness.until_down("requests"))

    await desk.channel.queue_delete(topology.names_for(settings.prefix).requests)
    await down
    await worker.readiness.until_up()
    await declare_topology(settings)

    assert (await desk.ask(good_request())).status == "completed"
