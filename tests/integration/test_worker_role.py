"""A worker's role has all rights that it needs, and none that could make the record untrue."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.harness import Desk, eventually, good_request, response_in, row_of, run_in_process
from support.sealed import put_request, ring

from schemas import CreateSessionRequest, session_id
from worker.errors import MigrationError, WorkerError
from worker.handlers import Context, RetryLater
from worker.monitoring.readiness import Readiness
from worker.operations import old_sessions
from worker.operations import retention as by_hand
from worker.operations.resealing import Resealing
from worker.postgres import migrate
from worker.postgres.database import Database
from worker.postgres.sql import load_queries
from worker.services import expiry, retention
from worker.settings import Settings

OLD = timedelta(days=40)
STATEMENTS = load_queries() | load_queries("operations.sql")
BEFORE_GRANTS = """
grant usage on schema public to {role};
grant select on schema_migrations to {role};
grant select, insert, update, delete on requests, leases, workers to {role};
grant select, insert, delete on request_transitions to {role};
grant select, insert, update on sessions to {role};
"""
TEMPORARY = """
do $$ begin execute '{0} temporary on database ' || current_database() || ' {2} {1}'; end $$
"""


@pytest_asyncio.fixture
async def role_url(database_url: str, db: asyncpg.Connection) -> AsyncIterator[str]:
    """Yields the URL of the same database for a role that has the rights of a worker, as documented."""
    role = f"sw_{uuid4().hex[:10]}"
    await db.execute(f"create role {role} login password 'made-up'")
    await migrate.grant(database_url, role)
    await db.execute(TEMPORARY.format("revoke", "public", "from"))
    parts = urlsplit(database_url)
    yield urlunsplit(parts._replace(netloc=f"{role}:made-up@{parts.netloc.rpartition('@')[2]}"))
    await db.execute(f"drop owned by {role}")
    await db.execute(f"drop role {role}")


@pytest_asyncio.fixture
async def as_worker(role_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(role_url)
    yield connection
    await connection.close()


async def completed(db: asyncpg.Connection, *, ago: timedelta = timedelta(0)) -> UUID:
    """Makes a completed request, by the legal steps."""
    request_id = uuid4()
    await db.execute(
        "insert into requests (request_id, status, attempt, org_id, fingerprint, body,"
        " session_id, started_at, received_at)"
        " values ($1, 'processing', 1, 'o', 'x', '{}', $2, now(), now() - $3::interval)",
        request_id, f"ts_{request_id}", ago,
    )  # fmt: skip
    await db.execute(
        "insert into sessions (id, request_id, org_id, status, expiration_seconds, created_at, updated_at,"
        " expires_at, document) values ($1, $2, 'o', 'active', 60, now(), now(), now(), '{}')",
        f"ts_{request_id}", request_id,
    )  # fmt: skip
    await db.execute(
        "update requests set status = 'completed', response = '{}', finished_at = now() - $2::interval"
        " where request_id = $1",
        request_id, ago,
    )  # fmt: skip
    return request_id


async def carried_out(url: str, sql: str) -> bool:
    """Tries this on a connection of its own: what it made for a time is gone afterwards."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.CheckViolationError):
        return False
    finally:
        await connection.close()
    return True


async def everything(db: asyncpg.Connection) -> list[Any]:
    tables = "requests", "request_transitions", "sessions"
    return [await db.fetch(f"select * from {table} order by 1, 2, 3") for table in tables]  # noqa: S608 — our own


