"""Producers and a subscriber that note what the broker confirmed, and every copy that came back."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError
from linear.recorder import Recorder
from linear.specification import Asked

from worker.operations.promises import Received
from worker.rabbitmq.connection import split_hosts
from worker.rabbitmq.topology import names_for

BROKER_ERRORS = (AMQPError, OSError, TimeoutError, RuntimeError)
CASEFILE = "cf_260101_a"
_CONFIRM_SECONDS = 10


class Books:
    """Notes what a producer was promised, and what a subscriber got."""

    def __init__(self) -> None:
        self.confirmed: list[UUID] = []
        self.received: list[Received] = []
        self.answered: set[str] = set()
        self.history = Recorder()
        self.acknowledging = asyncio.Event()  # cleared, the subscriber keeps what it is given in its hand
        self.acknowledging.set()
        self._open: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def open(self) -> int:
        """Counts requests that are confirmed and not answered yet: work in flight."""
        return len(self._open)

    def confirm(self, request_id: UUID) -> None:
        self.confirmed.append(request_id)
        if str(request_id) not in self.answered:
            self._open.add(str(request_id))
        self.wake()

    def receive(self, message_id: str, body: bytes) -> None:
        self.history.receive(message_id, body)
        self.received.append(Received(message_id, body))
        self.answered.add(message_id)
        self._open.discard(message_id)
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"not {what} within {seconds} s: "
                f"{len(self.confirmed)} confirmed, {len(self.answered)} answered"
            ) from None

    async def until_answered(self, count: int, seconds: float, what: str) -> None:
        await self.until(lambda: len(self.answered) >= count, seconds, what)

    async def until_all_answered(self, seconds: float) -> None:
        await self.until(lambda: self.open <= 0, seconds, "all answered")


class Hosts:
    """Connects to the hosts of a cluster in turn."""

    def __init__(self, amqp_url: str) -> None:
        self._urls = itertools.cycle(url.update_query({"heartbeat": "5"}) for url in split_hosts(amqp_url))

    async def connect(self) -> AbstractConnection:
        connection = aio_pika.Connection(next(self._urls))
        try:
            await connection.connect(timeout=5)
        except BaseException:
            await connection.close()  # left to the garbage collector, it would want a loop that runs
            raise
        return connection


class Producers:
    """Sends requests, with so many unanswered at most. A publish that was not confirmed is sent again with
    the same id: the producer's half of the promise."""

    def __init__(self, amqp_url: str, prefix: str, books: Books, open_at_most: int) -> None:
        self.per_second: float | None = None  # None: as fast as it goes
        self.headers_for: Callable[[UUID], dict[str, str]] = lambda _: {}
        self.new_id: Callable[[], UUID] = uuid4
        self.on_send: Callable[[UUID], None] = lambda _: None
        self._hosts = Hosts(amqp_url)
        self._exchange = names_for(prefix).requests
        self._books = books
        self._open_at_most = open_at_most
        self._sent_and_confirmed: set[UUID] = set()

    @property
    def confirmed(self) -> int:
        """Counts the requests of this one that were confirmed."""
        return len(self._sent_and_confirmed)

    async def send(self, count: int, make: Callable[[UUID], dict[str, object]] | None = None) -> None:
        left = [self.new_id() for _ in range(count)]
        while left:
            with suppress(*BROKER_ERRORS):
                connection = await self._hosts.connect()
                async with connection:
                    channel = await connection.channel()
                    underlay = await channel.get_underlay_channel()
                    while left:
                        await self._books.until(
                            lambda: self._books.open < self._open_at_most,
                            600,
                            "answered so that more can be sent",
                        )
                        window = left[-50:]
                        await asyncio.gather(*(self._publish(underlay, one, make) for one in window))
                        del left[-len(window) :]
                        if self.per_second:
                            await asyncio.sleep(len(window) / self.per_second)
            if left:
                await asyncio.sleep(0.2)  # the broker is away: try it again

    async def _publish(
        self, channel: object, request_id: UUID, make: Callable[[UUID], dict[str, object]] | None
    ) -> None:
        if request_id in self._sent_and_confirmed:
            return
        self.on_send(request_id)
        body = json.dumps(make(request_id) if make else request_for(request_id)).encode()
        with self._books.history.sending(request_id, Asked(CASEFILE)):
            await publish(
                channel,
                body,
                self._exchange,
                "create",
                message_id=str(request_id),
                correlation_id=str(request_id),
                headers=dict(self.headers_for(request_id)),
            )
        self._sent_and_confirmed.add(request_id)
        self._books.confirm(request_id)


async def keep_sending(producers: Producers, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await producers.send(100)


async def publish(channel: object, body: bytes, exchange: str, key: str, **properties: Any) -> None:
    """Publishes a message, and returns when the broker has confirmed it."""
    persistent = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)
    async with asyncio.timeout(_CONFIRM_SECONDS):
        await channel.basic_publish(  # type: ignore[attr-defined]
            body, exchange=exchange, routing_key=key, mandatory=True, properties=persistent.properties
        )


def request_for(request_id: UUID, casefile: str = CASEFILE) -> dict[str, object]:
    return {
        "request_id": str(request_id),
        "org_id": f"org-{request_id.int % 7}",
        "operation": "create_session",
        "payload": {"name": "under fire", "expiration_seconds": 3600, "casefile_id": casefile},
    }


def named(name: str) -> Callable[[UUID], dict[str, object]]:
    """Makes requests with this name, by which a handler of the tests knows what to do."""
    return lambda request_id: request_for(request_id) | {"payload": {"name": name}}


def waiting_for(gate: Path) -> Callable[[UUID], dict[str, object]]:
    """Makes requests whose handler waits until this file is there."""
    return named(str(gate))


async def subscribe(amqp_url: str, queue: str, books: Books) -> None:
    """Take every copy of every response in a queue, for ever, through every loss of the broker."""
    hosts = Hosts(amqp_url)
    while True:
        with suppress(*BROKER_ERRORS):
            connection = await hosts.connect()
            async with connection:
                channel = await connection.channel()
                await _consume(channel, queue, books)
        await asyncio.sleep(0.2)


async def _consume(channel: AbstractChannel, queue: str, books: Books) -> None:
    underlay = await channel.get_underlay_channel()

    async def take(message: DeliveredMessage) -> None:
        books.receive(message.header.properties.message_id or "", message.body)
        await books.acknowledging.wait()
        with suppress(*BROKER_ERRORS):
            await underlay.basic_ack(message.delivery_tag or 0, wait=False)

    lost = asyncio.get_running_loop().create_future()

    def cancelled(_: object) -> None:
        if not lost.done():
            lost.set_result(None)

    underlay.on_consumer_cancel_callbacks.add(cancelled)
    await underlay.basic_qos(prefetch_count=500)
    await underlay.basic_consume(queue, take)
    await asyncio.wait([asyncio.ensure_future(underlay.closing), lost], return_when=asyncio.FIRST_COMPLETED)


@asynccontextmanager
async def keeping_books(amqp_url: str, prefix: str) -> AsyncIterator[Books]:
    """Runs a subscriber while this is open, and yields its books."""
    books = Books()
    listening = asyncio.create_task(subscribe(amqp_url, names_for(prefix).responses, books))
    try:
        yield books
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError, *BROKER_ERRORS):
            await listening
