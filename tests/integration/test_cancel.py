"""A request is cancelled before it comes, while it is worked on, while it waits, and too late."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    metric_becomes,
    response_in,
    row_of,
)

from schemas import CreateSessionRequest, CreateSessionResponse, FailureCode
from worker.client import Client, Request, RequestTimedOut, SessionFailed, request_id_for
from worker.handlers import Context, RetryLater
from worker.messages.heaviness import HEAVY_BYTES
from worker.monitoring import log
from worker.operations.promises import Received, verify
from worker.rabbitmq.topology import names_for
from worker.settings import Settings


class Handler:
    """A handler that stays in its call until a test lets it go."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.go_on = asyncio.Event()
        self.over = asyncio.Event()

    async def __call__(self, _request: CreateSessionRequest, _context: Context) -> None:
        self.called.set()
        await self.go_on.wait()
        self.over.set()


async def send_cancel(desk: Desk, body: dict[str, Any] | bytes, **properties: Any) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
    await exchange.publish(
        aio_pika.Message(raw, **{"reply_to": desk.reply_to, **properties}),
        routing_key="cancel",
        mandatory=True,
    )


async def none_left(db: asyncpg.Connection) -> bool:
    return bool(
        await db.fetchval("select not exists (select from listed_requests where published_at is null)")
    )


async def violations(
    settings: Settings, sent: UUID | str, copies: list[AbstractIncomingMessage]
) -> list[Any]:
    received = [Received(copy.message_id or "", copy.body) for copy in copies]
    return list(await verify(settings.database_url.get_secret_value(), [UUID(str(sent))], received))


async def test_during_a_handler_s_call(
    new_worker: NewWorker, desk: Desk, client: Client, db: asyncpg.Connection, settings: Settings
) -> None:
    handler = Handler()
    log.configure(settings.model_copy(update={"log_level": "info"}))
    worker = await new_worker(handler=steer(handler.__call__))
    request = good_request(None, name="Call", casefile_id="cf_260102_a1")
    await desk.send(request, correlation_id="mine")
    await handler.called.wait()

    with capture_logs() as events:
        ending = await client.cancel(UUID(request["request_id"]), reason="the customer hung up")
    told = await desk.next()
    handler.go_on.set()
    await handler.over.wait()
    copy = await desk.next()  # the owner finds its request ended, and says so once more

    assert ending.cancelled
    assert (ending.response.status, ending.response.metadata) == ("failed", {"code": "cancelled"})
    assert ending.response.error == "cancelled: the customer hung up"
    assert ending.response.payload.casefile_id == "cf_260102_a1"
    assert response_in(told) == ending.response
    assert (told.correlation_id, told.message_id) == ("mine", request["request_id"])
    assert (copy.body, copy.message_id) == (told.body, told.message_id)
    assert [event for event in events if event["event"] == "request.failed"] == [
        {
            "event": "request.failed",
            "log_level": "info",
            "request_id": request["request_id"],
            "attempt": 1,
            "org_id": "org-1",
            "code": "cancelled",
            "took_ms": None,  # nobody began it for its cancellation
            "waited_ms": None,
            "path": "direct",
        }
    ]
    await metric_becomes(1, worker, "worker_requests_total", status="failed", code="cancelled")
    assert await db.fetchval("select count(*) from sessions") == 0
    await eventually(lambda: none_left(db))
    assert await violations(settings, request["request_id"], [told, copy]) == []


async def test_one_that_is_read_elsewhere_waits_for_no_call_of_the_handler(
    new_worker: NewWorker, desk: Desk
) -> None:
    handler = Handler()
    await new_worker(handler=steer(handler.__call__), handler_concurrency=1)
    request = good_request()
    await desk.send(request)
    await handler.called.wait()

    wish = {"request_id": request["request_id"], "operation": "cancel_session"}
    await send_cancel(desk, json.dumps(wish).encode() + b" " * HEAVY_BYTES)

    assert response_in(await desk.next()).metadata == {"code": "cancelled"}
    handler.go_on.set()