FORGED = {
    "history from a trigger of one's own": """
        create temp table t(x int);
        create function pg_temp.f() returns trigger language plpgsql as $$ begin
          insert into public.recorded_transitions(request_id,attempt,status,at)
          values ('{id}',7,'failed','1999-01-01'); return null; end $$;
        create trigger tr after insert on t for each row execute function pg_temp.f();
        insert into t values (1)""",
    "a temporary table in place of the history": """
        create temp table recorded_transitions (like public.recorded_transitions including defaults);
        update public.requests set published_at = now() where request_id = '{id}'""",
    "a temporary table in place of the requests": """
        create temp table requests (like public.requests);
        delete from public.recorded_transitions where request_id = '{id}'""",
    "history by the function that writes it": """
        create temp table t(request_id uuid, attempt integer, status text, worker uuid);
        create trigger tr after update on t referencing old table as was new table as is_now
          for each statement execute function public.record_transition();
        insert into t values ('{id}', 1, 'processing');
        update t set attempt = 7, status = 'failed'""",
    "a history's beginning by the function that writes it": """
        create temp table t(request_id uuid, attempt integer, status text, worker uuid);
        create trigger tr after insert on t referencing new table as begun
          for each statement execute function public.record_beginning();
        insert into t values (gen_random_uuid(), 0, 'pending')""",
    "history by hand": "insert into recorded_transitions values ('{id}', 7, 'failed')",
    "history changed": "update recorded_transitions set at = '1999-01-01'",
    "history deleted": "delete from recorded_transitions",
    "history emptied": "truncate recorded_transitions",
    "a finished request deleted": "delete from requests where request_id = '{id}'",
    "a request of long ago": "insert into requests (request_id, fingerprint, body, session_id, received_at)"
    " values (gen_random_uuid(), 'x', '{{}}', 'ts_2', '2001-01-01')",
    "its org": "update requests set org_id = 'other' where request_id = '{id}'",
    "its user": "update requests set user_id = 'other' where request_id = '{id}'",
    "its body": "update requests set body = '[]' where request_id = '{id}'",
    "its reply queue": "update requests set reply_to = 'other' where request_id = '{id}'",
    "its correlation id": "update requests set correlation_id = 'other' where request_id = '{id}'",
    "its start": "update requests set started_at = '1999-01-01' where request_id = '{id}'",
    "its deadline": "update requests set deadline_at = now() where request_id = '{id}'",
    "its worker": "update requests set worker = gen_random_uuid() where request_id = '{id}'",
    "its end": "update requests set finished_at = '1999-01-01' where request_id = '{id}'",
    "its response": "update requests set response = '[]' where request_id = '{id}'",
    "a session's name": "update sessions set name = 'other'",
    "a session's document": "update sessions set document = '[]'",
    "a session deleted": "delete from sessions",
    "an operator's deed of long ago": "insert into audit (at, who, action) values ('1999-01-01', 'me', 'x')",
    "an operator's deed as another role": "insert into audit (role, who, action) values ('other', 'me', 'x')",
    "the audit changed": "update audit set who = 'other'",
    "the audit deleted": "delete from audit",
    "a retry's link": "update retries set retried_as = gen_random_uuid()",
    "whose tables these are": "update installation set prefix = 'other'",
    "a migration": "insert into schema_migrations values (999, 'x', 'x')",
    "the guard": "alter table requests disable trigger all",
    "a function": "create or replace function public.record_transition() returns trigger language plpgsql as"
    " $$ begin return null; end $$",
    "no guard": "set session_replication_role = replica",
}


async def test_the_role_cannot_forge_skip_or_wipe(db: asyncpg.Connection, role_url: str) -> None:
    request_id = await completed(db)
    before = await everything(db)
    for what, sql in FORGED.items():
        assert not await carried_out(role_url, sql.format(id=request_id)), what
        assert await everything(db) == before, what


WORST = [what for what in FORGED if any(word in what for word in ("history", "requests", "deleted"))]


async def test_nor_can_a_role_that_was_given_more(db: asyncpg.Connection, role_url: str) -> None:
    """It was set up before `--grant` existed: with the rights that the docs listed, and temporary tables."""
    role = urlsplit(role_url).username
    await db.execute(BEFORE_GRANTS.format(role=role))
    await db.execute(TEMPORARY.format("grant", role, "to"))
    done = []
    for what in WORST:
        request_id = await completed(db)
        before = await everything(db)
        if await carried_out(role_url, FORGED[what].format(id=request_id)):
            done.append(what)
            assert (await everything(db))[1] == before[1], what
        else:
            assert await everything(db) == before, what
    assert done == ["a temporary table in place of the history"]


