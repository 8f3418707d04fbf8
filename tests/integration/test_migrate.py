"""The schema's migrations run once each, in order, and never change afterwards."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from support.databases import migrate_up_to
from support.harness import eventually, run_in_process

from worker.errors import MigrationError
from worker.postgres import migrate
from worker.postgres.sql import Migration, load_migrations
from worker.settings import Settings

HISTORY_IN_THE_ROW = 22  # the migration since which a row tells its history
FINISH = (
    "update requests set status = 'completed', response = '{}', finished_at = now() where request_id = $1"
)
HISTORY = "select request_id, attempt, status, worker, at from request_transitions"
PUBLISHED = "select published_at from listed_requests where request_id = $1"


async def test_the_migrations_are_applied_once(empty_url: str, empty: asyncpg.Connection) -> None:
    everything = load_migrations()
    assert [migration.number for migration in everything] == list(range(1, len(everything) + 1))

    assert await migrate.migrate(empty_url) == everything
    first = await empty.fetch("select * from schema_migrations order by number")
    assert await migrate.migrate(empty_url) == []

    assert await empty.fetch("select * from schema_migrations order by number") == first
    assert [(row["number"], row["name"], row["checksum"]) for row in first] == [
        (migration.number, migration.name, migrate.checksum(migration)) for migration in everything
    ]
    assert await migrate.inspect(empty_url) == migrate.State(everything, [])
    await migrate.require_current(empty_url)


def test_what_is_done_beforehand_is_statements_alone() -> None:
    sql = "-- Of a table;\n-- and more;\nalter table a;\n\ncreate index concurrently b\n  on a (x);\n"
    migration = Migration(9, "x", f"{sql}-- migrate: one transaction\nselect 1;\n")

    assert migration.beforehand == ["alter table a", "create index concurrently b\n  on a (x)"]


async def test_several_at_once_apply_each_migration_once(empty_url: str, empty: asyncpg.Connection) -> None:
    applied = await asyncio.gather(*(migrate.migrate(empty_url) for _ in range(4)))

    assert sorted(map(len, applied)) == [0, 0, 0, len(load_migrations())]
    assert await empty.fetchval("select count(*) from schema_migrations") == len(load_migrations())


async def test_a_migration_changed_after_it_was_applied_is_refused(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    await migrate.migrate(empty_url)
    await empty.execute("update schema_migrations set checksum = 'other' where number = 1")

    for call in (migrate.migrate, migrate.inspect, migrate.require_current):
        with pytest.raises(MigrationError, match="0001_foundation was changed after it was applied"):
            await call(empty_url)


async def test_a_failing_migration_leaves_nothing_of_itself(
    empty_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = load_migrations()
    bad = Migration(len(good) + 1, "bad", "create table half_done (); select 1/0;")
    monkeypatch.setattr(migrate, "load_migrations", lambda: [*good, bad])

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(empty_url)

    assert await empty.fetchval("select to_regclass('half_done')") is None
    assert await migrate.inspect(empty_url) == migrate.State(good, [bad])
    with pytest.raises(MigrationError, match=f"{bad.number:04d}_bad"):
        await migrate.require_current(empty_url)


async def test_looking_at_an_empty_database_changes_nothing(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    assert await migrate.inspect(empty_url) == migrate.State([], load_migrations())

    assert await empty.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0


async def test_a_schema_that_is_newer_than_the_worker_is_no_obstacle(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    await migrate.migrate(empty_url)
    await empty.execute("insert into schema_migrations values (999, 'of_tomorrow', 'x', now())")

    assert await migrate.migrate(empty_url) == []
    await migrate.require_current(empty_url)


async def test_a_worker_does_not_start_on_a_database_without_the_schema(
    settings: Settings, empty_url: str, empty: asyncpg.Connection
) -> None:
    other = settings.model_copy(update={"database_url": type(settings.database_url)(empty_url)})

    async with run_in_process(other) as start:
        with pytest.raises(MigrationError, match=r"lacks .*0001_foundation.*session-worker migrate"):
            await start()

    assert await empty.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0


async def test_the_printed_sql_does_what_migrate_does(empty_url: str, empty: asyncpg.Connection) -> None:
    await empty.execute(migrate.script())

    await migrate.require_current(empty_url)
    assert await migrate.migrate(empty_url) == []


FULL = """
with made as (
  insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)
  select gen_random_uuid(), 'processing', 1, '1', '{}', 'ts_' || n, now() from generate_series(1, 50000) as n
)
select
"""
BEGIN = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)
values ($1, 'processing', 1, '1', '{}', 'ts_' || gen_random_uuid(), now())
"""
KEPT = """
select sum(number) filter (where status = 'completed') from (
  select status, number from request_totals union all select status, number from unfolded_changes
) as kept having count(*) filter (where number < 0 and status = 'completed') = 0
"""
FINISH = """
update requests set status = 'completed', response = '{}', finished_at = now() where request_id = $1
"""


