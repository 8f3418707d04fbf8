"""Names the exchanges and queues, declares them, and compares them with what the broker has."""

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
    ConnectionCommandInvalid,
)

from worker.errors import TopologyError
from worker.rabbitmq import shards
from worker.rabbitmq.connection import SETUP_SECONDS
from worker.rabbitmq.line import open_channel
from worker.rabbitmq.shards import queues_of

# A return says nothing about a message: every stop and every lost connection returns what waits unsettled.
# No message is returned so often. RabbitMQ 3.10 accepts the number as well as 4.x, whose own limit is 20.
NEVER = 1_000_000_000
_DELIVERY_LIMIT = "x-delivery-limit"
REFUSED = (ChannelAccessRefused, ChannelLockedResource)
REQUEST_KEY = "create"
_CLOSE_SECONDS = 2
CANCEL_KEY = "cancel"
_WRONG_ARGUMENT = re.compile(r"inequivalent arg '([^']+)'[^:]*: received (.+?) but current is (.+?)(?:$|,)")


class Names(NamedTuple):
    """Every name follows from the prefix. An exchange and the queue behind it share theirs."""

    requests: str
    undelivered: str
    responses: str
    dead: str
    cancels: str


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
    former_bindings: tuple[Binding, ...]  # of earlier versions, or of fewer shards; taken away
    events: Exchange  # one of the exchanges where it is wanted
    shards: tuple[str, ...]  # the queues of requests
    surplus_bindings: tuple[Binding, ...] = ()  # of more shards; taken away before all else
    exchange_bindings: tuple[Binding, ...] = ()  # to an exchange in the place of a queue
    shard_bindings: tuple[Binding, ...] = ()  # made after all else

    @property
    def declared(self) -> tuple[Exchange | Queue, ...]:
        return (*self.exchanges, *self.queues)


class Depth(NamedTuple):
    """So many messages lie ready in a queue, and so many consumers read it."""

    ready: int
    consumers: int


class Comparison(NamedTuple):
    """Problems are what is missing or differs; notes are what differs and is served all the same."""

    problems: list[str]
    notes: list[str]


def names_for(prefix: str) -> Names:
    return Names(
        requests=f"{prefix}.requests",
        undelivered=f"{prefix}.undelivered",
        responses=f"{prefix}.responses",
        dead=f"{prefix}.dead",
        cancels=f"{prefix}.cancels",
    )


def queues_in(names: Names, shards: int) -> tuple[str, ...]:
    """Return the names of the queues of an installation with so many shards."""
    return (*names, *queues_of(names.requests, shards)[1:])


def design(
    prefix: str, *, limits_from_policy: bool, events: bool = False, spread: int = 1, known: int = 1
) -> Topology:
    """Return what has to be there. A policy cannot change a queue's type; all else can be left to one.
    `events`: with their exchange, which has no queue but those of who watches. `spread`: over so many shards
    go the requests; `known`: so many there may be, of which some get no more.
    """
    names = names_for(prefix)
    quorum = {"x-queue-type": "quorum"}

    def dying_to(exchange: str) -> dict[str, Any]:
        if limits_from_policy:
            return quorum
        return quorum | {
            "x-dead-letter-exchange": exchange,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            _DELIVERY_LIMIT: NEVER,
        }

    hashing = Exchange(f"{prefix}.shards", shards.HASHING)
    queues = queues_of(names.requests, max(spread, known))
    straight = Binding(names.requests, names.requests, REQUEST_KEY)
    return Topology(
        names,
        exchanges=(
            Exchange(names.requests, "direct"),
            Exchange(names.undelivered, "fanout"),
            Exchange(names.responses, "topic"),
            Exchange(names.dead, "fanout"),
            *([hashing] if queues[1:] else []),
            *([events_of(prefix)] if events else []),
        ),
        queues=(
            # What the broker takes from the request queue (expired, mostly) is answered from here; only what
            # cannot be answered goes on to the dead letters.
            Queue(names.requests, dying_to(names.undelivered)),
            *(Queue(queue, dying_to(names.undelivered) | shards.LED_ANYWHERE) for queue in queues[1:]),
            # Apart from the requests, so that a cancellation does not wait behind those that came before.
            Queue(names.cancels, dying_to(names.undelivered)),
            Queue(names.undelivered, dying_to(names.dead)),
            Queue(names.responses, dying_to(names.dead)),
            Queue(names.dead, quorum if limits_from_policy else quorum | {_DELIVERY_LIMIT: NEVER}),
        ),
        bindings=(
            straight if spread == 1 else Binding(names.requests, hashing.name, shards.WEIGHT),
            Binding(names.cancels, names.requests, CANCEL_KEY),
            Binding(names.undelivered, names.undelivered, ""),
            Binding(names.responses, names.responses, "#"),
            Binding(names.dead, names.dead, ""),
        ),
        former_bindings=(
            Binding(names.requests, names.requests, CANCEL_KEY),
            *([straight] if spread > 1 else []),
        ),
        events=events_of(prefix),
        shards=queues,
        surplus_bindings=tuple(Binding(queue, hashing.name, shards.WEIGHT) for queue in queues[spread:]),
        exchange_bindings=(Binding(hashing.name, names.requests, REQUEST_KEY),) if spread > 1 else (),
        shard_bindings=tuple(Binding(queue, hashing.name, shards.WEIGHT) for queue in queues[1:spread]),
    )


