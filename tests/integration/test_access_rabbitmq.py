"""Each user of the broker may do what docs/access.md says, and nothing else: all of it is tried, on what the
broker lists in a vhost with two installations and another program.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aio_pika
import aiormq
import pytest
import pytest_asyncio
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource
from support.access import PASSWORD, Admin, Said, administrator, as_user, broker_users, said_of

from worker.rabbitmq import topology
from worker.rabbitmq.access import Actor
from worker.rabbitmq.shards import WEIGHT

Act = Callable[[AbstractChannel], Awaitable[Any]]
OWN, DEFAULT, OTHER = "its own, which the broker names (`amq.gen-…`)", "the default exchange", "any other"
ONE_REQUEST = f"*.{uuid4()}"
REFUSED = (ChannelAccessRefused, ChannelLockedResource)


class Vhost(NamedTuple):
    """A vhost, named as the installation in it, with a user for each actor and a producer's reply queue."""

    name: str
    admin: Admin
    amqp_url: str
    management_url: str
    users: dict[Actor, str]
    reply_queue: str

    async def declare(self) -> None:
        async with await aio_pika.connect(self.amqp_url) as connection:
            await topology.apply(
                connection, topology.design(self.name, limits_from_policy=False, events=True, spread=2)
            )


@pytest_asyncio.fixture(scope="module")
async def vhost(managed: tuple[str, str]) -> AsyncIterator[Vhost]:
    name = f"v{uuid4().hex[:12]}"
    url = urlunsplit(urlsplit(managed[0])._replace(path=f"/{name}"))
    async with AsyncExitStack() as opened:
        admin = await opened.enter_async_context(administrator(managed[1]))
        await admin.put("vhosts", name)
        opened.push_async_callback(admin.delete, "vhosts", name)
        me = (await admin.get("whoami"))["name"]
        await admin.put("permissions", name, me, configure=".*", write=".*", read=".*")
        users = await opened.enter_async_context(broker_users(admin, name, name))
        connection = await opened.enter_async_context(await aio_pika.connect(url))
        await topology.apply(connection, topology.design("other", limits_from_policy=False))
        channel = await connection.channel()
        await channel.declare_queue("payments", durable=True)
        await channel.declare_exchange("payments", durable=True)
        producer = await opened.enter_async_context(
            await aio_pika.connect(as_user(url, users[Actor.PRODUCER]))
        )
        reply_queue = await (await producer.channel()).declare_queue(exclusive=True)
        yield Vhost(name, admin, url, managed[1], users, reply_queue.name)


