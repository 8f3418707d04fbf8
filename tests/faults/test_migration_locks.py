"""No migration keeps the writers of a filled database waiting, whatever the machine is busy with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from support import last_release
from support.lock_watch import watching_locks

from worker.postgres import migrate
from worker.postgres.sql import Migration, load_migrations

LIMIT_SECONDS = 1.0
WRITERS = 3
FILLED = ("requests", "request_transitions", "recorded_transitions", "sessions")  # some under a later name
FILL = """
with made as (
  insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)
  select gen_random_uuid(), 'processing', 1, '1', '{}', to_char(now(), '"ts_"YYMMDD_') || n, now()
  from generate_series(1, 50000) as n
  returning request_id, session_id
)
insert into sessions (
  id, request_id, org_id, status, expiration_seconds, created_at, updated_at, expires_at, document
)
select session_id, request_id, 'org-1', 'active', 3600, now(), now(), now() + interval '1 hour', '{}'
from made
"""
BEGIN = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)
values ($1, 'processing', 1, '1', '{}', to_char(now(), '"ts_"YYMMDD_') || $1::uuid, now())
"""
SESSION = """
insert into sessions (
  id, request_id, org_id, status, expiration_seconds, created_at, updated_at, expires_at, document
)
values (
  to_char(now(), '"ts_"YYMMDD_') || $1::uuid, $1, 'org-1', 'active', 3600, now(), now(),
  now() + interval '1 hour', '{}'
)
"""
FINISH = """
update requests set status = 'completed', response = '{}', finished_at = now() where request_id = $1
"""
LIVE = "insert into workers (id, host, pid, version) values ($1, 'h', 1, '0.1.0')"
BEAT = "update workers set heartbeat = now() where id = $1"
PLACES = """
select oid::integer, relname, pg_relation_filenode(oid) as place from pg_class
where relname = any ($1::text[]) and relkind = 'r'
"""
MOVED = "select oid::integer from pg_class where oid = $1::integer::oid and pg_relation_filenode(oid) <> $2"


class Load:
    """Counts what the writers have finished."""

    def __init__(self) -> None:
        self.finished = 0
        self._moved = asyncio.Event()

    def count(self) -> None:
        self.finished += 1
        self._moved.set()

    async def goes_on(self) -> None:
        """Waits until one more is finished that was begun after this: what was under way is one a writer."""
        wanted = self.finished + WRITERS + 1
        while self.finished < wanted:
            self._moved.clear()
            await self._moved.wait()


@asynccontextmanager
async def under_load(url: str) -> AsyncIterator[Load]:
    """Writes as workers of the last release do, on connections of their own."""
    load = Load()

    async def write() -> None:
        worker, connection = uuid4(), await asyncpg.connect(url)
        try:
            await connection.execute(LIVE, worker)
            while True:
                request_id = uuid4()
                await connection.execute(BEGIN, request_id)
                async with connection.transaction():
                    await connection.execute(SESSION, request_id)
                    await connection.execute(FINISH, request_id)
                await connection.execute(BEAT, worker)
                load.count()
        finally:
            connection.terminate()

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write()) for _ in range(WRITERS)]
        await load.goes_on()
        yield load
        await load.goes_on()
        for writer in writers:
            writer.cancel()


class Verdict:
    """Holds what each migration did to the others: how long they waited, and which tables it wrote anew."""

    def __init__(self) -> None:
        self.waited: dict[str, float] = {}
        self.rewritten: dict[str, set[str]] = {}


async def migrated_one_by_one(
    url: str, migrations: list[Migration], applied: int, monkeypatch: pytest.MonkeyPatch
) -> Verdict:
    verdict, db = Verdict(), await asyncpg.connect(url)
    async with under_load(url) as load:
        for number in range(applied + 1, len(migrations) + 1):
            monkeypatch.setattr(migrate, "load_migrations", lambda number=number: migrations[:number])
            before = await db.fetch(PLACES, FILLED)
            async with watching_locks(url) as waits:
                (done,) = await migrate.migrate(url)
                await load.goes_on()
            verdict.waited[done.written] = waits.longest
            verdict.rewritten[done.written] = {
                table["relname"] for table in before if await db.fetchval(MOVED, table["oid"], table["place"])
            }
    await db.close()
    return verdict


@pytest.fixture
async def filled_url(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A filled database of the last release."""
    assert migrate.LOCK_SECONDS <= LIMIT_SECONDS
    # Autovacuum may hold a table just then, and behind a migration that waits for it others wait, too. It
    # gives up early, so that the time that is measured is that of its own work.
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(migrate, "LOCK_AGAIN_SECONDS", 0.2)
    await last_release.migrate({"DATABASE_URL": empty_url})
    db = await asyncpg.connect(empty_url)
    await db.execute(FILL)
    await db.execute(FINISH.partition("where")[0])
    await db.close()
    return empty_url


@pytest.mark.timeout(400)
async def test_no_migration_holds_writers_up_for_a_second_or_rewrites_a_table(
    filled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = load_migrations()
    applied = len((await migrate.inspect(filled_url)).applied)

    verdict = await migrated_one_by_one(filled_url, everything, applied, monkeypatch)

    assert len(verdict.waited) == len(everything) - applied > 0
    assert {name: took for name, took in verdict.waited.items() if took > LIMIT_SECONDS} == {}
    assert {name: tables for name, tables in verdict.rewritten.items() if tables} == {}


@pytest.mark.timeout(400)
async def test_a_migration_that_does_either_is_found_out(
    filled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a mistake that somebody could make: of a fuller table the work under the lock takes as long."""
    known = load_migrations()[: len((await migrate.inspect(filled_url)).applied)]
    held = "lock table requests in access exclusive mode; select pg_sleep(3);"
    by_its_index = "create index more on request_transitions (at); select pg_sleep(3);"
    anew = "alter table sessions add column tag uuid not null default gen_random_uuid();"
    bad = [
        Migration(len(known) + number, name, sql)
        for number, (name, sql) in enumerate((("held", held), ("index", by_its_index), ("anew", anew)), 1)
    ]

    verdict = await migrated_one_by_one(filled_url, [*known, *bad], len(known), monkeypatch)

    slow = {name for name, took in verdict.waited.items() if took > LIMIT_SECONDS}
    assert {bad[0].written, bad[1].written} <= slow
    assert verdict.rewritten[bad[2].written] == {"sessions"}
    assert not verdict.rewritten[bad[0].written]