async def test_a_temporary_table_does_not_stand_in_for_the_history(
    db: asyncpg.Connection, role_url: str
) -> None:
    role = urlsplit(role_url).username
    await db.execute(TEMPORARY.format("grant", role, "to"))
    connection = await asyncpg.connect(role_url)
    await connection.execute(
        "create temp table recorded_transitions (like public.recorded_transitions including defaults)"
    )
    request_id = uuid4()

    await connection.execute(
        "insert into public.requests (request_id, status, attempt, fingerprint, body, session_id, started_at)"
        " values ($1, 'processing', 1, 'x', '{}', 'ts_1', now())",
        request_id,
    )
    await connection.execute(
        "update public.requests set status = 'completed', response = '{}', finished_at = now()"
    )

    assert await connection.fetchval("select count(*) from pg_temp.recorded_transitions") == 0
    rows = await db.fetch(
        "select * from request_transitions where request_id = $1 order by at, attempt", request_id
    )
    await connection.close()
    assert [row["status"] for row in rows] == ["pending", "processing", "completed"]


async def test_the_role_deletes_only_what_is_old(
    db: asyncpg.Connection, as_worker: asyncpg.Connection
) -> None:
    recent, old = await completed(db, ago=timedelta(hours=23)), await completed(db, ago=OLD)

    for _ in range(2):
        await as_worker.fetchval("select retire_requests('0', 500)")
        await as_worker.fetchval("select retired from retire_requests('-10 days', 500, null)")

    assert [row["request_id"] for row in await db.fetch("select request_id from requests")] == [recent]
    assert await db.fetchval("select count(*) from request_transitions where request_id = $1", old) == 0
    await db.execute("insert into installation values (true, 'mine', 'migrate', '1 hour')")
    assert await as_worker.fetchval("select retire_requests('0', 500)") == 1


async def test_the_owner_is_no_worker_s_role(db: asyncpg.Connection, database_url: str) -> None:
    """The triggers act for the owner, and could write no history without the owner's own rights."""
    owner = await db.fetchval("select current_user")

    with pytest.raises(MigrationError, match=f"{owner} owns the tables"):
        await migrate.grant(database_url, owner)

    rights = "select relacl from pg_class where oid = 'recorded_transitions'::regclass"
    assert await db.fetchval(rights) is None


async def test_what_is_noted_of_the_delivery_of_a_finished_request_may_change(
    db: asyncpg.Connection, as_worker: asyncpg.Connection
) -> None:
    request_id = await completed(db)

    await as_worker.execute("update requests set published_at = now(), lease = 17")
    await as_worker.execute("update requests set published_at = null, lease = null")

    row = await row_of(db, request_id)
    assert (row["published_at"], row["lease"]) == (None, None)


async def test_only_the_owner_seals_a_finished_request_anew_and_can_change_nothing_else_of_it(
    db: asyncpg.Connection, as_worker: asyncpg.Connection
) -> None:
    request_id = await put_request(db, ring("k1"))
    body = await db.fetchval("select body from requests")
    change = "update requests set body = $1 where request_id = $2"
    anew = ring("k1", "k2").reseal_text(body, json.loads(body)["payload"], request_id, old="k1", new="k2")
    assert anew != body
    refused = asyncpg.CheckViolationError
    with pytest.raises(refused, match="the columns of a finished request never change"):
        await as_worker.execute(change, anew, request_id)
    for other in (
        anew.replace('"org_id": "o"', '"org_id": "p"'),
        body.replace("k1", "k 1"),
        f"{anew} ",
        body.replace(":k1:", ""),
    ):
        with pytest.raises(refused):
            await db.execute(change, other, request_id)
    with pytest.raises(refused):
        await db.execute(
            "update requests set body = $1, org_id = 'x' where request_id = $2", anew, request_id
        )

    await db.execute(change, anew, request_id)

    assert await db.fetchval("select body from requests") == anew
    assert await db.fetchval("select count(*) from request_transitions") == 3


