"""An error of Postgres that no request caused fails no request, and a waiting statement leaves nothing."""

import asyncio
import gc
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from itertools import count
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.faults.proxy import Proxy, proxy_to
from support.harness import (
    Desk,
    NewWorker,
    eventually,
    good_request,
    http_get,
    response_in,
    told,
)

from worker.backoff import jittered
from worker.errors import NotStorable
from worker.monitoring import log
from worker.monitoring.handler_calls import HandlerCalls
from worker.monitoring.readiness import Readiness
from worker.monitoring.strain import Strain
from worker.operations.record import find
from worker.postgres import database
from worker.postgres.installation import connected
from worker.postgres.leases import Leases
from worker.postgres.session import Session
from worker.postgres.waiting_answers import WaitingAnswers
from worker.process.identity import Identity
from worker.services.heartbeat import Heartbeat
from worker.settings import Settings
from worker.testing.running import RunningWorker

WAITING = (
    "select pid from pg_stat_activity where datname = current_database() "
    "and application_name like 'session-worker %' and wait_event_type = 'Lock'"
)
LOCK = "begin; lock table requests in access exclusive mode; commit"
GIVE_UP = (  # those that have waited for so long that the worker knows for whom
    "select array_agg(pid) filter (where pg_cancel_backend(pid)), clock_timestamp() from pg_stat_activity "
    "where datname = current_database() and wait_event_type = 'Lock' "
    "and application_name like 'session-worker %' and query_start < clock_timestamp() - interval '2 seconds'"
)
HAVE_GIVEN_UP = (
    "select not exists (select from pg_stat_activity where pid = any ($1::integer[]) and state = 'active' "
    "and query_start < $2)"
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
            down = asyncio.create_task(worker.readiness.until_down("postgres"))
            await other.execute("select pg_cancel_backend($1)", pid)
            await told(events, "postgres.lost", 1)
            await asyncio.wait_for(down, 60)
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


async def look_up(connected: database.Database) -> None:
    await find(connected, uuid4())


async def forget_workers(connected: database.Database) -> None:
    me = Identity(uuid4(), "host", 1, "1")
    strain, leases = Strain(HandlerCalls(), 0), Leases(connected, me.worker, 60)
    beats = Heartbeat(leases, connected, me, list, strain, keeps_seconds=None)
    await beats.forget_the_silent()


async def count_unanswered(connected: database.Database) -> None:
    await WaitingAnswers(connected).count()


@pytest.mark.parametrize("ask", [look_up, forget_workers, count_unanswered])
async def test_what_no_request_waits_for_says_what_is_wrong(
    db: asyncpg.Connection, database_url: str, ask: Callable[[database.Database], Awaitable[None]]
) -> None:
    for table in ("requests", "workers", "ended_workers"):
        await db.execute(f"alter table {table} rename to {table}_put_away")
    readiness = Readiness([database.PART])
    connected = database.Database(database_url, 1, None, readiness)
    await connected.open()
    with pytest.raises(NotStorable, match="42P01"):
        await ask(connected)
    assert not readiness.reasons
    await connected.close()


async def test_while_a_write_is_refused_a_read_that_succeeds_does_not_make_it_ready(
    db: asyncpg.Connection, database_url: str
) -> None:
    name = await db.fetchval("select current_database()")
    await db.execute(f'alter database "{name}" set default_transaction_read_only = on')
    readiness = Readiness([database.PART])
    connected = database.Database(database_url, 2, None, readiness)
    await connected.open()
    me = Identity(uuid4(), "host", 1, "1")
    leases = Leases(connected, me.worker, 60)
    writing = asyncio.create_task(leases.register(me.host, me.pid, me.version))
    await readiness.until_down(database.PART)

    assert await find(connected, uuid4()) is None

    assert "read-only" in readiness.reasons[database.PART]
    await db.execute(f'alter database "{name}" reset default_transaction_read_only')
    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    await writing
    assert not readiness.reasons
    await connected.close()


@pytest.mark.parametrize("lease", [1.0, 30.0])
async def test_a_beat_is_tried_again_long_before_others_judge_its_worker(
    db: asyncpg.Connection, database_url: str, lease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draws are the longest there are; another statement may wait for longer than such a lease."""
    waits: list[float] = []

    def recorded(base: float, cap: float) -> Iterator[float]:
        for attempt in count(1):
            waits.append(jittered(attempt, base, cap, draw=1.0))
            yield 0.001

    monkeypatch.setattr(database, "delays", recorded)
    connected = database.Database(database_url, 1, None, Readiness([database.PART]))
    await connected.open()
    await db.execute("alter table workers rename to workers_put_away")
    beat = asyncio.create_task(Leases(connected, uuid4(), lease).heartbeat("host", 1, "1"))

    async def tried_ten_times() -> bool:
        return len(waits) >= 10

    await eventually(tried_ten_times)
    await db.execute("alter table workers_put_away rename to workers")
    await beat
    assert max(waits) <= lease / 10
    await connected.close()


async def test_statements_that_wait_for_a_lock_do_not_use_up_the_connections(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test shortens the times; it compares the real ones with each other."""
    theirs, ours = database.SERVER_SETTINGS["statement_timeout"], database._CALL_SECONDS
    assert theirs == f"{ours - 1}s"
    monkeypatch.setattr(database, "_CALL_SECONDS", 10)  # on a busy machine, too, the server is first
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
                # Four, and that of the one who watches; who was given up notices it a moment later.
                await eventually(lambda: other.fetchval(f"select ({CONNECTED}) <= 5"))
        assert response_in(await desk.next()).status == "completed"
    await other.close()


async def test_who_holds_the_lock_is_told_before_a_statement_gives_up(
    db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LONG_SECONDS", 0.1)
    monkeypatch.setattr(database, "_LOOK_SECONDS", 0.05)
    readiness = Readiness([database.PART])
    connected = database.Database(database_url, 1, None, readiness)
    await connected.open()
    async with db.transaction():
        await db.execute("lock table requests in access exclusive mode")
        with capture_logs() as events:
            asked = asyncio.create_task(find(connected, uuid4()))
            async with asyncio.timeout(60):
                await readiness.until_down(database.PART)
        assert f"pid {db.get_server_pid()} " in readiness.reasons[database.PART]
        assert (asked.done(), events) == (False, [])
    assert await asked is None
    await connected.close()


async def test_who_holds_the_lock_is_told_while_it_is_waited_for_and_an_outage_is_told_once(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    database_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))
    monkeypatch.setattr(database, "_LONG_SECONDS", 0.2)
    monkeypatch.setattr(database, "_LOOK_SECONDS", 0.05)
    worker = await new_worker(lease_seconds=1)
    other = await asyncpg.connect(database_url, server_settings={"application_name": "backup of the night"})
    looking = await asyncpg.connect(database_url)  # in a transaction, it would see what was there once
    pid, user = other.get_server_pid(), await other.fetchval("select current_user")
    holder = (
        rf"waits for a lock .*that pid {pid} \(backup of the night, {user}\) holds in a transaction since "
    )

    async def given_up() -> tuple[list[int], datetime] | None:
        pids, at = await looking.fetchrow(GIVE_UP)
        return (pids, at) if pids else None

    with capture_logs() as events:
        async with other.transaction():
            await other.execute("lock table requests, workers, leases in access exclusive mode")
            behind = asyncio.create_task(db.execute(LOCK))
            for _ in range(3):
                await desk.send(good_request())
            status = await eventually(lambda: _not_ready(worker))
            assert re.search(holder + "2[0-9-]+ [0-9:]+Z", status), status
            pids, at = await eventually(given_up)  # as by themselves, after some seconds
            lost = await told(events, "postgres.lost", 1)
            assert re.search(holder, lost["reason"])
            # One that noticed it only after another has got through would be an outage of its own.
            await eventually(lambda: looking.fetchval(HAVE_GIVEN_UP, pids, at))
        await behind
        for _ in range(3):
            assert response_in(await desk.next()).status == "completed"
        await told(events, "postgres.back", 1)
    await other.close()
    await looking.close()
    await worker.readiness.until_up()
    assert [event["event"] for event in events if event["event"].startswith("postgres.")] == [
        "postgres.lost", "postgres.back",
    ]  # fmt: skip


async def _not_ready(worker: RunningWorker) -> str | None:
    code, text = await http_get(worker, "/readyz")
    return text if code == 503 and "lock" in text else None


async def test_connections_are_named_for_their_worker(new_worker: NewWorker, db: asyncpg.Connection) -> None:
    await new_worker()
    names = await db.fetch(
        "select distinct application_name as name from pg_stat_activity where datname = current_database()"
        " and application_name like 'session-worker%'"
    )
    assert [row["name"] for row in names] == [f"session-worker {socket.gethostname()[:40]}:{os.getpid()}"]


async def test_a_connection_that_fails_at_its_first_question_is_closed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Session] = []

    async def cut(self: Session) -> None:
        opened.append(self)
        raise ConnectionResetError

    monkeypatch.setattr(Session, "look_for_pooler", cut)
    with pytest.raises(ConnectionResetError):
        async with connected(database_url):
            pass
    assert [each.is_closed() for each in opened] == [True]


async def test_a_question_that_is_given_up_is_not_waited_for_again_when_its_connection_is_closed(
    database_url: str,
) -> None:
    async def ask(proxy: Proxy, url: str) -> None:
        async with connected(url) as connection:
            proxy.stall()
            async with asyncio.timeout(0.2):
                await connection.fetchval("select 1")

    async with proxy_to(database_url) as (proxy, url), asyncio.timeout(60):
        with pytest.raises(TimeoutError):
            await ask(proxy, url)
        assert proxy.connections == 1, "it is still there, and says nothing"


async def test_a_connection_that_gave_itself_back_before_is_no_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost in the very moment in which it is given back, it does so by itself: the driver says so."""
    released = asyncio.Event()
    release = asyncpg.Pool.release

    async def too_late(pool: asyncpg.Pool, connection: object) -> None:
        await release(pool, connection)
        released.set()
        raise asyncpg.InternalClientError("release() called on a free connection holder")

    gc.collect()  # what other tests have left
    told_of: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: told_of.append(context))
    opened = database.Database(database_url, 1, None, Readiness([database.PART]))
    await opened.open()
    monkeypatch.setattr(asyncpg.Pool, "release", too_late)
    for _ in range(2):
        await opened.once("all_is_safe")
        await asyncio.wait_for(released.wait(), 60)
        released.clear()
    await opened.close()
    gc.collect()  # what nobody asked for is told then
    loop.set_exception_handler(None)  # it is the loop of all tests

    assert told_of == []
