"""Workers go through PgBouncer, which gives each transaction another session, and is restarted under load."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from support.commands import Shell
from support.faults.load import Producers, keep_sending, keeping_books
from support.faults.processes import worker_processes
from support.faults.scene import Scene
from support.faults.watching import until_up
from support.harness import eventually
from support.pgbouncer import PgBouncer, pgbouncer

from worker.errors import MigrationError
from worker.monitoring.readiness import Readiness
from worker.operations.promises import verify
from worker.postgres.database import PART, Database
from worker.postgres.election import Elected, Election
from worker.postgres.installation import connected
from worker.postgres.migrate import migrate, require_current
from worker.settings import Settings

REQUESTS, AT_ONCE, RESTARTS = 1500, 60, 3
SESSIONS = 8  # of the pooler: a transaction has any of them
KEPT = "select current_setting('search_path') as path, current_setting('enable_seqscan') as seqscan"

LEFT_OPEN = """
select exists (
  select from pg_stat_activity
  where datname = current_database() and state = 'idle in transaction' and backend_xid is not null
) from pg_sleep(0.02)
"""
END_HOLDER = """
select pg_terminate_backend(pid) from pg_locks join pg_database on pg_database.oid = database
where locktype = 'advisory' and granted and datname = current_database()
"""


@pytest.fixture
async def pooler(empty_url: str, prefix: str) -> AsyncIterator[PgBouncer]:
    """A pooler before a database whose tables are in a schema that nobody finds unless he is told."""
    await migrate(empty_url, prefix=prefix, own=True)
    async with pgbouncer(empty_url) as running:
        yield running


@pytest.mark.timeout(400)
async def test_requests_outlast_restarts_of_a_pooler(
    settings: Settings, empty_url: str, pooler: PgBouncer
) -> None:
    amqp_url, prefix = settings.amqp_url.get_secret_value(), settings.prefix
    scene = Scene(amqp_url, pooler.url, prefix, more={"WORKER_EVENTS": "true"})
    async with keeping_books(amqp_url, prefix) as books, worker_processes(2, scene.environ) as workers:
        sending = asyncio.create_task(Producers(amqp_url, prefix, books, AT_ONCE).send(REQUESTS))
        for number in range(1, RESTARTS + 1):
            await books.until_answered(number * REQUESTS // (RESTARTS + 2), 90, "answered before a restart")
            heard = {worker: len(worker.events) for worker in workers}
            await (pooler.kill() if number % 2 else pooler.stop())
            await asyncio.gather(*(worker.event("postgres.lost", heard[worker]) for worker in workers))
            await pooler.start()
            # It lasts until all statements got through: the next one is told only after that.
            await asyncio.gather(*(worker.event("postgres.back", heard[worker]) for worker in workers))
            await until_up(workers)
        await sending
        await books.until_all_answered(90)
        async with connected(empty_url, schema=prefix) as db:
            await eventually(lambda: db.fetchval("select count(*) = 0 from unsent_events"))
            await eventually(lambda: db.fetchval("select count(*) from measures"))  # of who was elected
    assert await verify(empty_url, books.confirmed, books.received, schema=prefix) == []
    assert len(books.confirmed) == REQUESTS


@pytest.mark.timeout(400)
async def test_a_worker_that_is_frozen_inside_a_transaction_holds_up_no_other(
    settings: Settings, empty_url: str, pooler: PgBouncer
) -> None:
    """A statement and its commit are two messages there: who is frozen in between holds locks."""
    amqp_url, prefix = settings.amqp_url.get_secret_value(), settings.prefix
    scene = Scene(amqp_url, pooler.url, prefix)
    async with (
        connected(empty_url, schema=prefix) as db,
        keeping_books(amqp_url, prefix) as books,
        worker_processes(2, scene.environ) as (frozen, other),
    ):
        enough = asyncio.Event()
        sending = asyncio.create_task(keep_sending(Producers(amqp_url, prefix, books, AT_ONCE), enough))

        async def frozen_in_between() -> bool:
            frozen.freeze()
            if await db.fetchval(LEFT_OPEN):
                return True
            frozen.thaw()
            return False

        await books.until_answered(1, 90, "answered before the freeze")
        await eventually(frozen_in_between)
        await books.until_answered(len(books.answered) + REQUESTS, 120, "answered by the other one")
        enough.set()
        await sending
        await books.until_all_answered(90)
        await until_up([other])
        frozen.thaw()
        await until_up([frozen])
    assert await verify(empty_url, books.confirmed, books.received, schema=prefix) == []


async def test_what_a_session_would_keep_is_told_to_each_transaction_and_to_nobody_else(
    pooler: PgBouncer, prefix: str
) -> None:
    database = Database(pooler.url, 2, None, Readiness([PART]))
    await database.open(prefix)
    others = await asyncpg.connect(pooler.url, statement_cache_size=0)
    try:
        assert database.pooled
        async with database.apart() as apart:
            served = set()
            for _ in range(SESSIONS):
                async with others.transaction():  # has a session meanwhile, most likely that of ours before
                    theirs = await others.fetchrow(KEPT)
                    ours = await apart.fetchrow(f"{KEPT}, pg_backend_pid() as pid")
                assert (ours["path"], ours["seqscan"]) == (f'"{prefix}", pg_temp', "off")
                assert (theirs["path"], theirs["seqscan"]) == ('"$user", public', "on")
                served.add(ours["pid"])
            assert len(served) > 1, "another session, again and again"
            with pytest.raises(asyncpg.DivisionByZeroError):
                await apart.fetchval("select 1 / 0")
            assert (await apart.fetchrow(KEPT))["seqscan"] == "off", "and after an error"
    finally:
        await others.close()
        await database.close()


async def test_one_is_elected_through_a_pooler_and_another_once_that_connection_is_lost(
    pooler: PgBouncer, empty_url: str, prefix: str
) -> None:
    first, second = [Database(pooler.url, 2, None, Readiness([PART])) for _ in range(2)]
    elected: list[Database] = []

    def as_long_as_it_lasts(database: Database) -> asyncio.Task[None]:
        async def work(told: Elected) -> None:
            elected.append(database)
            while True:
                await told.lock_wait()
                await asyncio.sleep(0.05)

        return asyncio.create_task(Election(database).hold(work))

    async def has(*databases: Database) -> bool:
        return elected == list(databases)

    async with connected(empty_url, schema=prefix) as db:
        try:
            await asyncio.gather(first.open(prefix), second.open(prefix))
            holding = as_long_as_it_lasts(first)
            await eventually(lambda: has(first))
            await Election(second).hold(lambda _: pytest.fail("two at once"))
            assert await db.fetchval(END_HOLDER)
            await asyncio.wait_for(holding, 60)
            after = as_long_as_it_lasts(second)
            await eventually(lambda: has(first, second))
            after.cancel()
            with suppress(asyncio.CancelledError):
                await after
        finally:
            await asyncio.gather(first.close(), second.close())


async def test_commands_go_through_a_pooler(settings: Settings, pooler: PgBouncer) -> None:
    amqp_url = settings.amqp_url.get_secret_value()
    shell = Shell(AMQP_URL=amqp_url, DATABASE_URL=pooler.url, WORKER_PREFIX=settings.prefix)
    done = [
        await shell.run(*words)
        for words in (
            ("migrate", "--check"),
            ("pause", "--org", "org-1", "--reason", "a trial"),
            ("resume", "--org", "org-1"),
            ("audit", "list", "--json"),
            ("requests", "list"),
        )
    ]

    assert [outcome.code for outcome in done] == [0] * len(done), done
    assert len(done[3].records) == 2, "both were written where the tables are"


async def test_migrate_wants_postgres_itself(pooler: PgBouncer, prefix: str) -> None:
    with pytest.raises(MigrationError, match=r"through a pooler .* the address of Postgres itself"):
        await migrate(pooler.url, prefix=prefix)

    assert await require_current(pooler.url, prefix=prefix) == prefix, "others may look"
    async with pgbouncer(pooler.url, "session") as before, connected(before.url) as connection:
        assert connection.pooled, "in session mode as well: nobody can tell the modes apart"
