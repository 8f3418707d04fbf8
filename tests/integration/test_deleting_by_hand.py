"""An operator sees what is kept and how it grows, and deletes what is old before its time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from support.sealed import put_dead_letter, put_request, put_session, ring

from worker.monitoring.readiness import Readiness
from worker.operations import audit, old_sessions, retention
from worker.operations.retention import Old
from worker.postgres.database import Database
from worker.settings import Settings

DAY = timedelta(days=1)
ANN = "ann@ops"
ENDED = "update sessions set status = 'completed', updated_at = now() - $2::interval where request_id = $1"


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 1, None, Readiness(["postgres"]))
    await opened.open()
    yield opened
    await opened.close()


async def ids_in(db: asyncpg.Connection, table: str) -> set[UUID]:
    return {row["request_id"] for row in await db.fetch(f"select request_id from {table}")}  # noqa: S608 — our own tables


async def test_what_is_kept_since_when_and_how_it_grows(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = await retention.status(database, 30)
    assert {each.name for each in empty.tables} >= {"requests", "sessions", "audit", "dead_letters"}
    assert {each.since for each in empty.tables} == {None}
    for hours in (240, 100, 3, 2, 1, 0):
        request_id = await put_request(db, None, ago=timedelta(hours=hours))
        await put_session(db, request_id, None)
    await put_dead_letter(db, b"x", ring())
    await audit.append(database, "x", who=ANN, reason=None, about={})
    await db.execute(
        "insert into workers (id, host, pid, version, settings) select gen_random_uuid(), 'vm', n, '1', "
        "jsonb_build_object('retention_days', 7 * n) from generate_series(1, 2) n"
    )
    await db.execute("analyze")

    status = await retention.status(database, 30)

    tables = {each.name: each for each in status.tables}
    requests = tables["requests"]
    assert (status.requests, status.retention_days, status.kept_at_least) == (6, [7, 14], 86400)
    assert requests.since is not None
    assert timedelta(days=9.9) < datetime.now(UTC) - requests.since < timedelta(days=10.1)
    assert (requests.rows, requests.day_rows) == (6, 4)
    assert requests.day_bytes == pytest.approx((requests.table_bytes + requests.index_bytes) * 4 / 6)
    history = tables["recorded_transitions"]
    assert (history.rows, history.since) == (15, None), "the last one tells its own"
    assert (tables["sessions"].rows, tables["sessions"].day_rows) == (6, 4)
    for name in ("sessions", "audit", "dead_letters"):
        assert tables[name].since is not None
    assert (tables["audit"].day_rows, tables["dead_letters"].day_rows) == (1, 1)
    monkeypatch.setattr(retention, "_COUNTED_OF_A_DAY", 2)  # at most: two came within the last hour
    grown = {each.name: each for each in (await retention.status(database, 30)).tables}["requests"].day_rows
    assert grown == pytest.approx(48, rel=0.01)


async def test_finished_requests_go_earlier_if_an_operator_says_so(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_LOOKED_AT_ONCE", 2)
    old = [await put_request(db, None, ago=days * DAY) for days in (30, 20, 9, 8)]
    kept = {
        await put_request(db, None, ago=6 * DAY),
        await put_request(db, None, "put off", ago=30 * DAY),
    }
    await put_session(db, old[0], None)
    told: list[Old] = []
    counted = await retention.old_requests(database, 7 * DAY, told.append)
    assert (counted.gone, counted.looked, len(told)) == (4, 5, 3)
    assert (await retention.old_requests(database, 7 * DAY, told.append, most=1)).gone == 1
    assert await ids_in(db, "requests") == kept | set(old)
    told.clear()

    class Stop(Exception):
        pass

    def stop(_now: Old) -> None:
        raise Stop

    def run(report: "retention.Report", rate: float = 1_000_000) -> "asyncio.Future[Old]":
        return asyncio.ensure_future(
            retention.run(database, 7 * DAY, report, who=ANN, reason="the disk", rate=rate)
        )

    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    with pytest.raises(Stop):
        await run(stop)
    assert len(await ids_in(db, "requests")) == 5, "a step looks at two, and one of these is not finished"

    assert (await run(told.append)).gone == 3

    assert await ids_in(db, "requests") == await ids_in(db, "request_transitions") == kept
    assert await ids_in(db, "sessions") == {old[0]}
    entries = [
        (entry.action, entry.who, entry.reason, entry.about["older_than_days"], entry.touched, entry.steps)
        for entry in await audit.entries(database)
    ]
    run_for_a_week = ("retention.run", ANN, "the disk", 7)
    assert entries == [(*run_for_a_week, 3, 2), (*run_for_a_week, 1, 1)], "an entry for each run"
    assert (await run(told.append)).gone == 0
    assert len(await audit.entries(database)) == 2
    young = await retention.run(database, timedelta(hours=1), told.append, who=ANN, reason=None, rate=1e6)
    assert young.gone == 1, "the owner may"


async def test_sessions_go_that_ended_long_ago_and_whose_request_is_gone(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_sessions, "_LOOKED_AT_ONCE", 2)
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    long_ago, on_record, lately, active = [await put_request(db, None) for _ in range(4)]
    others = [await put_request(db, None) for _ in range(3)]
    for request_id in (long_ago, on_record, lately, active, *others):
        await put_session(db, request_id, None)
    for request_id, ago in ((long_ago, 91), (on_record, 91), (lately, 89), *((one, 400) for one in others)):
        await db.execute(ENDED, request_id, ago * DAY)
    await db.execute("delete from requests where request_id <> $1", on_record)
    before = datetime.now(UTC) - 90 * DAY
    told: list[Old] = []

    counted = await old_sessions.count(database, before, told.append)
    assert counted == Old(gone=4, kept=1, looked=7)
    assert len(await ids_in(db, "sessions")) == 7
    done = await old_sessions.retire(database, before, told.append, who=ANN, reason="rule", rate=1e6)

    assert done == Old(gone=4, kept=1, looked=7)
    assert await ids_in(db, "sessions") == {on_record, lately, active}
    entries = await audit.entries(database)
    assert {(entry.action, entry.reason) for entry in entries} == {("retention.sessions", "rule")}
    assert sum(entry.touched for entry in entries) == 4
    again = await old_sessions.retire(database, before, told.append, who=ANN, reason=None, rate=1e6)
    assert again == Old(gone=0, kept=1, looked=3)
