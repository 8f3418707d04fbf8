"""What Postgres may say that is no fault of a request, and what a statement that waits leaves behind."""

from uuid import uuid4

import asyncpg
import pytest
from harness import Desk, NewWorker, eventually, good_request, response_in, told
from structlog.testing import capture_logs

from worker import database
from worker.errors import NotStorable
from worker.failpoint import FailPoint
from worker.readiness import Readiness

WAITING = (
    "select pid from pg_stat_activity where datname = current_database() "
    "and application_name like 'session-worker %' and wait_event_type = 'Lock'"
)
CONNECTED = (
    "select count(*) from pg_stat_activity where datname = current_database() "
    "and application_name like 'session-worker %'"
)


async def test_a_statement_that_somebody_ends_is_no_verdict_on_its_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, database_url: str
) -> None:
    worker = await new_worker()
    other = await asyncpg.connect(database_url)
    with capture_logs() as events:
        async with db.transaction():
            await db.execute("lock table requests in access exclusive mode")
            await desk.send(good_request())
            pid = await eventually(lambda: other.fetchval(WAITING))
            await other.execute("select pg_cancel_backend($1)", pid)
            await told(events, "postgres.lost", 1)
            assert "postgres" in worker.readiness.reasons
        answer = response_in(await desk.next())
    await other.close()
    assert answer.status == "completed"
    assert await db.fetchval("select max(attempt) from requests") == 1
    await worker.readiness.until_up()


async def test_a_table_that_is_out_of_the_way_for_a_while_fails_no_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    await desk.ask(good_request())
    with capture_logs() as events:
        await db.execute("alter table sessions rename to sessions_put_away")
        await desk.send(good_request())
        await told(events, "postgres.lost", 1)
        await db.execute("alter table sessions_put_away rename to sessions")
        assert response_in(await desk.next()).status == "completed"


@pytest.mark.parametrize("query", ["look_up", "forget_workers"])
async def test_what_no_request_waits_for_says_what_is_wrong(
    db: asyncpg.Connection, database_url: str, query: str
) -> None:
    for table in ("requests", "workers"):
        await db.execute(f"alter table {table} rename to {table}_put_away")
    readiness = Readiness([database.PART])
    connected = database.Database(database_url, 1, None, readiness, FailPoint(""))
    await connected.open()
    with pytest.raises(NotStorable, match="42P01"):
        await connected.call(query, uuid4() if query == "look_up" else 60.0)
    assert not readiness.reasons
    await connected.close()


async def test_statements_that_wait_for_a_lock_do_not_use_up_the_connections(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With times of their own here: the real ones are compared."""
    theirs, ours = database.SERVER_SETTINGS["statement_timeout"], database._CALL_SECONDS
    assert theirs == f"{ours - 1}s"
    monkeypatch.setattr(database, "_CALL_SECONDS", 1.5)
    monkeypatch.setitem(database.SERVER_SETTINGS, "statement_timeout", "1s")
    await new_worker()
    other = await asyncpg.connect(database_url)
    with capture_logs() as events:
        async with db.transaction():
            await db.execute("lock table requests in access exclusive mode")
            await desk.send(good_request())
            ended = await told(events, "postgres.lost", 1)
            assert "statement timeout" in ended["reason"]
            for _ in range(3):
                before = await eventually(lambda: other.fetchval(WAITING))

                async def another(before: int = before) -> bool:
                    return not await other.fetchval(f"select exists ({WAITING} and pid = {before})")

                await eventually(another)
                assert await other.fetchval(CONNECTED) <= 4
        assert response_in(await desk.next()).status == "completed"
    await other.close()
