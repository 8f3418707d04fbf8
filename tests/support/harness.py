"""Runs workers in this process; a desk sends requests to them and receives their responses."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

import aio_pika
import aiohttp
import asyncpg
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from jsonschema_rs import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from schemas import CreateSessionResponse
from worker.rabbitmq import topology
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.testing.running import RunningWorker, start_worker

ANSWER_SECONDS = 60.0  # ends a test that hangs, and promises nothing: machines may be slow and busy
_SCHEMAS = Path(__file__).parents[2] / "schemas" / "json"
_STRICT = Draft202012Validator(
    json.loads((_SCHEMAS / "create-session-response.strict.schema.json").read_text())
)
_LOOK_AGAIN_SECONDS = 0.02
T = TypeVar("T")


def good_request(request_id: UUID | None = None, /, **payload: Any) -> dict[str, Any]:
    """Returns a request as a producer would write it."""
    return {
        "request_id": str(request_id or uuid4()),
        "org_id": "org-1",
        "operation": "create_session",
        "payload": payload or {"name": "Support chat", "expiration_seconds": 3600},
        "timestamp": "2026-01-02T03:04:05Z",
    }


NewWorker = Callable[..., Coroutine[None, None, RunningWorker]]


@asynccontextmanager
async def run_in_process(settings: Settings) -> AsyncIterator[NewWorker]:
    workers: list[RunningWorker] = []

    async def start(*, until_ready: bool = True, **changes: Any) -> RunningWorker:
        running = await start_worker(settings.model_copy(update=changes))
        workers.append(running)
        if until_ready:
            await running.until_ready()
        return running

    try:
        yield start
    finally:
        for running in workers:
            running.stop_event.set()
        await asyncio.gather(*(running.task for running in workers), return_exceptions=True)


@dataclass
class Desk:
    """Sends requests and receives what comes back."""

    channel: AbstractChannel
    prefix: str
    reply_to: str
    arrived: "asyncio.Queue[AbstractIncomingMessage]" = field(default_factory=asyncio.Queue)
    _returned: set[str | None] = field(default_factory=set)

    async def send(
        self,
        body: dict[str, Any] | bytes | str,
        *,
        reply_to: str | None = "mine",
        routing_key: str = "create",
        **properties: Any,
    ) -> None:
        """Publish to the request queue, confirmed. Properties are those of an aio_pika message."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        raw = raw.encode() if isinstance(raw, str) else raw
        exchange = await self.channel.get_exchange(names_for(self.prefix).requests, ensure=False)
        await exchange.publish(
            aio_pika.Message(
                raw,
                reply_to=self.reply_to if reply_to == "mine" else reply_to,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                **properties,
            ),
            routing_key=routing_key,
            mandatory=True,
        )

    async def next(self) -> AbstractIncomingMessage:
        """Returns the next response that arrives."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self.arrived.get()

    async def ask(self, body: dict[str, Any] | bytes | str, **properties: Any) -> CreateSessionResponse:
        """Send, and return the next response."""
        await self.send(body, **properties)
        return response_in(await self.next())

    async def answers_to(self, request_ids: Iterable[str]) -> dict[str, CreateSessionResponse]:
        """Receives until each of these requests has a response, and returns the first of each. Copies, and
        responses to other requests, may come in between.
        """
        left = set(request_ids)
        answers: dict[str, CreateSessionResponse] = {}
        while left:
            response = response_in(await self.next())
            if (request_id := str(response.request_id)) in left:
                left.remove(request_id)
                answers[request_id] = response
        return answers

    async def different(
        self, number: int, hear: Callable[[AbstractIncomingMessage], object] = lambda _: None
    ) -> list[AbstractIncomingMessage]:
        """Receives so many responses, beside copies of them and of those that it has returned before.
        `hear` is called with each message, also with the copies.
        """
        found: list[AbstractIncomingMessage] = []
        while len(found) < number:
            message = await self.next()
            hear(message)
            if message.message_id not in self._returned:
                self._returned.add(message.message_id)
                found.append(message)
        return found

    async def take_from(self, queue: str) -> AbstractIncomingMessage:
        """Takes the next message from a queue and acknowledges it."""
        source = await self.channel.get_queue(queue, ensure=False)

        async def look() -> AbstractIncomingMessage | None:
            return await source.get(no_ack=True, fail=False)

        return await eventually(look)

    async def count(self, queue: str) -> int:
        """Counts the messages that lie ready in a queue."""
        ready, _ = await ready_and_readers(self.channel, queue)
        return ready

    async def until_there_are(self, count: int, queue: str) -> None:
        """Waits until so many messages lie ready: a queue counts one a moment after it has confirmed it."""

        async def there_are() -> bool:
            return await self.count(queue) == count

        await eventually(there_are)


async def ready_and_readers(channel: AbstractChannel, queue: str) -> tuple[int, int]:
    """Counts the messages that lie ready in a queue, and those who read it."""
    found = (await channel.declare_queue(queue, passive=True)).declaration_result
    return found.message_count or 0, found.consumer_count or 0


@asynccontextmanager
async def open_desk(amqp_url: str, prefix: str) -> AsyncIterator[Desk]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(on_return_raises=True)
        queue = await channel.declare_queue(exclusive=True)
        desk = Desk(channel, prefix, queue.name)
        await queue.consume(desk.arrived.put, no_ack=True)
        yield desk


async def declared_counts(desk: Desk) -> dict[str, int]:
    """Counts the messages that lie ready in the queues of requests, undelivered messages and dead letters."""
    names = names_for(desk.prefix)
    return {name: await desk.count(getattr(names, name)) for name in ("requests", "undelivered", "dead")}


def response_in(message: AbstractIncomingMessage) -> CreateSessionResponse:
    """Returns the response in a message, checked against the strict schema: the given one asks for little."""
    _STRICT.validate(json.loads(message.body))
    return CreateSessionResponse.model_validate_json(message.body)


async def eventually(look: Callable[[], Awaitable[T | None]], seconds: float = ANSWER_SECONDS) -> T:
    """Calls `look` again and again until it finds something, and returns that; for what sends no signal."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 — what another program does sets no event here
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return found


