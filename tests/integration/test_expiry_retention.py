"""As time passes, sessions end and old requests are deleted."""

import json
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from support.harness import Desk, NewWorker, eventually, good_request, metric_of

from worker.services import expiry, retention

DAY = timedelta(days=1)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the services look often enough for a test."""
    monkeypatch.setattr(expiry, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(retention, "INTERVAL_SECONDS", 0.05)


async def insert_session(db: asyncpg.Connection, left: timedelta, status: str = "active") -> UUID:
    request_id = uuid4()
    await db.execute(
        "insert into sessions (id, request_id, org_id, status, expiration_seconds, created_at, updated_at,"
        " expires_at, document)"
        " values ($1::text, $2, 'org-1', $3, 60, now() - interval '1 hour', now() - interval '1 hour',"
        " now() + $4, '{}')",
        f"ts_{request_id}", request_id, status, left,
    )  # fmt: skip
    return request_id


async def insert_request(db: asyncpg.Connection, *, received: timedelta, finished: timedelta | None) -> UUID:
    """Inserts a request of so long ago, by the legal steps."""
    request_id = uuid4()
    await db.execute(
        "insert into requests (request_id, fingerprint, body, session_id, received_at)"
        " values ($1, 'x', '{}', 'ts_1', now() - $2::interval)",
        request_id, received,
    )  # fmt: skip
    if finished is not None:
        await db.execute(
            "update requests set status = 'processing', attempt = 1, started_at = now()"
            " where request_id = $1",
            request_id,
        )
        await db.execute(
            "update requests set status = 'completed', response = '{}', finished_at = now() - $2::interval"
            " where request_id = $1",
            request_id, finished,
        )  # fmt: skip
    return request_id


async def ids_in(db: asyncpg.Connection, table: str) -> set[UUID]:
    return {row["request_id"] for row in await db.fetch(f"select request_id from {table}")}  # noqa: S608 — our own tables


@pytest.mark.usefixtures("often")
async def test_a_session_past_its_time_becomes_completed(
    new_worker: NewWorker, db: asyncpg.Connection
) -> None:
    past = await insert_session(db, timedelta(seconds=-1))
    soon = await insert_session(db, timedelta(seconds=0.5))
    future = await insert_session(db, timedelta(hours=1))
    ended = await insert_session(db, timedelta(days=-1), "completed")
    worker = await new_worker()

    async def two_expired() -> bool:
        return await metric_of(worker, "worker_expired_sessions_total") == 2

    await eventually(two_expired)

    rows = {row["request_id"]: row for row in await db.fetch("select * from sessions")}
    assert {request_id: row["status"] for request_id, row in rows.items()} == {
        past: "completed",
        soon: "completed",
        future: "active",
        ended: "completed",
    }
    assert rows[past]["updated_at"] > rows[past]["expires_at"]
    assert rows[soon]["updated_at"] >= rows[soon]["expires_at"]
    assert rows[ended]["updated_at"] == rows[ended]["created_at"], "it was completed before, and left alone"


@pytest.mark.usefixtures("often")
async def test_more_sessions_than_go_at_once_are_all_expired_once(
    new_worker: NewWorker, db: asyncpg.Connection
) -> None:
    await db.execute(
        "insert into sessions (id, request_id, org_id, status, expiration_seconds, created_at, updated_at,"
        " expires_at, document) select 'ts_' || n, gen_random_uuid(), 'o', 'active', 60, now(), now(), now(),"
        " '{}' from generate_series(1, 1203) n"
    )
    workers = [await new_worker(), await new_worker()]

    async def all_completed() -> bool:
        return not await db.fetchval("select exists (select from sessions where status = 'active')")

    await eventually(all_completed)

    async def counted() -> bool:
        return (
            sum([await metric_of(worker, "worker_expired_sessions_total") or 0 for worker in workers]) == 1203
        )

    await eventually(counted)


@pytest.mark.usefixtures("often")
async def test_old_finished_requests_go_with_their_history_and_nothing_else_does(
    new_worker: NewWorker, db: asyncpg.Connection
) -> None:
    old = {await insert_request(db, received=40 * DAY, finished=35 * DAY) for _ in range(3)}
    recent = await insert_request(db, received=20 * DAY, finished=20 * DAY)
    long_ago_finished_today = await insert_request(db, received=40 * DAY, finished=timedelta(0))
    unfinished = await insert_request(db, received=40 * DAY, finished=None)
    session = await insert_session(db, timedelta(days=-40), "completed")
    worker = await new_worker(retention_days=30)

    async def three_retired() -> bool:
        return await metric_of(worker, "worker_retired_requests_total") == 3

    await eventually(three_retired)

    kept = {recent, long_ago_finished_today, unfinished}
    assert await ids_in(db, "requests") == kept
    assert await ids_in(db, "request_transitions") == kept
    assert await ids_in(db, "sessions") == {session}
    assert not old & kept


@pytest.mark.usefixtures("often")
async def test_without_a_retention_requests_are_kept_for_ever(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    old = await insert_request(db, received=4000 * DAY, finished=4000 * DAY)
    past = await insert_session(db, timedelta(seconds=-1))
    await new_worker(retention_days=0)

    await eventually(lambda: db.fetchval("select true from sessions where status = 'completed'"))

    await desk.ask(good_request())
    assert old in await ids_in(db, "requests")
    assert past in await ids_in(db, "sessions")


@pytest.mark.usefixtures("often")
async def test_an_id_sent_again_after_its_request_went_makes_no_second_session(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    request = good_request()
    first = await new_worker(retention_days=0)
    original = await desk.ask(request)
    await first.stop()
    assert await db.fetchval("select count(*) from requests") == 1

    second = await new_worker(retention_days=1e-7)

    async def gone() -> bool:
        return bool(await db.fetchval("select count(*) from requests") == 0)

    await eventually(gone)
    await second.stop()
    await new_worker(retention_days=0)
    again = await desk.ask(request)

    assert again.status == "failed"
    assert again.metadata == {"code": "request_id_conflict"}
    assert "no longer kept" in (again.error or "")
    assert await db.fetchval("select id from sessions") == original.payload.session_id
    assert await db.fetchval("select count(*) from sessions") == 1
    assert await db.fetchval("select error_code from requests") == "request_id_conflict"


async def insert_old(db: asyncpg.Connection, first: int, last: int) -> None:
    """Inserts finished requests of long ago, a thousand to a batch."""
    await db.execute("alter table requests disable trigger user")
    await db.execute(
        "insert into requests (request_id, status, attempt, fingerprint, body, session_id, response,"
        " received_at, started_at, finished_at) select gen_random_uuid(), 'completed', 1, 'x', '{}',"
        " 'ts_' || n, '{}', at, at, at from generate_series($1::integer, $2) n,"
        " lateral (select now() - interval '300 days' + n / 1000 * interval '1 s' as at)",
        first, last,
    )  # fmt: skip
    await db.execute("alter table requests enable trigger user")


async def retire(db: asyncpg.Connection, since: datetime | None) -> tuple[int, datetime, int]:
    """Deletes a batch; returns how many, how far it got, and how many pages it read."""
    explain = (
        "explain (analyze, buffers, format json) select retired, reached from retire_requests($1, $2, $3)"
    )
    retired, reached = await db.fetchrow("select * from retire_requests('30 days', 500, $1)", since)
    again = await db.fetchval(explain, timedelta(days=30), 500, reached)
    plan = json.loads(again)[0]["Plan"]
    return retired, reached, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_a_batch_of_old_requests_costs_the_same_however_many_there_are(
    db: asyncpg.Connection, database_url: str
) -> None:
    """This holds also after many were deleted that a vacuum could not remove yet, because of a backup."""
    await db.execute("alter table requests set (autovacuum_enabled = false)")
    await insert_old(db, 1, 6_000)
    _, reached, few = await retire(db, None)
    await insert_old(db, 6_001, 40_000)
    _, reached, many = await retire(db, reached)
    backup = await asyncpg.connect(database_url)
    async with backup.transaction(isolation="repeatable_read"):
        await backup.fetchval("select count(*) from requests")
        for _ in range(12):
            retired, reached, after_many = await retire(db, reached)
            assert retired == 1000, "a batch has one time, and goes as one"
    await backup.close()
    assert many < 1.2 * few
    assert after_many < 1.2 * few


async def test_the_way_by_hand_ends_when_all_that_may_go_have_gone(db: asyncpg.Connection) -> None:
    await insert_old(db, 1, 2_500)
    unfinished = await insert_request(db, received=400 * DAY, finished=None)

    calls = 0
    while await db.fetchval("select retire_requests('30 days', 500)"):
        calls += 1

    assert calls == 3
    assert await ids_in(db, "requests") == {unfinished}


@pytest.mark.usefixtures("often")
async def test_what_was_passed_by_goes_when_it_may(
    new_worker: NewWorker, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_SECONDS_PER_HOUR", 0.1)
    late = await insert_request(db, received=400 * DAY, finished=None)
    await insert_old(db, 1, 2_500)
    await new_worker()

    async def only_that() -> bool:
        return await ids_in(db, "requests") == {late}

    await eventually(only_that)
    await db.execute("update requests set status = 'processing', attempt = 1, started_at = now()")
    await db.execute(
        "update requests set status = 'completed', response = '{}', finished_at = now() - interval '31 days'"
    )
    await eventually(lambda: db.fetchval("select not exists (select from requests)"))