def events_of(prefix: str) -> Exchange:
    """Return the exchange of events. A key is the kind of an event and the id of its request."""
    return Exchange(f"{prefix}.events", "topic")


def own_names(prefix: str) -> frozenset[str]:
    """Return the names of all exchanges and queues of an installation: nobody else is answered there."""
    all_of_it = design(prefix, limits_from_policy=True, spread=shards.MOST)
    return frozenset(thing.name for thing in all_of_it.declared)


async def apply(connection: AbstractConnection, topology: Topology) -> list[str]:
    """Declare everything. What is there already and is the same stays as it is, and so does a queue with
    another delivery limit; return a sentence for each such queue.
    """
    notes = []
    async with asyncio.timeout(SETUP_SECONDS):
        for thing in topology.declared:
            notes += await _declare(connection, thing)
        # In an order in which every request finds one queue at every moment: docs/decisions/0038-shards.md.
        async with one_channel(connection) as channel:
            for binding in topology.surplus_bindings:
                await channel.queue_unbind(binding.queue, binding.exchange, binding.key)
            for binding in topology.bindings:
                await channel.queue_bind(binding.queue, binding.exchange, binding.key)
            for binding in topology.exchange_bindings:
                await channel.exchange_bind(binding.queue, binding.exchange, binding.key)
            # Only now: a cancellation that is published meanwhile comes twice, which is better than never.
            for binding in topology.former_bindings:
                await channel.queue_unbind(binding.queue, binding.exchange, binding.key)
            for binding in topology.shard_bindings:
                await channel.queue_bind(binding.queue, binding.exchange, binding.key)
    return notes


async def verify(connection: AbstractConnection, topology: Topology) -> Comparison:
    """Return what is missing or differs, a sentence each; declare nothing that is not there. AMQP cannot ask
    for a binding without making it, so bindings are not compared.
    """
    problems, notes = [], []
    for thing in topology.declared:
        try:
            notes += await declared_as_designed(connection, thing)
        except TopologyError as error:
            problems.append(str(error))
    return Comparison(problems, notes)


async def declared_as_designed(connection: AbstractConnection, thing: Exchange | Queue) -> list[str]:
    """Compare an exchange or a queue that is there; return a sentence when it has another delivery limit.
    Raises TopologyError when it is missing or differs.
    """
    await _look_for(connection, thing)
    return await _declare(connection, thing)


async def remove(connection: AbstractConnection, topology: Topology) -> None:
    """Delete everything, with what is in it, and the exchange of events. What is not there is no error."""
    async with asyncio.timeout(SETUP_SECONDS), one_channel(connection) as channel:
        for queue in topology.queues:
            await channel.queue_delete(queue.name)
        for exchange in {one.name for one in (*topology.exchanges, topology.events)}:
            await channel.exchange_delete(exchange)


async def clear(connection: AbstractConnection, topology: Topology) -> None:
    """Drop the messages that lie ready in the queues, those that are there."""
    async with asyncio.timeout(SETUP_SECONDS):
        for queue in topology.queues:
            with suppress(ChannelNotFoundEntity):
                async with one_channel(connection) as channel:
                    await channel.queue_purge(queue.name)


async def in_use(connection: AbstractConnection, names: Names) -> bool:
    """Return whether there is a request queue that holds a message or has a consumer."""
    found = await depth(connection, names.requests)
    return found is not None and bool(found.ready or found.consumers)


async def depth(connection: AbstractConnection, queue: str) -> Depth | None:
    """Look how much a queue holds, and change nothing; None: it is not there."""
    try:
        async with one_channel(connection) as channel:
            found = await channel.queue_declare(queue, passive=True)
    except ChannelNotFoundEntity:
        return None
    return Depth(found.message_count or 0, found.consumer_count or 0)