async def told(events: list[Any], event: str, count: int) -> Any:
    """Waits until there are so many of these events, and returns the first one."""

    async def look() -> Any:
        found = [one for one in events if one["event"] == event]
        return found[0] if len(found) >= count else None

    return await eventually(look)


async def row_of(db: asyncpg.Connection, request_id: UUID | str) -> dict[str, Any]:
    """Returns the one row of a request, with when its response was published: its batch may say that."""
    rows = await db.fetch(
        "select r.*, l.published_at as published_by_now from requests r join listed_requests l"
        " using (request_id) where request_id = $1",
        UUID(str(request_id)),
    )
    assert len(rows) == 1, f"{len(rows)} rows for {request_id}"
    row = dict(rows[0])
    return row | {"published_at": row.pop("published_by_now")}


class ShowsPages(Protocol):
    """A worker, in this process or in one of its own."""

    @property
    def http_port(self) -> int: ...


async def http_get(worker: ShowsPages, path: str) -> tuple[int, str]:
    """Returns the status and the body of a page of the worker."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{worker.http_port}{path}") as response,
    ):
        return response.status, await response.text()


async def metric_of(worker: ShowsPages, name: str, **labels: str) -> float | None:
    """Returns one value from the worker's metrics; None when there is no such series."""
    _, text = await http_get(worker, "/metrics")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def with_limit(designed: topology.Topology, limit: int) -> topology.Topology:
    """Returns the topology with delivery limits, as an earlier version declared it."""
    queues = tuple(
        queue._replace(arguments={**queue.arguments, "x-delivery-limit": limit})
        for queue in designed.queues
        if queue.name != designed.names.dead
    )
    return designed._replace(queues=(*queues, designed.queues[-1]))


async def metric_becomes(value: float, worker: ShowsPages, name: str, **labels: str) -> None:
    """Waits until the worker's metric has this value: a response may arrive before it is counted."""

    async def look() -> bool:
        return await metric_of(worker, name, **labels) == value

    await eventually(look)


async def declare_topology(settings: Settings, delivery_limit: int | None = None) -> None:
    """Declares what a worker declares at its start, so that requests can be there before the worker."""
    from_policy = settings.queue_limits == "policy"
    designed = topology.design(settings.prefix, limits_from_policy=from_policy)
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        await topology.apply(connection, with_limit(designed, delivery_limit) if delivery_limit else designed)


async def delete_topology(amqp_url: str, prefix: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        await topology.remove(connection, topology.design(prefix, limits_from_policy=False, spread=4))
