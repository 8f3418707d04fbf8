"""The exchanges and queues: their names, their declaration, and the comparison with what the broker has."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from worker.errors import TopologyError

_NEVER = 1_000_000_000
REFUSED = (ChannelAccessRefused, ChannelLockedResource)
REQUEST_KEY = "create"
DECLARE_SECONDS = 15  # a node cut off from its cluster answers nothing, and keeps the connection open
_CLOSE_SECONDS = 2
CANCEL_KEY = "cancel"
_WRONG_ARGUMENT = re.compile(r"inequivalent arg '([^']+)'[^:]*: received (.+?) but current is (.+?)(?:$|,)")


class Names(NamedTuple):
    """Every name follows from the prefix. An exchange and the queue behind it share theirs."""

    requests: str
    undelivered: str
    responses: str
    dead: str


class Exchange(NamedTuple):
    name: str
    kind: str


class Queue(NamedTuple):
    name: str
    arguments: dict[str, Any]


class Binding(NamedTuple):
    queue: str
    exchange: str
    key: str


class Topology(NamedTuple):
    names: Names
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def names_for(prefix: str) -> Names:
    return Names(f"{prefix}.requests", f"{prefix}.undelivered", f"{prefix}.responses", f"{prefix}.dead")


def design(prefix: str, delivery_limit: int, *, limits_from_policy: bool) -> Topology:
    """What has to be there. The queue type cannot be changed by a policy; all else can be left to one."""
    names = names_for(prefix)
    quorum = {"x-queue-type": "quorum"}

    def dying_to(exchange: str) -> dict[str, Any]:
        if limits_from_policy:
            return quorum
        return quorum | {
            "x-dead-letter-exchange": exchange,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": delivery_limit,
        }

    return Topology(
        names,
        exchanges=(
            Exchange(names.requests, "direct"),
            Exchange(names.undelivered, "fanout"),
            Exchange(names.responses, "topic"),
            Exchange(names.dead, "fanout"),
        ),
        queues=(
            # What the broker takes from the request queue (expired, delivered too often) is answered from
            # here; only what cannot be answered goes on to the dead letters.
            Queue(names.requests, dying_to(names.undelivered)),
            Queue(names.undelivered, dying_to(names.dead)),
            # Without a limit of their own, the broker's default would drop what is returned that often.
            Queue(names.responses, dying_to(names.dead)),
            Queue(names.dead, quorum if limits_from_policy else quorum | {"x-delivery-limit": _NEVER}),
        ),
        bindings=(
            Binding(names.requests, names.requests, REQUEST_KEY),
            Binding(names.requests, names.requests, CANCEL_KEY),
            Binding(names.undelivered, names.undelivered, ""),
            Binding(names.responses, names.responses, "#"),
            Binding(names.dead, names.dead, ""),
        ),
    )


async def apply(connection: AbstractConnection, topology: Topology) -> None:
    """Declare everything; what is there already and is the same stays as it is."""
    async with asyncio.timeout(DECLARE_SECONDS):
        for exchange in topology.exchanges:
            await _declare_exchange(connection, exchange, passive=False)
        for queue in topology.queues:
            await _declare_queue(connection, queue, passive=False)
        async with _channel(connection) as channel:
            for binding in topology.bindings:
                await channel.queue_bind(binding.queue, binding.exchange, binding.key)


async def verify(connection: AbstractConnection, topology: Topology) -> list[str]:
    """What is missing or differs, a sentence each; declares nothing that is not there. A binding cannot be
    asked for over AMQP without making it, so bindings are not compared.
    """
    problems = []
    for exchange in topology.exchanges:
        try:
            await _declare_exchange(connection, exchange, passive=True)
            await _declare_exchange(connection, exchange, passive=False)
        except TopologyError as error:
            problems.append(str(error))
    for queue in topology.queues:
        try:
            await _declare_queue(connection, queue, passive=True)
            await _declare_queue(connection, queue, passive=False)
        except TopologyError as error:
            problems.append(str(error))
    return problems


async def _declare_exchange(connection: AbstractConnection, exchange: Exchange, *, passive: bool) -> None:
    try:
        async with _channel(connection) as channel:
            await channel.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, passive=passive
            )
    except ChannelNotFoundEntity:
        raise TopologyError(
            f"the exchange {exchange.name!r} is missing: run `session-worker topology apply`"
        ) from None
    except ChannelPreconditionFailed as error:
        raise _mismatch("exchange", exchange.name, error) from None


async def _declare_queue(connection: AbstractConnection, queue: Queue, *, passive: bool) -> None:
    try:
        async with _channel(connection) as channel:
            await channel.queue_declare(queue.name, durable=True, passive=passive, arguments=queue.arguments)
    except ChannelNotFoundEntity:
        raise TopologyError(
            f"the queue {queue.name!r} is missing: run `session-worker topology apply`"
        ) from None
    except ChannelPreconditionFailed as error:
        raise _mismatch("queue", queue.name, error) from None


@asynccontextmanager
async def _channel(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """A channel of its own for each declaration: the broker closes it when one is refused."""
    channel = connection.channel(publisher_confirms=False)
    await channel.initialize()
    try:
        yield await channel.get_underlay_channel()
    finally:
        with suppress(AMQPError, RuntimeError, TimeoutError):  # the broker closed it first, or is held up
            async with asyncio.timeout(_CLOSE_SECONDS):
                await channel.close()


def _mismatch(kind: str, name: str, error: ChannelPreconditionFailed) -> TopologyError:
    found = _WRONG_ARGUMENT.search(str(error))
    what = f"{found[1]} should be {found[2]} but is {found[3]}" if found else f"the broker says: {error}"
    remedy = (
        "drain and delete it, then run `session-worker topology apply`; or make the setting agree with it "
        "(WORKER_DELIVERY_LIMIT, WORKER_QUEUE_LIMITS=policy), or give this worker a WORKER_PREFIX of its own"
    )
    return TopologyError(f"the {kind} {name!r} is not as this worker needs it: {what}. Remedy: {remedy}")