async def test_a_full_database_learns_to_wait_while_the_version_before_is_at_work(
    empty_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_come = await migrate_up_to(empty_url, 6, monkeypatch)
    await empty.execute(FULL)
    await empty.execute(FINISH.partition("where")[0])
    place, older = await empty.fetchval("select pg_relation_filenode('requests')"), uuid4()
    await empty.execute(BEGIN, older)
    migrated, written, longest = asyncio.Event(), 0, 0.0
    clock = asyncio.get_running_loop().time

    async def writes() -> None:
        nonlocal written, longest
        while not migrated.is_set():
            begun, request_id = clock(), uuid4()
            await empty.execute(BEGIN, request_id)
            await empty.execute(FINISH, request_id)
            written, longest = written + 1, max(longest, clock() - begun)

    writing, begun = asyncio.create_task(writes()), clock()
    assert await migrate.migrate(empty_url) == to_come
    took = clock() - begun
    migrated.set()
    await writing
    await empty.execute(FINISH, older)

    assert (
        await empty.fetchval("select count(*) from requests where status = 'completed'") == 50_001 + written
    )
    assert written > 0
    assert longest < max(2, took / 2), "nobody waited for all of it"
    assert await empty.fetchval("select pg_relation_filenode('requests')") == place, "no row was rewritten"
    assert await empty.fetchval("select count(*) from lines") == 0
    assert await empty.fetchval(KEPT) == await empty.fetchval("select count(*) from requests")


async def test_workers_go_on_while_a_migration_waits_for_a_table_that_is_in_use(
    empty_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup reads the table for hours; statements behind a change that waits for it would wait as well."""
    monkeypatch.setattr(migrate, "LOCK_AGAIN_SECONDS", 0.2)
    everything = load_migrations()
    last = Migration(len(everything) + 1, "last", "alter table workers add column more text;")
    await migrate.migrate(empty_url)
    monkeypatch.setattr(migrate, "load_migrations", lambda: [*everything, last])
    backup = await asyncpg.connect(empty_url)
    try:
        async with backup.transaction():
            await backup.execute("lock table workers in access share mode")
            migrating = asyncio.create_task(migrate.migrate(empty_url))
            waits = "select exists (select from pg_locks where not granted)"
            for _ in range(2):
                await eventually(lambda: empty.fetchval(waits))
                async with asyncio.timeout(60):
                    await empty.execute(
                        "insert into workers (id, host, pid, version) values ($1, 'h', 1, '1')", uuid4()
                    )
        assert await migrating == [last]
    finally:
        await backup.close()
    assert await migrate.inspect(empty_url) == migrate.State([*everything, last], [])


async def test_requests_from_before_keep_their_history_and_when_they_were_published(
    empty_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate_up_to(empty_url, HISTORY_IN_THE_ROW, monkeypatch)
    done, begun = uuid4(), uuid4()
    for request_id in (done, begun):
        await empty.execute(
            "insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)"
            " values ($1::uuid, 'processing', 1, 'x', '{}', 'ts_' || $1::text, now())",
            request_id,
        )
    await empty.execute(FINISH, done)
    await empty.execute("update requests set published_at = now() where finished_at is not null")
    history = await empty.fetch(f"{HISTORY} order by at, attempt")
    published = await empty.fetchval("select published_at from requests where request_id = $1", done)

    await migrate.migrate(empty_url)

    assert await empty.fetch(f"{HISTORY} order by at, attempt") == history
    assert await empty.fetchval(PUBLISHED, done) == published
    await empty.execute(FINISH, begun)
    steps = await empty.fetch(f"{HISTORY} where request_id = $1 order by at, attempt", begun)
    assert [row["status"] for row in steps] == ["pending", "processing", "completed"]
    assert await empty.fetchval("select count(*) from recorded_transitions") == len(history) == 5