async def test_while_it_waits_for_a_retry(
    new_worker: NewWorker, desk: Desk, client: Client, db: asyncpg.Connection, settings: Settings
) -> None:
    calls = 0

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        nonlocal calls
        calls += 1
        raise RetryLater(3600, "not yet")  # the cancellation is first, however long it takes to come

    await new_worker(handler=steer(act))
    request = good_request()
    await desk.send(request)
    await eventually(lambda: db.fetchval("select true from requests where due_at is not null"))

    ending = await client.cancel(UUID(request["request_id"]))
    told = await desk.next()
    await eventually(lambda: db.fetchval("select not exists (select from requests where due_at is not null)"))
    await eventually(lambda: none_left(db))  # nothing is tried again

    assert ending.cancelled
    assert ending.response.error == "the request was cancelled"
    assert calls == 1
    assert desk.arrived.empty()
    assert await violations(settings, request["request_id"], [told]) == []


async def test_one_that_is_finished_stays_as_it_is(
    new_worker: NewWorker, desk: Desk, client: Client, db: asyncpg.Connection, settings: Settings
) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))
    await new_worker()
    request = good_request()
    response = await desk.ask(request)
    before = await eventually(lambda: _published(db, request["request_id"]))

    with capture_logs() as events:
        ending = await client.cancel(UUID(request["request_id"]))
        again = await client.cancel(UUID(request["request_id"]))

    assert not ending.cancelled
    assert ending.response == again.response == response
    assert await row_of(db, request["request_id"]) == before
    assert desk.arrived.empty()
    too_late = {
        "event": "cancel.too_late",
        "log_level": "info",
        "request_id": request["request_id"],
        "status": "completed",
    }
    assert [event for event in events if event["event"] == "cancel.too_late"] == [too_late] * 2


async def _published(db: asyncpg.Connection, request_id: str) -> dict[str, Any] | None:
    row = await row_of(db, request_id)
    return row if row["published_at"] else None


async def test_before_the_request_comes(
    new_worker: NewWorker, desk: Desk, client: Client, db: asyncpg.Connection, settings: Settings
) -> None:
    await new_worker()
    request = good_request()

    first = await client.cancel(UUID(request["request_id"]), reason="changed my mind")
    again = await client.cancel(UUID(request["request_id"]), reason="another reason")
    await desk.send(request)
    told = await desk.next()
    await desk.send({**request, "payload": {"name": 5}})
    invalid = await desk.next()

    assert first.cancelled
    assert first.response == again.response == response_in(told)
    assert (invalid.body, invalid.message_id) == (told.body, told.message_id)
    assert await db.fetchval("select count(*) from sessions") == 0
    assert await violations(settings, request["request_id"], [told, invalid]) == []


async def test_in_one_batch_with_its_request(
    new_worker: NewWorker, desk: Desk, settings: Settings, db: asyncpg.Connection
) -> None:
    await declare_topology(settings)
    for _ in range(20):
        request = good_request()
        await desk.send(request)
        cancel = {"request_id": request["request_id"], "operation": "cancel_session"}
        await desk.send(cancel, correlation_id="cancel")  # not on the cancels' own queue
    await new_worker()
    by_id: dict[UUID, list[CreateSessionResponse]] = {}
    while len(by_id) < 20 or any(len(copies) < 2 for copies in by_id.values()):
        response = response_in(await desk.next())
        by_id.setdefault(response.request_id, []).append(response)

    made = await db.fetchval("select count(*) from sessions")
    assert all(copy == copies[0] for copies in by_id.values() for copy in copies)
    assert made == sum(copies[0].status == "completed" for copies in by_id.values())
    assert made < 20, "the first may have been a batch of its own, the others were not"


