"""On real servers a request comes in, a session is made, and a response goes out."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from support.harness import Desk, NewWorker, eventually, good_request, response_in, row_of

from schemas import RequestStatus, is_session_id, session_id
from worker import app

# An event in binary mode, in each of the forms that CloudEvents' SDKs write and read: `ce-` is RabbitMQ's.
CLOUD_EVENT = {
    f"{prefix}{attribute}": value
    for prefix in ("ce-", "cloudEvents:", "cloudEvents_")
    for attribute, value in {"id": "e-1", "source": "/shop", "type": "wanted", "specversion": "1.0"}.items()
}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_request_becomes_a_session_and_a_response(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    request = good_request()

    await desk.send(request, correlation_id="mine-1")
    message = await desk.next()

    response = response_in(message)
    assert response.status is RequestStatus.COMPLETED
    assert str(response.request_id) == request["request_id"]
    assert message.correlation_id == "mine-1"
    session = await db.fetchrow("select * from sessions")
    assert session["id"] == response.payload.session_id
    assert session["name"] == "Support chat"
    history = await db.fetch("select status, attempt from request_transitions order by at, attempt")
    assert [tuple(row) for row in history] == [("pending", 0), ("processing", 1), ("completed", 1)]


async def test_what_a_lone_request_leaves_to_note_is_written_at_once_not_with_the_next(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_NOTE_SECONDS", 3600.0)
    await new_worker()
    for _ in range(3):
        assert (await desk.ask(good_request())).status is RequestStatus.COMPLETED

        async def noted() -> bool:
            unnoted = "select count(*) from listed_requests where published_at is null"
            leases = "select count(*) from leases"
            return bool(await db.fetchval(unnoted) + await db.fetchval(leases) == 0)

        await eventually(noted)


async def test_a_response_has_exactly_these_properties(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()
    request = good_request()
    before = datetime.now(UTC).replace(microsecond=0)

    headers = {"traceparent": TRACE, "other": "x", **CLOUD_EVENT}
    await desk.send(request, headers=headers, message_id="m-1", priority=3)
    message = await desk.next()

    properties = dict(message.info())
    sent_at = properties.pop("timestamp")
    for of_the_delivery in ("consumer_tag", "delivery_tag", "exchange", "redelivered", "routing_key"):
        del properties[of_the_delivery]
    assert properties.pop("body_size") == len(message.body)
    assert isinstance(sent_at, datetime)
    assert before <= sent_at <= datetime.now(UTC)
    assert {name: value for name, value in properties.items() if value not in (None, 0, "")} == {
        "content_type": "application/json",
        "delivery_mode": 2,
        "correlation_id": request["request_id"],
        "message_id": request["request_id"],
        "type": "CreateSessionResponse",
        "app_id": "session-worker",
        "headers": {"traceparent": TRACE},
    }


async def test_a_response_without_a_trace_has_no_headers(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()

    await desk.send(good_request())

    assert (await desk.next()).headers == {}


async def test_the_row_holds_the_published_bytes_and_every_time(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    request = good_request(None, name="Grüße 👋 — “quoted”")
    request["user_id"] = "user-7"

    await desk.send(request, correlation_id="c-1", headers={"traceparent": TRACE})
    message = await desk.next()

    row = await row_of(db, request["request_id"])
    assert row["response"].encode() == message.body
    assert (row["status"], row["attempt"], row["error_code"]) == ("completed", 1, None)
    assert (row["org_id"], row["user_id"]) == ("org-1", "user-7")
    assert (row["reply_to"], row["correlation_id"], row["traceparent"]) == (desk.reply_to, "c-1", TRACE)
    assert row["received_at"] <= row["started_at"] <= row["finished_at"]
    assert row["worker"] is not None
    published_at = await eventually(
        lambda: db.fetchval("select published_at from listed_requests where published_at is not null")
    )
    assert published_at >= row["finished_at"]
    stored = json.loads(row["body"])
    assert stored["payload"] == {"name": "Grüße 👋 — “quoted”"}
    assert stored["timestamp"] == request["timestamp"]


async def test_the_session_has_the_fields_of_the_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    request = good_request(
        None,
        name="Booking",
        status="completed",
        expiration_seconds=7200.5,
        casefile_id="cf_251013_abc123",
        assistant_id="assistant-1",
        phone_number_id="number-1",
        customer={"name": "Maria"},
    )
    request["user_id"] = "user-7"

    response = await desk.ask(request)

    session = dict(await db.fetchrow("select * from sessions"))
    assert response.payload.casefile_id == "cf_251013_abc123"
    assert json.loads(session.pop("document")) == request["payload"]
    created_at = session.pop("created_at")
    assert datetime.fromisoformat(response.payload.created_at) == created_at
    assert session == {
        "id": response.payload.session_id,
        "request_id": UUID(request["request_id"]),
        "org_id": "org-1",
        "user_id": "user-7",
        "name": "Booking",
        "status": "completed",
        "casefile_id": "cf_251013_abc123",
        "assistant_id": "assistant-1",
        "phone_number_id": "number-1",
        "expiration_seconds": 7200.5,
        "updated_at": created_at,
        "expires_at": created_at + timedelta(seconds=7200.5),
    }


async def test_an_empty_payload_gets_the_defaults(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()

    response = await desk.ask(good_request() | {"payload": {}})

    assert response.status is RequestStatus.COMPLETED
    assert response.payload.casefile_id is None
    session = await db.fetchrow("select * from sessions")
    assert (session["status"], session["expiration_seconds"]) == ("active", 86400)
    assert session["expires_at"] - session["created_at"] == timedelta(days=1)
    assert (session["user_id"], session["name"], session["casefile_id"]) == (None, None, None)


async def test_the_session_id_is_derived_from_the_request_and_its_day(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    request_id, begun = uuid4(), datetime.now(UTC)

    response = await desk.ask(good_request(request_id))

    days = {begun.date(), datetime.now(UTC).date()}  # two at midnight
    assert is_session_id(response.payload.session_id)
    assert response.payload.session_id in {session_id(request_id, day) for day in days}


async def test_camel_case_is_stored_in_snake_case(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    message = {"role": "user", "message": "hi", "time": 1, "endTime": 2, "secondsFromStart": 0}
    camel = {
        "requestId": str(uuid4()),
        "orgId": "org-1",
        "userId": "user-1",
        "operation": "create_session",
        "payload": {"expirationSeconds": 3600, "casefileId": "cf_251013_abc123", "messages": [message]},
    }

    response = await desk.ask(camel)

    assert response.status is RequestStatus.COMPLETED, response.metadata
    session = await db.fetchrow("select * from sessions")
    assert json.loads(session["document"]) == {
        "expiration_seconds": 3600,
        "casefile_id": "cf_251013_abc123",
        "messages": [
            {"role": "user", "message": "hi", "time": 1, "end_time": 2, "seconds_from_start": 0},
        ],
    }
    assert (session["user_id"], session["casefile_id"]) == ("user-1", "cf_251013_abc123")


async def test_assistant_id_wins_over_an_inline_assistant(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()

    response = await desk.ask(good_request(None, assistant_id="a-1", assistant={"name": "Inline"}))

    assert response.status is RequestStatus.COMPLETED
    assert response.metadata == {
        "ignored": ["assistant"],
        "ignored_reason": "assistant_id was given and wins",
    }
    session = await db.fetchrow("select assistant_id, document from sessions")
    assert session["assistant_id"] == "a-1"
    assert json.loads(session["document"]) == {"assistant_id": "a-1"}


async def test_two_workers_make_exactly_one_session_for_each_of_500_requests(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(prefetch=20, batch_size=10)
    await new_worker(prefetch=20, batch_size=10)
    ids = [uuid4() for _ in range(500)]

    await asyncio.gather(*(desk.send(good_request(request_id)) for request_id in ids))
    answered = Counter([response_in(await desk.next()).request_id for _ in ids])

    assert answered == Counter(ids)
    assert desk.arrived.empty()
    assert Counter(row[0] for row in await db.fetch("select request_id from sessions")) == Counter(ids)
    assert await db.fetchval("select count(distinct id) from sessions") == 500
    shares = [
        row[0] for row in await db.fetch("select count(*) from requests where attempt = 1 group by worker")
    ]
    assert len(shares) == 2, "both workers took part"
    assert sum(shares) == 500