async def declare(connection: AbstractConnection, thing: Exchange | Queue) -> None:
    """Declare one of them."""
    async with asyncio.timeout(SETUP_SECONDS):
        await _declare(connection, thing)


async def _look_for(connection: AbstractConnection, thing: Exchange | Queue) -> None:
    try:
        async with one_channel(connection) as channel:
            if isinstance(thing, Exchange):
                await channel.exchange_declare(
                    thing.name, exchange_type=thing.kind, durable=True, passive=True
                )
            else:
                await channel.queue_declare(thing.name, passive=True)
    except ChannelNotFoundEntity:
        raise TopologyError(f"{_named(thing)} is missing: run `session-worker topology apply`") from None


async def _declare(connection: AbstractConnection, thing: Exchange | Queue) -> list[str]:
    """Declare an exchange or a queue, and return a sentence when a queue has another delivery limit."""
    if isinstance(thing, Queue):
        return await _declare_queue(connection, thing)
    try:
        async with one_channel(connection) as channel:
            await channel.exchange_declare(
                thing.name,
                exchange_type=thing.kind,
                durable=True,
                arguments=shards.HASH if thing.kind == shards.HASHING else None,
            )
    except ChannelPreconditionFailed as error:
        raise _mismatch(thing, error) from None
    except ConnectionCommandInvalid as error:
        if thing.kind != shards.HASHING:
            raise
        raise TopologyError(f"{_named(thing)} {shards.NO_PLUGIN}") from error
    return []


async def _declare_queue(connection: AbstractConnection, queue: Queue) -> list[str]:
    """Declare a queue; one that has another delivery limit is served as it is. An earlier version declared a
    lower limit, which cannot be changed, and such a queue can be renewed at leisure.
    """
    try:
        await _declare_with(connection, queue, queue.arguments)
    except ChannelPreconditionFailed as error:
        limit = _other_limit(error)
        if limit is None:
            raise _mismatch(queue, error) from None
    else:
        return []
    others = {name: value for name, value in queue.arguments.items() if name != _DELIVERY_LIMIT}
    try:
        await _declare_with(connection, queue, others | ({_DELIVERY_LIMIT: int(limit)} if limit else {}))
    except ChannelPreconditionFailed as error:
        raise _mismatch(queue, error) from None
    return [_note(queue, limit)]


async def _declare_with(connection: AbstractConnection, queue: Queue, arguments: dict[str, Any]) -> None:
    async with one_channel(connection) as channel:
        await channel.queue_declare(queue.name, durable=True, arguments=arguments)


def _other_limit(error: ChannelPreconditionFailed) -> str | None:
    """Return the delivery limit that the queue has instead, "" for none; None if something else differs."""
    found = _WRONG_ARGUMENT.search(str(error))
    if not found or found[1] != _DELIVERY_LIMIT:
        return None
    return next(iter(re.findall(r"\d+", found[3])), "")


def _note(queue: Queue, limit: str) -> str:
    goes = queue.arguments.get("x-dead-letter-exchange")
    has = f"has a delivery limit of {limit}" if limit else "has no delivery limit of its own (RabbitMQ 4: 20)"
    follows = f"goes to {goes!r}" if goes else "is dropped"
    return (
        f"{_named(queue)} {has}: a message that is returned more often, as each stop and each lost "
        f"connection of a reader does, {follows}. It is served as it is; docs/operating.md, "
        "“Renewing a queue”, says how to get one without that limit"
    )


@asynccontextmanager
async def one_channel(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """Open a channel for one declaration: the broker closes it when that is refused."""
    channel = await open_channel(connection)
    try:
        yield channel
    finally:
        with suppress(AMQPError, RuntimeError, TimeoutError):  # the broker closed it first, or is held up
            async with asyncio.timeout(_CLOSE_SECONDS):
                await channel.close()


def _named(thing: Exchange | Queue) -> str:
    kind = "exchange" if isinstance(thing, Exchange) else "queue"
    return f"the {kind} {thing.name!r}"


def _mismatch(thing: Exchange | Queue, error: ChannelPreconditionFailed) -> TopologyError:
    found = _WRONG_ARGUMENT.search(str(error))
    what = f"{found[1]} should be {found[2]} but is {found[3]}" if found else f"the broker says: {error}"
    remedy = (
        "drain and delete it, then run `session-worker topology apply`; or make the setting agree with it "
        "(WORKER_QUEUE_LIMITS), or give this worker a WORKER_PREFIX of its own"
    )
    return TopologyError(f"{_named(thing)} is not as this worker needs it: {what}. Remedy: {remedy}")
