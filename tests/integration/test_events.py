"""Events tell what happens to a request: all of it that is on record, in order, at least once."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelNotFoundEntity
from jsonschema_rs import Draft202012Validator
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    eventually,
    good_request,
    metric_becomes,
)

from schemas import CreateSessionRequest, EventKind, RequestEvent
from worker.client import Client, EventsOff
from worker.handlers import Context, Rejected, RetryLater
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.database import Database
from worker.process.failpoint import FailPoint
from worker.rabbitmq import topology
from worker.rabbitmq.connection import Broker
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.writing import Outgoing
from worker.services import announcing
from worker.settings import Settings
from worker.values import Receipt

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas" / "json" / "request-event.schema.json").read_text())
)
TELL = "select set_config('session_worker.events', 'on', false)"
BEGIN = """
insert into requests (request_id, fingerprint, body, session_id, status, attempt, lease, started_at)
values ($1, '', '{}', 'ts_1', 'processing', 1, 7, now())
"""
END = "update requests set status = 'completed', response = '{}', finished_at = now() where request_id = $1"


class Heard:
    """A queue of somebody's own that is bound to the exchange of events."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.messages: list[AbstractIncomingMessage] = []
        self._more = asyncio.Event()

    async def listen(self, exchange: str, key: str = "#") -> None:
        made = await self._channel.declare_exchange(exchange, "topic", durable=True)
        queue = await self._channel.declare_queue(exclusive=True)
        await queue.bind(made, key)
        await queue.consume(self._hear, no_ack=True)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        SCHEMA.validate(json.loads(message.body))
        self.messages.append(message)
        self._more.set()

    @property
    def events(self) -> list[RequestEvent]:
        return [RequestEvent.model_validate_json(message.body) for message in self.messages]

    async def until(self, number: int) -> list[RequestEvent]:
        async with asyncio.timeout(15):
            while len(self.messages) < number:
                self._more.clear()
                await self._more.wait()
        return self.events


def steps(events: Sequence[RequestEvent]) -> list[str]:
    return [f"{event.kind.value} {event.attempt}" for event in events]


async def watched(client: Client, request_id: UUID, entered: asyncio.Event) -> list[RequestEvent]:
    async with asyncio.timeout(15), client.watch(request_id) as events:
        entered.set()
        return [event async for event in events]


async def act(request: CreateSessionRequest, context: Context) -> Mapping[str, Any] | None:
    match request.payload.name, context.attempt:
        case "again", 1:
            raise RetryLater(0.05, "rooms are full")
        case "again", 2:
            raise RuntimeError("a secret of the handler's")
        case "never", _:
            raise Rejected("no such room")
    return None


