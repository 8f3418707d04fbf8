"""Events tell what happens to a request: all of it that is on record, in order, at least once."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
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
from structlog.testing import capture_logs
from support.faults.proxy import proxy_to
from support.handlers import steer
from support.harness import Desk, NewWorker, delete_topology, eventually, good_request, metric_becomes

from schemas import CreateSessionRequest, EventKind, RequestEvent, RequestStatus
from worker.client import Client, ClientClosed, EventsMissed, EventsOff
from worker.handlers import Context, Rejected, RetryLater
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.database import Database
from worker.postgres.installation import own_schema
from worker.postgres.migrate import migrate
from worker.process.failpoint import FailPoint
from worker.rabbitmq import topology
from worker.rabbitmq.connection import Broker
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.topology import events_of
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

    async def listen(self, exchange: str, *, passive: bool = False) -> None:
        made = await self._channel.declare_exchange(exchange, "topic", durable=True, passive=passive)
        queue = await self._channel.declare_queue(exclusive=True)
        await queue.bind(made, "#")
        await queue.consume(self._hear, no_ack=True)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        SCHEMA.validate(json.loads(message.body))
        self.messages.append(message)
        self._more.set()

    @property
    def events(self) -> list[RequestEvent]:
        return [RequestEvent.model_validate_json(message.body) for message in self.messages]

    async def until(self, number: int) -> list[RequestEvent]:
        async with asyncio.timeout(60):
            while len(self.messages) < number:
                self._more.clear()
                await self._more.wait()
        return self.events


def steps(events: Sequence[RequestEvent]) -> list[str]:
    return [f"{event.kind.value} {event.attempt}" for event in events]


async def watched(client: Client, request_id: UUID, entered: asyncio.Event) -> list[RequestEvent]:
    async with asyncio.timeout(60), client.watch(request_id) as events:
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
    exchange = events_of(settings.prefix).name
    await heard.listen(exchange)
    ids = [uuid4() for _ in range(4)]
    entered = [asyncio.Event() for _ in ids]
    watching = [asyncio.create_task(watched(client, *one)) for one in zip(ids, entered, strict=True)]
    await asyncio.gather(*(one.wait() for one in entered))
    soon = datetime.now(UTC) + timedelta(seconds=3)  # long enough for a machine with much to do
    soon = soon.replace(microsecond=soon.microsecond // 1000 * 1000)
    later = datetime.now(UTC) + timedelta(hours=1)
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

    # Somebody deletes the exchange: requests go on, and it is declared again.
    await desk.channel.exchange_delete(exchange)
    with capture_logs() as logged:
        assert (await client.create_session(org_id="org-1")).status == RequestStatus.COMPLETED

        async def sent() -> bool:
            return not await db.fetchval("select count(*) from unsent_events")

        await eventually(sent)
    assert {("broker.lost", "events"), ("publish.interrupted", "events")} <= {
        (event["event"], event.get("part")) for event in logged
    }
    await heard.listen(exchange, passive=True)


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
            await (await connection.channel()).get_exchange(events_of(settings.prefix).name, ensure=True)


class Crash(BaseException):
    """The end of a worker."""


class Teller:
    """The part of a worker that sends events, without the worker."""

    def __init__(self, settings: Settings, opened: Database) -> None:
        self.exchange = events_of(settings.prefix)
        self.dies = False
        """With the next events, once the broker has them."""
        self._broker = Broker(settings.amqp_url.get_secret_value(), None, "events")
        self._own, postgres = Readiness((announcing.PART,)), Readiness((database.PART,))
        postgres.up(database.PART)
        self._publisher = Publisher(self._own, 5, FailPoint(""), announcing.PART)
        self.telling = announcing.Announcing(
            opened, self.publish, self.exchange.name, postgres, self._own, Metrics(), keep_days=1
        )

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        receipts = await self._publisher.publish(messages)
        if self.dies:
            raise Crash
        return receipts

    async def run(self) -> None:
        """Sends events until it fails."""
        connection = await self._broker.connect()
        try:
            await topology.declare(connection, self.exchange)
            serving = asyncio.create_task(self._publisher.serve(connection))
            try:
                await self._own.until_up()
                await self.telling.run_once()
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        finally:
            await connection.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_crash_between_broker_and_record_tells_again_in_order_and_a_late_commit_is_told(
    settings: Settings, opened: Database, desk: Desk, db: asyncpg.Connection
) -> None:
    teller, heard = Teller(settings, opened), Heard(desk.channel)
    await heard.listen(teller.exchange.name)
    await db.execute(TELL)
    first, second, late = uuid4(), uuid4(), uuid4()
    await db.execute(BEGIN, first)
    other = await asyncpg.connect(settings.database_url.get_secret_value())
    await other.execute(TELL)
    open_one = other.transaction()
    await open_one.start()
    await other.execute(BEGIN, late)  # has lower numbers than all that follows, and nobody sees it yet
    await db.execute(BEGIN, second)

    teller.dies = True
    with pytest.raises(Crash):
        await teller.run()
    before = await heard.until(4)
    teller.dies = False
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

    # What could not be sent for as long as requests are kept is forgotten.
    await db.execute("delete from unsent_events")
    await db.execute(BEGIN, uuid4())
    await db.execute("update unsent_events set at = now() - interval '2 days'")
    await db.execute(BEGIN, uuid4())
    with capture_logs() as logged:
        await teller.telling.forget()
    assert [event["events"] for event in logged if event["event"] == "events.forgotten"] == [2]
    assert await db.fetchval("select count(*) from unsent_events") == 1


async def test_two_installations_of_a_database_tell_each_its_own(
    settings: Settings, opened: Database, desk: Desk, db: asyncpg.Connection
) -> None:
    second = f"{settings.prefix}-2"
    url = settings.database_url.get_secret_value()
    await migrate(url, prefix=second, own=True)
    theirs = Database(url, 1, None, Readiness((database.PART,)), tells_events=True)
    await theirs.open(own_schema(second))
    tellers = [Teller(settings, opened), Teller(settings.model_copy(update={"prefix": second}), theirs)]
    heard = [Heard(desk.channel), Heard(desk.channel)]
    ids = uuid4(), uuid4()
    try:
        for one, teller in zip(heard, tellers, strict=True):
            await one.listen(teller.exchange.name)
        async with tellers[0].running(), tellers[1].running(), theirs.apart() as connection:
            await db.execute(TELL)
            await db.execute(BEGIN, ids[0])
            await connection.execute(BEGIN, ids[1])
            found = await asyncio.gather(*(one.until(2) for one in heard))
    finally:
        await theirs.close()
        await delete_topology(settings.amqp_url.get_secret_value(), second)

    for request_id, events in zip(ids, found, strict=True):
        assert [event.request_id for event in events] == [request_id, request_id]


async def test_a_watch_outlasts_a_lost_connection_and_says_when_it_may_have_missed_something(
    settings: Settings, desk: Desk
) -> None:
    exchange = await desk.channel.declare_exchange(events_of(settings.prefix).name, "topic", durable=True)
    request_id = uuid4()

    async def tell(kind: EventKind, number: int, /, **more: Any) -> None:
        event = RequestEvent(
            request_id=request_id, kind=kind, status=RequestStatus.PROCESSING, attempt=1, number=number,
            occurred_at=datetime.now(UTC),
        )  # fmt: skip
        body = json.dumps(json.loads(event.model_dump_json()) | more).encode()
        await exchange.publish(aio_pika.Message(body), f"{kind.value}.{request_id}", mandatory=True)

    async with proxy_to(settings.amqp_url.get_secret_value()) as (proxy, url), asyncio.timeout(60):
        async with Client(url, settings.prefix) as client:
            async with client.watch(request_id) as events:
                await tell(EventKind.ACCEPTED, 1)
                assert (await anext(events)).kind == EventKind.ACCEPTED
                assert proxy.cut(refuse=True) == 1, "all watches of a client have one connection"
                await tell(EventKind.ACCEPTED, 1)
                await tell(EventKind.PROCESSING, 3, kind="of a newer worker")
                await tell(EventKind.PROCESSING, 4, more="of a newer worker")
                proxy.heal()
                assert (await anext(events)).number == 4
                await tell(EventKind.FAILED, 5)
                assert [event.kind async for event in events] == [EventKind.FAILED]
            async with client.watch(request_id) as first, client.watch(request_id) as events:
                await first.close()  # the other one goes on
                await tell(EventKind.RETRYING, 7)
                assert (await anext(events)).number == 7
                proxy.cut(refuse=True)
                await desk.channel.queue_delete(client._watches._queue)
                proxy.heal()
                with pytest.raises(EventsMissed, match="may have been missed"):
                    await anext(events)
            async with client.watch(request_id) as events:  # and all is well again
                await tell(EventKind.COMPLETED, 8)
                assert [event.number async for event in events] == [8]
            left = client.watch(uuid4())
            await left.__aenter__()
            queue = client._watches._queue
        with pytest.raises(ClientClosed):
            await anext(left)
    with pytest.raises(ChannelNotFoundEntity):
        await desk.channel.get_queue(queue)