async def test_by_key_and_by_who_asked(new_worker: NewWorker, client: Client) -> None:
    handler = Handler()
    await new_worker(handler=steer(handler.__call__))
    call = asyncio.create_task(client.create_session(org_id="org-1", key="order-17"))
    await handler.called.wait()

    ending = await client.cancel(key="order-17", org_id="org-1")

    assert ending.request_id == request_id_for("org-1", "order-17")
    with pytest.raises(SessionFailed) as raised:
        await call
    assert raised.value.code is FailureCode.CANCELLED
    handler.go_on.set()


async def test_one_that_nobody_began_yet(
    new_worker: NewWorker, client: Client, db: asyncpg.Connection
) -> None:
    """A row that someone put there by hand."""
    request_id = uuid4()
    await db.execute(
        "insert into requests (request_id, fingerprint, body, session_id, reply_to) "
        "values ($1, '', '{}', $2, 'nobody')",
        request_id, "ts_260102_aaaaaaaaaaaaa",
    )  # fmt: skip
    await new_worker()

    assert (await client.cancel(request_id)).cancelled
    history = await db.fetch("select status from request_transitions order by at, attempt")
    assert [row["status"] for row in history] == ["pending", "processing", "failed"]


async def test_the_answer_that_a_dead_worker_owes_is_given(
    new_worker: NewWorker, desk: Desk, client: Client, db: asyncpg.Connection
) -> None:
    """A worker died after it recorded the cancellation and before it published: the message comes again."""
    request_id = uuid4()
    await new_worker()
    await client.cancel(request_id)
    await eventually(lambda: _published(db, str(request_id)))
    await db.execute("set session_replication_role = replica")  # the guard keeps what is finished as it is
    await db.execute("update requests set published_at = null, reply_to = $1", desk.reply_to)
    await db.execute("delete from confirmed_leases")

    await client.cancel(request_id)

    assert response_in(await desk.next()).request_id == request_id
    await eventually(lambda: _published(db, str(request_id)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"reason": "x" * 501}, "reason"), ({"colour": 1}, "colour"), ({"reason": 5}, "reason")],
)
async def test_one_that_is_not_valid_changes_nothing(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, changes: dict[str, Any], field: str
) -> None:
    await new_worker()
    request = good_request()
    cancel = {"request_id": request["request_id"], "operation": "cancel_session", **changes}

    await send_cancel(desk, cancel)
    answer = response_in(await desk.next())
    await send_cancel(desk, b"{", type="CancelSessionRequest", correlation_id=request["request_id"])
    malformed = response_in(await desk.next())

    assert answer.metadata["code"] == malformed.metadata["code"] == "invalid_request"
    assert answer.metadata["errors"][0]["field"] == field
    assert (answer.error or "").startswith("nothing was cancelled")
    assert await db.fetchval("select count(*) from requests") == 0
    assert (await desk.ask(request)).status == "completed"