async def test_the_life_of_requests_is_told_step_by_step(
    new_worker: NewWorker, client: Client, desk: Desk, db: asyncpg.Connection, settings: Settings
) -> None:
    worker = await new_worker(events=True, handler=steer(act), retry_base_seconds=0.05)
    heard = Heard(desk.channel)
    await heard.listen(names_for(settings.prefix).events)
    soon = datetime.now(UTC) + timedelta(seconds=0.4)
    soon = soon.replace(microsecond=soon.microsecond // 1000 * 1000)
    later = datetime.now(UTC) + timedelta(hours=1)
    ids = [uuid4() for _ in range(4)]
    entered = [asyncio.Event() for _ in ids]
    watching = [asyncio.create_task(watched(client, *one)) for one in zip(ids, entered, strict=True)]
    await asyncio.gather(*(one.wait() for one in entered))
    names = ["plain", "again", "never", "later"]
    for request_id, name, not_before in zip(ids, names, [None, soon, None, later], strict=True):
        await client.submit(
            request_id=request_id, org_id="org-1", payload={"name": name}, not_before=not_before
        )

    async def waits() -> bool:
        return bool(
            await db.fetchval("select waits_in is not null from requests where request_id = $1", ids[3])
        )

    await eventually(waits)
    await client.cancel(ids[3], reason="not wanted")
    plain, again, never, cancelled = await asyncio.gather(*watching)

    assert steps(plain) == ["accepted 0", "processing 1", "completed 1"]
    assert steps(again) == [
        "accepted 0", "waiting 0", "processing 1", "retrying 1", "processing 2", "retrying 2", "processing 3",
        "completed 3",
    ]  # fmt: skip
    assert steps(never) == ["accepted 0", "processing 1", "failed 1"]
    assert steps(cancelled) == ["accepted 0", "waiting 0", "cancelled 1"]

    waiting, put_off, raised = again[1], again[3], again[5]
    assert (waiting.reason, waiting.status, waiting.until) == ("not_before", "pending", soon)
    assert (put_off.reason, put_off.status) == ("rooms are full", "processing")
    assert put_off.until is not None
    assert put_off.until > put_off.occurred_at
    assert raised.reason == "the handler raised RuntimeError"
    assert (never[-1].code, never[-1].reason, never[-1].status) == ("rejected", "no such room", "failed")
    assert (cancelled[-1].code, cancelled[-1].reason) == ("cancelled", "cancelled: not wanted")

    # Whoever watches all of it hears the same; each event says of which request it is, in its properties too.
    everything = await heard.until(sum(map(len, (plain, again, never, cancelled))))
    assert sorted(everything, key=lambda one: one.number) == sorted(
        [*plain, *again, *never, *cancelled], key=lambda one: one.number
    )
    assert {event.org_id for event in everything} == {"org-1"}
    for message, event in zip(heard.messages, everything, strict=True):
        assert message.routing_key == f"{event.kind.value}.{event.request_id}"
        assert message.message_id == f"{event.request_id}.{event.number}"
        assert (message.type, message.correlation_id) == ("RequestEvent", str(event.request_id))
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert b"a secret of the handler's" not in b"".join(message.body for message in heard.messages)
    # They are told as the history has them.
    history = await db.fetch("select status, attempt from request_transitions where request_id = $1", ids[1])
    assert {(row["status"], row["attempt"]) for row in history} == {
        ("pending", 0), ("processing", 1), ("processing", 2), ("processing", 3), ("completed", 3)
    }  # fmt: skip
    await metric_becomes(len(everything), worker, "worker_events_total", result="confirmed")
    await metric_becomes(0, worker, "worker_events_lag_seconds")
    assert await db.fetchval("select count(*) from unsent_events") == 0


async def test_where_nobody_wants_events_nothing_is_done_for_them(
    new_worker: NewWorker, desk: Desk, client: Client, db: asyncpg.Connection, settings: Settings
) -> None:
    await new_worker()

    await desk.ask(good_request())

    written = "select n_tup_ins + n_tup_del + seq_scan + idx_scan from pg_stat_user_tables where relname = $1"
    await db.execute("select pg_stat_force_next_flush()")
    assert await db.fetchval(written, "unsent_events") == 0
    assert not await db.fetchval("select is_called from event_numbers")
    assert await db.fetchval("select count(*) from requests where finished_at is not null") == 1
    with pytest.raises(EventsOff, match="WORKER_EVENTS"):
        await client.watch(uuid4()).__aenter__()
    connection = await aio_pika.connect(settings.amqp_url.get_secret_value())
    async with connection:
        with pytest.raises(ChannelNotFoundEntity):
            await (await connection.channel()).get_exchange(names_for(settings.prefix).events, ensure=True)


class Teller:
    """A worker's part that sends events, without the worker."""

    def __init__(self, settings: Settings, opened: Database) -> None:
        self.names = names_for(settings.prefix)
        self.metrics = Metrics()
        self._opened = opened
        self._broker = Broker(settings.amqp_url.get_secret_value(), None, "events")
        self._own = Readiness((announcing.PART,))
        self._postgres = Readiness((database.PART,))
        self._postgres.up(database.PART)
        self._publisher = Publisher(self._own, 5, FailPoint(""), announcing.PART)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        return await self._publisher.publish(messages)

    async def run(self, publish: Callable[[Sequence[Outgoing]], Awaitable[list[Receipt]]]) -> None:
        """Send events with this, until it fails."""
        connection = await self._broker.connect()
        try:
            await topology.declare_events(connection, self.names)
            serving = asyncio.create_task(self._publisher.serve(connection))
            await self._own.until_up()
            telling = announcing.Announcing(
                self._opened, publish, self.names.events, self._postgres, self._own, self.metrics, keep_days=1
            )
            try:
                await telling.run_once()
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        finally:
            await connection.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run(self.publish))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Crash(BaseException):
    """The end of a worker."""


async def test_a_crash_between_broker_and_record_tells_again_in_order_and_a_late_commit_is_told(
    settings: Settings, opened: Database, desk: Desk, db: asyncpg.Connection
) -> None:
    teller, heard = Teller(settings, opened), Heard(desk.channel)
    await heard.listen(teller.names.events)
    await db.execute(TELL)
    first, second, late = uuid4(), uuid4(), uuid4()
    await db.execute(BEGIN, first)
    other = await asyncpg.connect(settings.database_url.get_secret_value())
    await other.execute(TELL)
    open_one = other.transaction()
    await open_one.start()
    await other.execute(BEGIN, late)  # has lower numbers than all that follows, and nobody sees it yet
    await db.execute(BEGIN, second)

    async def publish_and_die(messages: Sequence[Outgoing]) -> list[Receipt]:
        await teller.publish(messages)
        raise Crash

    with pytest.raises(Crash):
        await teller.run(publish_and_die)
    before = await heard.until(4)
    await db.execute(END, first)
    async with teller.running():
        again = (await heard.until(9))[4:]
        assert steps(before) == 2 * ["accepted 0", "processing 1"]
        assert again[:4] == before
        assert (again[4].request_id, again[4].kind) == (first, EventKind.COMPLETED)

        await open_one.commit()
        await db.execute(END, late)
        rest = (await heard.until(12))[9:]
    await other.close()

    assert steps(rest) == ["accepted 0", "processing 1", "completed 1"]
    assert {event.request_id for event in rest} == {late}
    assert rest[0].number < max(event.number for event in before), "it was committed late"
    numbers = [event.number for event in rest]
    assert numbers == sorted(numbers)
    assert await db.fetchval("select count(*) from unsent_events") == 0