async def test_what_is_for_the_owner_is_refused_in_words(db: asyncpg.Connection, role_url: str) -> None:
    old = await completed(db, ago=timedelta(hours=2))
    database = Database(role_url, 1, None, Readiness(["postgres"]))
    await database.open()
    both = ring("k2", "k1")
    forbidden = [
        Resealing(database, both, old="k1", new="k2", who="me", reason="r", rate=1).run(lambda _: None),
        old_sessions.retire(
            database, datetime.now(UTC), lambda _: None, who="me", reason=None, rate=1
        ),
        by_hand.run(database, timedelta(hours=1), lambda _: None, who="me", reason=None, rate=1),
    ]  # fmt: skip
    for each in forbidden:
        with pytest.raises(WorkerError, match="only the owner of the tables may"):
            await each
    await database.close()
    assert await db.fetchval("select request_id from requests") == old


async def test_nor_does_it_without_words(as_worker: asyncpg.Connection) -> None:
    for sql in load_queries("owner.sql").values():
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_worker.execute(f"explain (generic_plan) {sql}")


async def test_the_role_may_execute_every_statement(as_worker: asyncpg.Connection) -> None:
    """To explain a statement Postgres begins to execute it, and so checks the rights."""
    refused = {}
    for query, sql in STATEMENTS.items():
        try:
            await as_worker.execute(f"explain (generic_plan) {sql}")
        except asyncpg.PostgresError as error:
            refused[query] = str(error)
    assert len(STATEMENTS) > 100
    assert refused == {}


async def _fails_once(_request: CreateSessionRequest, context: Context) -> None:
    if context.attempt == 1:
        raise RetryLater(after=0.01, reason="not yet")


async def test_a_worker_does_all_its_work_with_these_rights(
    settings: Settings,
    role_url: str,
    desk: Desk,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for service in (expiry, retention):
        monkeypatch.setattr(service, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("worker.wiring.load_handler", lambda _: _fails_once)
    old = await completed(db, ago=OLD)
    mine = settings.model_copy(update={"database_url": SecretStr(role_url)})
    with capture_logs() as events:
        async with run_in_process(mine) as start:
            worker = await start(lease_seconds=1, retention_days=1)
            request = good_request()
            first = await desk.ask(request)
            assert await desk.ask(request) == first, "answered again"
            assert (await desk.ask(request | {"org_id": "other"})).metadata["code"] == "request_id_conflict"
            assert (await desk.ask(good_request(colour="blue"))).metadata["code"] == "invalid_request"
            await worker.stop()

            retrying = await start(handler="tests:any", lease_seconds=1)
            retried = await desk.ask(good_request())
            assert (await row_of(db, retried.request_id))["attempt"] == 2
            await retrying.vanish()
            await db.execute(  # as it leaves what it was at work on
                "insert into leases (id, lease_until) values (9, now() - interval '1 s')"
            )
            lost = await _left_behind(db, retried.request_id, desk.reply_to)
            await start(lease_seconds=1)
            while response_in(await desk.next()).request_id != lost:
                pass  # what had vanished before it could acknowledge is answered again

            async def aged() -> bool:
                sessions = await db.fetchval("select status from sessions where request_id = $1", old)
                kept = await db.fetchval("select exists (select from requests where request_id = $1)", old)
                return sessions == "completed" and not kept

            await eventually(aged)
    names = {event["event"] for event in events}
    assert not names & {"postgres.lost", "service.failed", "batch.failed", "recovery.failed"}, events
    assert await db.fetchval("select count(*) from workers") == 0, "each has signed off"


async def _left_behind(db: asyncpg.Connection, like: UUID, reply_to: str) -> UUID:
    """Makes a request that another worker was at work on, with the body of this one."""
    request_id = uuid4()
    await db.execute(
        "insert into requests (request_id, status, attempt, org_id, fingerprint, body,"
        " session_id, started_at, lease, reply_to)"
        " select $1, 'processing', 1, 'o', 'x', body, $2, now(), 9, $3 from requests where request_id = $4",
        request_id, session_id(request_id, datetime.now(UTC).date()), reply_to, like,
    )  # fmt: skip
    return request_id
