"""A request that comes too late is answered as such, and no session is made."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from support.handlers import steer
from support.harness import Desk, NewWorker, declare_topology, eventually, good_request, response_in, row_of

from schemas import CreateSessionRequest
from worker.handlers import Context
from worker.rabbitmq.topology import names_for
from worker.settings import Settings


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


FORMS: dict[str, Any] = {
    "ISO 8601": lambda at: at.isoformat(),
    "ISO 8601 with a Z": lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "ISO 8601 without an offset, in UTC": lambda at: at.replace(tzinfo=None).isoformat(),
    "ISO 8601 of another zone": lambda at: at.astimezone().isoformat(),
    "ISO 8601 as bytes": lambda at: bytearray(at.isoformat().encode()),
    "milliseconds": milliseconds,
    "milliseconds as text": lambda at: str(milliseconds(at)),
    "milliseconds and a fraction as text": lambda at: f"{milliseconds(at)}.25",
    "an AMQP timestamp": lambda at: at,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_a_deadline_that_has_passed_is_answered_and_no_session_is_made(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, form: Any
) -> None:
    await new_worker()
    request = good_request()
    deadline = ago(5)

    response = await desk.ask(request, headers={"deadline": form(deadline)})

    assert response.status == "failed"
    assert response.metadata == {"code": "deadline_exceeded"}
    row = await row_of(db, request["request_id"])
    assert (row["status"], row["error_code"]) == ("failed", "deadline_exceeded")
    assert abs(row["deadline_at"] - deadline) < timedelta(seconds=1.5)
    assert row["deadline_at"].isoformat() in (response.error or "")
    assert await db.fetchval("select count(*) from sessions") == 0


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_a_deadline_to_come_lets_the_request_pass(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, form: Any
) -> None:
    await new_worker()
    deadline = ago(-3600)

    response = await desk.ask(good_request(), headers={"deadline": form(deadline)})

    assert response.status == "completed"
    stored = await db.fetchval("select deadline_at from requests")
    assert abs(stored - deadline) < timedelta(seconds=1.5)


async def test_the_expiration_counts_from_the_message_s_timestamp(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()

    late = await desk.ask(good_request(), expiration=60, timestamp=ago(61))
    in_time = await desk.ask(good_request(), expiration=60, timestamp=ago(1))

    assert late.metadata == {"code": "deadline_exceeded"}
    assert in_time.status == "completed"
    assert await db.fetchval("select count(*) from sessions") == 1


async def test_the_earlier_of_header_and_expiration_counts(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    sent, header = ago(10), ago(-1000)

    await desk.ask(good_request(), expiration=60, timestamp=sent, headers={"deadline": header.isoformat()})
    await desk.ask(good_request(), expiration=6000, timestamp=sent, headers={"deadline": header.isoformat()})

    rows = await db.fetch("select deadline_at from requests order by received_at")
    first, second = (row["deadline_at"] for row in rows)
    assert abs(first - (sent + timedelta(seconds=60))) < timedelta(seconds=1.5)
    assert second == header


async def test_a_message_that_expired_while_no_worker_ran_is_answered_once_one_starts(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await declare_topology(settings)
    request = good_request()
    names = names_for(desk.prefix)
    await desk.send(request, expiration=0.05, correlation_id="late")

    async def taken_by_the_broker() -> bool:
        return await desk.count(names.undelivered) == 1

    await eventually(taken_by_the_broker)
    assert await desk.count(names.requests) == 0

    await new_worker()
    message = await desk.next()

    assert message.correlation_id == "late"
    assert b"deadline_exceeded" in message.body
    row = await row_of(db, request["request_id"])
    assert (row["status"], row["error_code"]) == ("failed", "deadline_exceeded")
    assert await db.fetchval("select count(*) from sessions") == 0
    assert await desk.count(names.dead) == 0
    assert (await desk.ask(request)).metadata == {"code": "deadline_exceeded"}, "the same, sent again"


async def test_an_unreadable_message_that_expired_is_a_dead_letter(
    settings: Settings, new_worker: NewWorker, desk: Desk
) -> None:
    await declare_topology(settings)
    await desk.send(b"nothing", reply_to=None, expiration=0.05)

    await new_worker()

    dead = await desk.take_from(names_for(desk.prefix).dead)
    assert (dead.body, dead.headers["x-code"]) == (b"nothing", "unreadable")


async def test_a_deadline_during_the_handler_ends_its_call(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    given = []

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        given.append(context.deadline_at)
        await eventually(never)

    async def never() -> bool:
        return False

    await new_worker(handler=steer(act))

    response = await desk.ask(good_request(), headers={"deadline": milliseconds(ago(-2))})

    assert response.metadata == {"code": "deadline_exceeded"}
    assert given == [await db.fetchval("select deadline_at from requests")]
    assert await db.fetchval("select count(*) from sessions") == 0


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
async def test_a_deadline_that_no_calendar_in_utc_has_is_refused_and_its_neighbours_are_served(
    settings: Settings, new_worker: NewWorker, desk: Desk, moment: str
) -> None:
    await declare_topology(settings)
    odd, good = good_request(), [good_request() for _ in range(5)]
    await desk.send(odd, headers={"deadline": moment})
    for request in good:
        await desk.send(request)
    await new_worker(batches=1)

    answers = {str(one.request_id): one for one in [response_in(await desk.next()) for _ in range(6)]}

    assert answers[odd["request_id"]].metadata["code"] == "invalid_request"
    assert "`deadline`" in (answers[odd["request_id"]].error or "")
    assert {answers[request["request_id"]].status for request in good} == {"completed"}
