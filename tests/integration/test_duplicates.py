"""The same request id again gets the same answer, or a conflict; never a second session."""

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    metric_becomes,
    metric_of,
    open_desk,
    response_in,
    row_of,
    told,
)

from schemas import CreateSessionRequest, FailureCode
from worker.client import Client
from worker.handlers import Context
from worker.messages.decoding import decode
from worker.messages.envelope import Message
from worker.postgres.waiting_answers import WaitingAnswers
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.stack import Stack
from worker.steps import sorting
from worker.values import Read


async def settled_row(db: asyncpg.Connection, request_id: str) -> dict[str, Any]:
    """Waits until nothing more will be written to the row, and returns it."""
    await eventually(
        lambda: db.fetchval(
            "select true from listed_requests where request_id = $1 and published_at is not null",
            UUID(request_id),
        )
    )
    return await row_of(db, request_id)


async def test_a_finished_request_is_answered_again_with_the_same_bytes(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, stack: Stack
) -> None:
    worker = await new_worker()
    request = good_request()
    await desk.send(request)
    first = await desk.next()
    before = await settled_row(db, request["request_id"])

    async with open_desk(stack.amqp_url, desk.prefix) as other:
        await other.send(request, correlation_id="again")
        second = await other.next()

    assert second.body == first.body
    assert second.message_id == first.message_id
    assert (first.correlation_id, second.correlation_id) == (request["request_id"], "again")
    assert await settled_row(db, request["request_id"]) == before | {"published_at": await published(db)}
    assert await db.fetchval("select count(*) from sessions") == 1
    assert await db.fetchval("select count(*) from request_transitions") == 3
    await metric_becomes(1, worker, "worker_duplicates_total", kind="answered_again")
    assert desk.arrived.empty()


async def published(db: asyncpg.Connection) -> object:
    return await db.fetchval("select published_at from listed_requests")


async def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker()
    request = good_request()
    original = await desk.ask(request)
    before = await settled_row(db, request["request_id"])

    conflict = await desk.ask(request | {"org_id": "org-2"})

    assert conflict.status == "failed"
    assert conflict.metadata == {"code": "request_id_conflict"}
    assert conflict.error is not None
    assert request["request_id"] in conflict.error
    assert conflict.request_id == original.request_id
    assert await row_of(db, request["request_id"]) == before
    assert await db.fetchval("select count(*) from request_transitions") == 3
    assert [row["id"] for row in await db.fetch("select id from sessions")] == [original.payload.session_id]
    assert conflict.payload.session_id != original.payload.session_id
    await metric_becomes(1, worker, "worker_duplicates_total", kind="conflict")


async def test_a_conflict_is_answered_the_same_each_time_and_is_a_message_of_its_own(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    request = good_request()
    await desk.send(request)
    original = await desk.next()

    await desk.send(request | {"org_id": "org-2"})
    first = await desk.next()
    await desk.send(request | {"org_id": "org-2"})
    second = await desk.next()
    await desk.send(request | {"org_id": "org-3"})
    third = await desk.next()

    assert (second.body, second.message_id) == (first.body, first.message_id)
    assert len({original.message_id, first.message_id, third.message_id}) == 3
    assert response_in(third).metadata == {"code": FailureCode.REQUEST_ID_CONFLICT}


def reordered(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: reordered(document[key]) for key in reversed(document)}
    return [reordered(item) for item in document] if isinstance(document, list) else document


PLAIN = {
    "request_id": "",
    "org_id": "org-1",
    "operation": "create_session",
    "payload": {
        "name": "Grüße",
        "expiration_seconds": 3600,
        "customer": {"name": "Maria", "number_e164_check_enabled": True},
    },
    "timestamp": "2026-01-02T03:04:05Z",
}
CAMEL = {
    "requestId": "",
    "orgId": "org-1",
    "operation": "create_session",
    "payload": {
        "name": "Grüße",
        "expirationSeconds": 3600,
        "customer": {"name": "Maria", "numberE164CheckEnabled": True},
    },
    "timestamp": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(lambda a: json.dumps(CAMEL | {"requestId": a}), id="camelCase"),
        pytest.param(lambda a: json.dumps(reordered(PLAIN | {"request_id": a})), id="keys reordered"),
        pytest.param(lambda a: json.dumps(PLAIN | {"request_id": a}, indent=4), id="other spaces"),
        pytest.param(lambda a: json.dumps(PLAIN | {"request_id": a}, ensure_ascii=False), id="other escapes"),
        pytest.param(lambda a: json.dumps(PLAIN | {"request_id": a.upper()}), id="id in capitals"),
        pytest.param(
            lambda a: json.dumps(PLAIN | {"request_id": a, "user_id": None, "metadata": {}}), id="nulls"
        ),
        pytest.param(
            lambda a: json.dumps(PLAIN | {"request_id": a, "timestamp": "2027-01-01T00:00:00Z"}),
            id="sent later",
        ),
    ],
)
async def test_the_same_request_in_another_spelling_is_the_same(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, variant: Callable[[str], str]
) -> None:
    await new_worker()
    request_id = str(uuid4())
    await desk.send(PLAIN | {"request_id": request_id})
    first = await desk.next()
    assert response_in(first).status == "completed"

    await desk.send(variant(request_id))

    assert (await desk.next()).body == first.body
    assert await db.fetchval("select count(*) from requests") == 1