class Trial:
    """Finds out what a user may do by doing it, and notes where that is not what was said."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self.wrong: list[str] = []

    async def expect(self, what: str, act: Act, *, said: bool) -> None:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(publisher_confirms=True)
        try:
            await act(self._channel)
        except REFUSED as error:
            if said:
                self.wrong.append(f"{what} was refused: {error}")
        else:
            if not said:
                self.wrong.append(f"{what} was carried out")


class Names:
    """What the page says of each exchange and queue of the vhost for one actor."""

    def __init__(self, what: str, actor: Actor, prefix: str) -> None:
        self._rows = said_of(what)
        self._actor = actor
        self._prefix = prefix

    def of(self, name: str) -> Said:
        said = name.replace(f"{self._prefix}.", "sessions.", 1)
        row = said if said in self._rows else OTHER
        return self._rows[DEFAULT if name == "" else row][self._actor.value]

    @property
    def own(self) -> Said:
        return self._rows[OWN][self._actor.value]


def with_exchange(told: Mapping[str, Any]) -> Iterator[tuple[str, Act]]:
    """Yield what can be done with an exchange, what destroys it last."""
    name = told["name"]

    async def declare(channel: AbstractChannel) -> None:
        await channel.exchange_declare(
            name,
            exchange_type=told["type"],
            durable=told["durable"],
            internal=told["internal"],
            arguments=told.get("arguments"),
        )

    async def delete(channel: AbstractChannel) -> None:
        await channel.exchange_delete(name)

    yield from (("declare", declare), ("publish", publishing(name, "completed")), ("delete", delete))


def with_queue(name: str, arguments: dict[str, Any]) -> Iterator[tuple[str, Act]]:
    """Yield the same for a queue."""

    async def declare(channel: AbstractChannel) -> None:
        await channel.queue_declare(name, durable=True, arguments=arguments)

    async def get(channel: AbstractChannel) -> None:
        await channel.basic_get(name)

    async def consume(channel: AbstractChannel) -> None:
        consuming = await channel.basic_consume(name, _leave)
        await channel.basic_cancel(str(consuming.consumer_tag))

    async def purge(channel: AbstractChannel) -> None:
        await channel.queue_purge(name)

    async def delete(channel: AbstractChannel) -> None:
        await channel.queue_delete(name)

    if not name.startswith("amq."):  # nobody may name a queue so
        yield "declare", declare
    yield from (("get", get), ("consume", consume), ("purge", purge), ("delete", delete))


def publishing(exchange: str, key: str) -> Act:
    async def publish(channel: AbstractChannel) -> None:
        await channel.basic_publish(b"", exchange=exchange, routing_key=key)

    return publish


def declaring(queue: str) -> Act:
    async def declare(channel: AbstractChannel) -> None:
        await channel.queue_declare(queue)

    return declare


def between_queue(queue: str, exchange: str, key: str = ONE_REQUEST) -> Act:
    async def bind(channel: AbstractChannel) -> None:
        await channel.queue_bind(queue, exchange, key)
        await channel.queue_unbind(queue, exchange, key)

    return bind


def between_exchanges(target: str, source: str) -> Act:
    async def bind(channel: AbstractChannel) -> None:
        key = key_of(source)
        await channel.exchange_bind(destination=target, source=source, routing_key=key)
        await channel.exchange_unbind(destination=target, source=source, routing_key=key)

    return bind


def key_of(exchange: str) -> str:
    """Returns the key of a binding: of the exchange that hashes it is a number."""
    return WEIGHT if exchange.endswith(".shards") else ONE_REQUEST


def dying_to(exchange: str) -> Act:
    async def declare(channel: AbstractChannel) -> None:
        made = await channel.queue_declare(exclusive=True, arguments={"x-dead-letter-exchange": exchange})
        await channel.queue_delete(str(made.queue))

    return declare


async def _leave(_message: Any) -> None:
    """Leave it unsettled."""


@pytest.mark.parametrize("actor", list(Actor))
async def test_a_user_may_do_what_the_page_says_and_nothing_else(vhost: Vhost, actor: Actor) -> None:
    await vhost.declare()
    exchanges = {told["name"]: told for told in await vhost.admin.get("exchanges", vhost.name)}
    queues = {told["name"]: told["arguments"] for told in await vhost.admin.get("queues", vhost.name)}
    responses = f"{vhost.name}.responses"
    assert exchanges.keys() >= {"", "amq.topic", responses, "other.dead", "payments"}
    assert queues.keys() >= {vhost.reply_queue, responses, f"{vhost.name}.cancels", "other.dead", "payments"}
    of_exchange, of_queue = (Names(what, actor, vhost.name) for what in ("exchange", "queue"))
    async with await aiormq.connect(as_user(vhost.amqp_url, vhost.users[actor])) as connection:
        trial = Trial(connection)
        own = await declared(trial, vhost.name, of_queue.own)
        of_each = {name: of_queue.of(name) for name in queues} | ({own: of_queue.own} if own else {})
        pairs = {(queue, exchange) for queue in of_each for exchange in (responses, "payments")}
        pairs |= {(queue, exchange) for queue in (own or responses, "payments") for exchange in exchanges}
        for queue, exchange in sorted(pairs):
            both = "bind" in of_exchange.of(exchange) and "bind" in of_each[queue]
            act = between_queue(queue, exchange, key_of(exchange))
            what = f"to bind queue {queue} to {exchange}"
            await trial.expect(what, act, said=both)
        for exchange in exchanges:
            its = of_exchange.of(exchange)
            for target, source in ((responses, exchange), (exchange, responses)):
                both = "bind" in of_exchange.of(source) and "publish" in of_exchange.of(target)
                what, act = f"to bind exchange {target} to {source}", between_exchanges(target, source)
                await trial.expect(what, act, said=both and "" not in (target, source))
            what = f"to have a queue of its own die to {exchange}"
            await trial.expect(what, dying_to(exchange), said=bool(own) and "publish" in its)
        if own:
            events, allowed = f"{vhost.name}.events", actor is not Actor.PRODUCER
            for key in ("#", "completed.*", "*.*", f"*.{uuid4()}.#"):
                act = between_queue(own, events, key)
                await trial.expect(f"to watch {key}", act, said=allowed)
        await trial.expect("to answer with another key", publishing(responses, "odd"), said=False)
        for exchange, told in exchanges.items():
            for verb, act in with_exchange(told):
                said_so = verb in of_exchange.of(exchange)
                await trial.expect(f"to {verb} exchange {exchange}", act, said=said_so)
        for queue, said in of_each.items():
            for verb, act in with_queue(queue, queues.get(queue, {})):
                await trial.expect(f"to {verb} queue {queue}", act, said=verb in said)

    assert trial.wrong == []


async def declared(trial: Trial, prefix: str, said: Said) -> str:
    """Declare what is not there yet; return the name of the queue that the broker has named, if it may be."""
    own = ""

    async def declare_own(channel: AbstractChannel) -> None:
        nonlocal own
        own = str((await channel.queue_declare(exclusive=True)).queue)

    await trial.expect("to declare a queue of its own", declare_own, said="declare" in said)
    for name in ("new", f"{prefix}.new", "amq.gen-new"):
        new = {"name": name, "type": "direct", "durable": True, "internal": False}
        await trial.expect(f"to declare queue {name}", declaring(name), said=False)
        await trial.expect(f"to declare exchange {name}", next(with_exchange(new))[1], said=False)
    return own


@pytest.mark.parametrize("actor", list(Actor))
async def test_the_management_api_shows_numbers_and_changes_nothing(vhost: Vhost, actor: Actor) -> None:
    await vhost.declare()
    mine, dead = vhost.users[actor], f"{vhost.name}.dead"
    everything: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
        ("PUT", ("users", mine), {"password": PASSWORD, "tags": "administrator"}),
        ("PUT", ("permissions", vhost.name, mine), {"configure": ".*", "write": ".*", "read": ".*"}),
        ("PUT", ("topic-permissions", vhost.name, mine), {"exchange": "", "write": ".*", "read": ".*"}),
        ("PUT", ("vhosts", f"{vhost.name}-2"), {}),
        ("PUT", ("policies", vhost.name, "mine"), {"pattern": ".*", "definition": {"max-length": 1}}),
        ("POST", ("definitions",), {"users": []}),
        ("GET", ("definitions",), {}),
        ("GET", ("users",), {}),
    ]
    if actor is not Actor.WORKER:
        everything += [
            ("POST", ("queues", vhost.name, dead, "get"), {"count": 1, "ackmode": "ack_requeue_true",
                                                            "encoding": "auto"}),
            ("DELETE", ("queues", vhost.name, dead), {}),
        ]  # fmt: skip
    async with administrator(as_user(vhost.management_url, mine)) as theirs:
        may_look = actor in (Actor.WORKER, Actor.CONSOLE)
        assert await theirs.status("GET", "queues", vhost.name, dead) == (200 if may_look else 401)
        answers = [await theirs.status(method, *path, **body) for method, path, body in everything]

    assert all(status >= 400 for status in answers), answers
    assert (await vhost.admin.get("whoami"))["tags"]
    assert (await vhost.admin.get("users", mine))["tags"] in (
        [["monitoring"], "monitoring"] if may_look else [[], ""]
    )