async def test_one_that_nobody_can_be_told_of_is_a_dead_letter(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()

    await send_cancel(
        desk, {"request_id": str(uuid4()), "operation": "cancel_session", "colour": 1}, reply_to=None
    )
    dead = await desk.take_from(names_for(desk.prefix).dead)

    assert "it names no reply queue" in str(dead.headers["x-reason"])


async def test_no_worker_in_time(client: Client, settings: Settings, new_worker: NewWorker) -> None:
    await declare_topology(settings)
    request_id = uuid4()
    with pytest.raises(RequestTimedOut):
        await client.cancel(request_id, timeout=0.2)

    await new_worker()

    assert (await client.cancel(request_id)).cancelled, "and the first one was carried out too"
    with pytest.raises(SessionFailed, match="cancelled"):
        await client.create_session(org_id="o", request_id=request_id)


async def test_what_is_said_wrong_is_told_at_once(client: Client) -> None:
    with pytest.raises(ValueError, match="give a request_id"):
        await client.cancel()
    with pytest.raises(ValueError, match="give a request_id"):
        await client.cancel(key="order-17")
    with pytest.raises(ValueError, match="reason"):
        await client.cancel(uuid4(), reason="x" * 501)


async def test_many_cancel_what_many_workers_finish(
    new_worker: NewWorker, client: Client, settings: Settings, db: asyncpg.Connection
) -> None:
    """Whether a worker or a cancel is first, each request ends once, and everyone is told the same."""

    told_of_one = asyncio.Event()

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.session_id[-3] in "0123456789":  # so that some cancels come in time
            await told_of_one.wait()
        await asyncio.sleep(int(context.session_id[-1], 36) / 1000)
        if context.session_id[-2] in "0123456789":
            raise RetryLater(0.01) if context.attempt == 1 else ValueError

    for _ in range(2):
        await new_worker(handler=steer(act), retry_base_seconds=0.01, retry_cap_seconds=0.05, max_attempts=3)
    ids = [uuid4() for _ in range(300)]

    async def ask(request_id: UUID) -> str:
        try:
            response = await client.create_session(org_id="o", request_id=request_id)
        except SessionFailed as failed:
            response = failed.response
        return response.model_dump_json()

    async def cancel(request_id: UUID) -> str:
        ended = await client.cancel(request_id)
        told_of_one.set()
        return ended.response.model_dump_json()

    async def ask_and_cancel(request_id: UUID) -> list[str]:
        return await asyncio.gather(ask(request_id), *(cancel(request_id) for _ in range(3)))

    async with client.subscribe():
        told = await asyncio.gather(*map(ask_and_cancel, ids))

    assert all(copies == [copies[0]] * 4 for copies in told)
    asked = [copies[0] for copies in told]
    await eventually(lambda: none_left(db))
    received = [Received(str(request_id), body.encode()) for request_id, body in zip(ids, asked, strict=True)]
    assert await verify(settings.database_url.get_secret_value(), ids, received) == []
    ends = {row["end"]: row["count"] for row in await db.fetch(
        "select coalesce(error_code, status) as end, count(*) from requests group by 1"
    )}  # fmt: skip
    assert ends["cancelled"] > 0
    assert sum(ends.values()) == len(ids)
    assert await db.fetchval("select count(*) from sessions") == ends.get("completed", 0)


async def test_a_submitted_one_is_answered_where_all_are(new_worker: NewWorker, client: Client) -> None:
    handler = Handler()
    await new_worker(handler=steer(handler.__call__))
    request_id = await client.submit(Request(org_id="org-1"))
    await handler.called.wait()

    ending = await client.cancel(request_id)

    async with client.subscribe() as arriving:
        assert await anext(arriving) == ending.response
    handler.go_on.set()


async def test_many_of_one_id_in_a_batch_are_all_answered_where_they_can_be(
    new_worker: NewWorker, desk: Desk, settings: Settings
) -> None:
    await declare_topology(settings)
    request_id = uuid4()
    body = {"request_id": str(request_id), "operation": "cancel_session"}
    for number in range(60):
        reply_to = desk.reply_to if number % 3 else f"gone-{number}"
        await send_cancel(desk, body, reply_to=reply_to, correlation_id=f"c-{number}")
    with capture_logs() as events:
        await new_worker()
        answered = {(await desk.next()).correlation_id for _ in range(40)}

        async def told_of_all() -> bool:
            # The first of them perhaps twice: it is the requester's, and comes with the next batch again.
            gone = {event["queue"] for event in events if event["event"] == "response.unroutable"}
            return gone == {f"gone-{number}" for number in range(0, 60, 3)}

        await eventually(told_of_all)

    assert answered == {f"c-{number}" for number in range(60) if number % 3}


async def test_one_that_is_not_valid_is_known_by_its_routing_key_too(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    request = good_request()
    twice = f'{{"request_id": "{request["request_id"]}", "operation": "cancel_session", "operation": "x"}}'
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)

    await exchange.publish(aio_pika.Message(twice.encode(), reply_to=desk.reply_to), routing_key="cancel")

    assert "nothing was cancelled" in (response_in(await desk.next()).error or "")
    assert (await desk.ask(request)).status == "completed"