async def test_asking_again_with_the_client_is_the_same_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, stack: Stack
) -> None:
    await new_worker()
    request = good_request()
    first = await desk.ask(request)

    async with Client(stack.amqp_url, desk.prefix) as client:
        again = await client.create_session(
            org_id=request["org_id"], payload=request["payload"], request_id=UUID(request["request_id"])
        )

    assert again == first
    assert await db.fetchval("select count(*) from requests") == 1


async def test_copies_in_one_batch_are_read_once_and_each_is_answered(
    settings: Settings, new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare_topology(settings)
    request, other, copies = good_request(), good_request(), 40
    for _ in range(copies):
        await desk.send(request)
        await desk.send(other)
    await desk.send(request | {"org_id": "org-2"})
    read = []

    def counted(message: Message, *how: Any) -> Read:
        read.append(message)
        return decode(message, *how)

    monkeypatch.setattr(sorting, "decode", counted)
    await new_worker(batches=1, batch_size=1000)

    answers = [await desk.next() for _ in range(2 * copies + 1)]

    assert len(read) == 2 * copies + 1
    own = [one for one in answers if one.message_id in (request["request_id"], other["request_id"])]
    assert len(own) == 2 * copies
    assert len({one.body for one in own}) == 2
    conflicts = [response_in(one).metadata["code"] for one in answers if one not in own]
    assert conflicts == ["request_id_conflict"]


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "user-2"},
        {"metadata": {"a": 1}},
        {"payload": {"name": "Support chat", "expiration_seconds": 3601}},
        {"payload": {}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_any_other_content_is_another_request(
    new_worker: NewWorker, desk: Desk, change: dict[str, Any]
) -> None:
    await new_worker()
    request = good_request()
    await desk.ask(request)

    assert (await desk.ask(request | change)).metadata["code"] == "request_id_conflict"


async def test_an_unfinished_request_is_answered_to_who_asked_last(
    new_worker: NewWorker, settings: Settings, desk: Desk, db: asyncpg.Connection, stack: Stack
) -> None:
    called, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        calls.append(request.request_id)
        called.set()
        if request.payload.name == "slow":
            await go_on.wait()

    worker = await new_worker(handler=steer(act))
    slow = good_request(None, name="slow")
    await desk.send(slow)
    await called.wait()

    async with open_desk(stack.amqp_url, settings.prefix) as other:
        await other.send(slow, correlation_id="second")
        await eventually(lambda: db.fetchval("select true from requests where reply_to = $1", other.reply_to))
        go_on.set()
        answer = await other.next()

    assert answer.correlation_id == "second"
    assert response_in(answer).status == "completed"
    last = good_request(None, name="quick")
    assert str((await desk.ask(last)).request_id) == last["request_id"], "the first queue got nothing else"
    assert [str(request_id) for request_id in calls] == [slow["request_id"], last["request_id"]]
    await metric_becomes(1, worker, "worker_duplicates_total", kind="in_progress")
    assert await db.fetchval("select count(*) from sessions") == 2


async def test_a_conflict_with_an_unfinished_request_leaves_it_alone(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    called, go_on = asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        called.set()
        await go_on.wait()

    await new_worker(handler=steer(act))
    slow = good_request()
    await desk.send(slow, correlation_id="slow")
    await called.wait()
    before = await row_of(db, slow["request_id"])

    conflict = await desk.ask(slow | {"org_id": "org-2"})

    assert conflict.metadata["code"] == "request_id_conflict"
    assert await row_of(db, slow["request_id"]) == before
    go_on.set()
    answer = await desk.next()
    assert (answer.correlation_id, response_in(answer).status) == ("slow", "completed")


async def test_a_conflict_that_finds_no_queue_waits_on_record_until_there_is_one(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """It is stored in a row of its own, so that the worker need not hold its delivery."""
    names = names_for(desk.prefix)
    worker = await new_worker()
    request = good_request()
    await desk.ask(request)
    await desk.channel.queue_delete(names.responses)

    with capture_logs() as events:
        conflicting = [request | {"org_id": "org-2"}] * 2 + [request | {"org_id": "org-3"}]
        for one in conflicting:
            await desk.send(one, reply_to=None)
        refused = await told(events, "responses.no_queue", 1)
        assert (await desk.ask(good_request())).status == "completed", "it holds up nobody"
        await eventually(lambda: db.fetchval("select count(*) = 2 from other_answers"))

        async def nothing_held() -> bool:
            return await metric_of(worker, "worker_in_flight_requests") == 0

        await eventually(nothing_held)

    assert "topology apply" in refused["remedy"]
    await worker.stop()
    assert await desk.count(names.requests) == 0
    await declare_topology(settings)
    await new_worker()
    answers = [await desk.take_from(names.responses) for _ in range(2)]
    assert [response_in(one).metadata["code"] for one in answers] == ["request_id_conflict"] * 2
    assert len({one.message_id for one in answers}) == 2, "the copies of one are one"
    await eventually(lambda: db.fetchval("select count(*) = 0 from other_answers"))


async def test_a_worker_that_stops_first_tries_the_answers_that_it_has_claimed(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would send them for a minute."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    tried = WaitingAnswers.other_tried

    async def held(
        waiting: WaitingAnswers, delivered: Sequence[str], undelivered: Sequence[str], until: datetime | None
    ) -> None:
        reached.set()
        await go_on.wait()
        await tried(waiting, delivered, undelivered, until)

    worker = await new_worker()
    request = good_request()
    await desk.ask(request)
    await desk.channel.queue_delete(names_for(desk.prefix).responses)
    await eventually(lambda: db.fetchval("select count(*) = 0 from other_answers"))
    monkeypatch.setattr(WaitingAnswers, "other_tried", held)
    await desk.send(request | {"org_id": "org-2"}, reply_to=None)
    async with asyncio.timeout(60):
        await reached.wait()
    claimed = "select count(*) from other_answers where answer_at > now()"
    assert await db.fetchval(claimed) == 1
    stopping = asyncio.create_task(worker.stop())
    await asyncio.wait([stopping], timeout=0.2)
    go_on.set()
    await stopping
    assert await db.fetchval(claimed) == 0
    assert await db.fetchval("select count(*) from other_answers") == 1


async def test_a_conflict_that_was_delivered_too_often_is_still_a_conflict(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    names = names_for(desk.prefix)
    await declare_topology(settings, delivery_limit=1)
    worker = await new_worker()
    request = good_request(name="Call", casefile_id="cf_260102_a1")
    await desk.ask(request)
    conflicting = request | {"org_id": "org-2"}
    await desk.send(conflicting)
    usual = await desk.next()
    before = await settled_row(db, request["request_id"])
    await worker.stop()
    await desk.send(conflicting)
    queue = await desk.channel.get_queue(names.requests, ensure=False)

    async def too_often() -> bool:
        if message := await queue.get(fail=False):
            await message.nack(requeue=True)
        return await desk.count(names.undelivered) == 1

    await eventually(too_often)
    await new_worker()

    again = await desk.next()
    assert response_in(again).metadata == {"code": "request_id_conflict"}
    assert (again.message_id, again.body) == (usual.message_id, usual.body)
    assert await row_of(db, request["request_id"]) == before
    assert await desk.count(names.dead) == 0


async def test_what_was_refused_before_there_were_keys_is_the_same_request_with_them(
    new_worker: NewWorker, desk: Desk
) -> None:
    first = await new_worker()
    request = good_request(None, name="x" * 41)
    before = await desk.ask(request)
    await first.stop()
    key = base64.b64encode(bytes(32)).decode()
    await new_worker(seal_keys=SecretStr(f"k1:{key}"))

    assert await desk.ask(request) == before
