"""Postgres keeps the responses that wait, and finds the due ones without reading the others."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from support.harness import eventually

from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.sql import load_queries
from worker.postgres.store import Store
from worker.postgres.waiting_answers import Undelivered, WaitingAnswers
from worker.process.failpoint import FailPoint
from worker.services.unanswered import Sending
from worker.settings import Settings
from worker.values import Answer, Receipt, Route


@pytest_asyncio.fixture
async def opened(settings: Settings) -> AsyncIterator[Database]:
    connected = Database(settings.database_url.get_secret_value(), 2, None, Readiness([database.PART]))
    await connected.open()
    yield connected
    await connected.close()


@pytest_asyncio.fixture
async def leases(opened: Database) -> Leases:
    registered = Leases(opened, uuid4(), 60)
    await registered.register("host", 1, "1")
    return registered


async def finish_some(
    db: asyncpg.Connection, count: int, *, status: str = "completed", reply_to: str | None = None
) -> list[UUID]:
    rows = await db.fetch(
        "insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at,"
        " reply_to) select gen_random_uuid(), 'processing', 1, 'x', '{}', 'ts_' || n, now(), $2"
        " from generate_series(1, $1::integer) n returning request_id",
        count, reply_to,
    )  # fmt: skip
    ids = [row["request_id"] for row in rows]
    await db.execute(
        "update requests set status = $2, response = '{}', finished_at = now(),"
        " error_code = case when $2 = 'failed' then 'rejected' end where request_id = any ($1::uuid[])",
        ids, status,
    )  # fmt: skip
    return ids


async def pages(db: asyncpg.Connection, query: str, *args: Any) -> int:
    """Returns how many pages the statement reads."""
    for name, value in database.SERVER_SETTINGS.items():
        await db.execute("select set_config($1, $2, false)", name, value)
    plan = await db.fetchval(f"explain (analyze, buffers, format json) {load_queries()[query]}", *args)
    found = json.loads(plan)[0]["Plan"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


async def test_many_that_wait_in_one_line_are_not_read_for_another(
    opened: Database, db: asyncpg.Connection
) -> None:
    """One queue is full, or somebody forges direct replies: other lines do not pay for it."""
    waiting = WaitingAnswers(opened)
    for reply_to, line in ((None, "completed"), ("amq.rabbitmq.reply-to.forged", "direct")):
        ids = await finish_some(db, 6_000, reply_to=reply_to)
        await waiting.put([Undelivered(one, reply_to, None) for one in ids])
        assert await db.fetchval("select count(*) from requests where answer_way = $1", line) == 6_000
    await db.execute("analyze requests")

    assert await pages(db, "claim_answers", "failed", 256, 60.0) < 50
    assert await pages(db, "claim_answers", "reply", 256, 60.0) < 50
    assert await waiting.claim_shared("failed", 256) == []
    assert await waiting.claim_replies(256, direct=False) == []
    assert len(await waiting.claim_shared("completed", 256)) == 256
    assert len(await waiting.claim_replies(16, direct=True)) == 16


async def test_one_that_an_older_version_has_sent_is_sent_no_more_than_once_again(
    opened: Database, leases: Leases, db: asyncpg.Connection
) -> None:
    """The older version notes that a response was published, and does not know of waiting responses."""
    waiting = WaitingAnswers(opened)
    ids = await finish_some(db, 2)
    await waiting.put([Undelivered(one, None, Receipt.REFUSED) for one in ids])
    await db.execute("update requests set published_at = '2026-01-01'")

    sent = await waiting.claim_shared("completed", 2)
    leases.note_published([answer.request_id for answer in sent])
    await leases.flush_notes()

    rows = await db.fetch(
        "select answer_at, undelivered, undelivered_at, published_at::date::text from requests"
    )
    assert {tuple(row) for row in rows} == {(None, None, None, "2026-01-01")}


@pytest.mark.parametrize("own", [None, "full"])
async def test_one_that_waits_is_not_given_up_over_a_copy_for_somebody_else(
    opened: Database, db: asyncpg.Connection, own: str | None
) -> None:
    """A requester that asked again from another queue may be gone before its copy comes."""
    waiting = WaitingAnswers(opened)
    (one,) = await finish_some(db, 1, reply_to=own)
    assert await waiting.put([Undelivered(one, own, Receipt.REFUSED)]) == 0

    for why in (Receipt.UNROUTABLE, Receipt.UNPUBLISHABLE):
        assert await waiting.put([Undelivered(one, "gone", why)]) == 0

    row = await db.fetchrow("select undelivered, answer_at is not null as waits from requests")
    assert tuple(row) == ("refused", True)


async def test_a_copy_that_is_asked_for_while_one_before_it_is_sent_is_sent_as_well(opened: Database) -> None:
    """Whoever asked once more may have come too late for the one that is under way."""
    waiting = WaitingAnswers(opened)
    copy = Answer(uuid4(), "failed", None, "{}", "asked again", Route(None, None, None))
    await waiting.put_other([copy, copy])
    first = await waiting.claim_other("failed", 10)
    assert await waiting.claim_other("failed", 10) == ([], None)

    await waiting.put_other([copy])
    await waiting.other_tried([copy.message_id], [], first.until)
    second = await waiting.claim_other("failed", 10)
    await waiting.other_tried([copy.message_id], [], second.until)

    assert first.answers == second.answers == [copy]
    assert await waiting.claim_other("failed", 10) == ([], None)
    await waiting.put_other([copy])
    third = await waiting.claim_other("failed", 10)
    await waiting.other_tried([], [copy.message_id], third.until)
    assert (await waiting.claim_other("failed", 10)).answers == [copy], "it waits as before"


async def test_answers_off_the_record_are_forgotten_however_many_there_are(
    opened: Database, db: asyncpg.Connection
) -> None:
    waiting = WaitingAnswers(opened)
    await db.execute(
        "insert into other_answers (message_id, request_id, status, body, created_at, answer_at)"
        " select n::text, gen_random_uuid(), 'failed', '{}', at, at from generate_series(1, 2500) n,"
        " lateral (select now() - interval '31 days' as at)"
    )
    await waiting.put_other([Answer(uuid4(), "failed", None, "{}", "recent", Route(None, None, None))])
    nothing: Any = None
    readiness = Readiness([database.PART])

    assert await waiting.forget_other(30 * 86_400, 1000) == 1000
    await Sending(waiting, nothing, nothing, readiness, nothing, keep_days=30).forget()

    assert await db.fetchval("select array_agg(message_id) from other_answers") == ["recent"]


async def test_requests_are_changed_in_the_order_of_their_ids(
    opened: Database, leases: Leases, db: asyncpg.Connection, settings: Settings
) -> None:
    """Two statements that change the same requests wait for each other without a deadlock."""
    first, second = UUID(int=1), UUID(int=2)
    await db.executemany(
        "insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)"
        " values ($1, 'processing', 1, 'x', '{}', $2, now())",
        [(first, "ts_1"), (second, "ts_2")],
    )
    other = await asyncpg.connect(settings.database_url.get_secret_value())
    waits = "select exists (select from pg_locks where not granted)"
    with capture_logs() as events:
        async with db.transaction():
            await db.execute("select from requests where request_id = $1 for update", first)
            route = Route("elsewhere", None, None)
            store = Store(opened, leases, FailPoint(""))
            moving = asyncio.create_task(store.redirect([(second, route), (first, route)]))
            await eventually(lambda: other.fetchval(waits))

            await db.execute("select from requests where request_id = $1 for update", second)
        assert await moving == {first, second}
    await other.close()
    assert not events
