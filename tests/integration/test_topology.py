"""Exchanges and queues can be declared again and again, and compared without a change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity
from structlog.testing import capture_logs
from support.harness import Desk, NewWorker, declare_topology, good_request

from worker.errors import TopologyError
from worker.rabbitmq import topology
from worker.rabbitmq.topology import NEVER
from worker.settings import Settings
from worker.stack import Stack


@pytest_asyncio.fixture
async def connection(stack: Stack) -> AsyncIterator[AbstractConnection]:
    async with await aio_pika.connect(stack.amqp_url) as opened:
        yield opened


@pytest.fixture
def wanted(prefix: str) -> topology.Topology:
    return topology.design(prefix, limits_from_policy=False)


async def others_than_missing(connection: AbstractConnection, wanted: topology.Topology) -> list[str]:
    problems, _ = await topology.verify(connection, wanted)
    return [problem for problem in problems if "missing" not in problem]


async def test_it_can_be_declared_again_and_keeps_what_is_in_the_queues(
    connection: AbstractConnection, wanted: topology.Topology, desk: Desk
) -> None:
    await topology.apply(connection, wanted)
    await desk.send(good_request())

    await topology.apply(connection, wanted)

    assert await topology.verify(connection, wanted) == ([], [])
    await desk.until_there_are(1, wanted.names.requests)


async def test_every_queue_is_a_durable_quorum_queue_with_its_limits(wanted: topology.Topology) -> None:
    prefix = wanted.names.requests.removesuffix(".requests")

    def dying_to(name: str) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": f"{prefix}.{name}",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": NEVER,
        }

    assert {queue.name: queue.arguments for queue in wanted.queues} == {
        f"{prefix}.requests": dying_to("undelivered"),
        f"{prefix}.cancels": dying_to("undelivered"),
        f"{prefix}.undelivered": dying_to("dead"),
        f"{prefix}.responses": dying_to("dead"),
        f"{prefix}.dead": {"x-queue-type": "quorum", "x-delivery-limit": NEVER},
    }


async def test_with_a_policy_nothing_but_the_queue_type_is_declared(prefix: str) -> None:
    left_to_policy = topology.design(prefix, limits_from_policy=True)

    assert [queue.arguments for queue in left_to_policy.queues] == [{"x-queue-type": "quorum"}] * 5


async def test_a_worker_serves_with_limits_from_a_policy(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker(queue_limits="policy")

    assert (await desk.ask(good_request())).status == "completed"


async def test_what_is_missing_is_named_and_not_made(
    connection: AbstractConnection, wanted: topology.Topology, stack: Stack
) -> None:
    problems, notes = await topology.verify(connection, wanted)

    assert notes == []
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
    pytest.param({"x-overflow": "drop-head"}, "x-overflow", "'reject-publish'", "'drop-head'", id="overflow"),
    pytest.param(
        {"x-dead-letter-exchange": "elsewhere"},
        "x-dead-letter-exchange",
        "",
        "'elsewhere'",
        id="dead letters",
    ),
    pytest.param(
        {"x-overflow": "drop-head", "x-delivery-limit": 20},
        "x-overflow",
        "'reject-publish'",
        "'drop-head'",
        id="overflow and an older limit",
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

    found = await others_than_missing(connection, wanted)

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


async def test_a_queue_with_the_limit_of_an_earlier_version_is_served_and_told_of(
    connection: AbstractConnection,
    wanted: topology.Topology,
    settings: Settings,
    new_worker: NewWorker,
    desk: Desk,
) -> None:
    await declare_topology(settings, delivery_limit=20)

    problems, notes = await topology.verify(connection, wanted)
    with capture_logs() as events:
        await new_worker()
    warnings = [event["note"] for event in events if event["event"] == "topology.delivery_limit_low"]

    assert problems == []
    assert warnings == notes
    assert len(notes) == 4
    assert f"{wanted.names.requests!r} has a delivery limit of 20" in notes[0]
    assert f"goes to {wanted.names.undelivered!r}" in notes[0]
    assert "Renewing a queue" in notes[0]
    assert (await desk.ask(good_request())).status == "completed"


async def test_a_queue_without_a_limit_of_its_own_is_served_and_told_of(
    connection: AbstractConnection, wanted: topology.Topology, new_worker: NewWorker, desk: Desk
) -> None:
    """The default limit of RabbitMQ 4 applies to it."""
    arguments = {name: value for name, value in wanted.queues[0].arguments.items() if "limit" not in name}
    channel = await connection.channel()
    await channel.declare_queue(wanted.names.requests, durable=True, arguments=arguments)

    notes = await topology.apply(connection, wanted)
    await new_worker()

    assert len(notes) == 1
    assert f"{wanted.names.requests!r} has no delivery limit of its own" in notes[0]
    assert (await desk.ask(good_request())).status == "completed"


async def test_cancellations_are_bound_away_from_the_requests(
    connection: AbstractConnection, wanted: topology.Topology, desk: Desk
) -> None:
    """An earlier version had them in the queue of the requests."""
    await topology.apply(connection, wanted)
    channel = await connection.channel()
    old = await channel.get_queue(wanted.names.requests)
    await old.bind(wanted.names.requests, "cancel")

    await topology.apply(connection, wanted)

    exchange = await desk.channel.get_exchange(wanted.names.requests, ensure=False)
    await exchange.publish(aio_pika.Message(b"{}"), routing_key="cancel", mandatory=True)
    await desk.until_there_are(1, wanted.names.cancels)
    assert await desk.count(wanted.names.requests) == 0


async def test_a_classic_queue_is_found_out(
    connection: AbstractConnection, prefix: str, new_worker: NewWorker
) -> None:
    wanted = topology.design(prefix, limits_from_policy=True)
    channel = await connection.channel()
    await channel.declare_queue(wanted.names.requests, durable=True)

    found = await others_than_missing(connection, wanted)

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

    found = await others_than_missing(connection, wanted)
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
