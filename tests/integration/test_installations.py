"""Two prefixes in one database see nothing of each other; each has a schema of its own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.harness import delete_topology, good_request, open_desk, run_in_process

from worker.errors import MigrationError
from worker.monitoring.readiness import Readiness
from worker.postgres import migrate
from worker.postgres.database import Database
from worker.postgres.installation import own_schema
from worker.postgres.leases import Leases
from worker.postgres.sql import load_migrations
from worker.settings import Settings
from worker.stack import Stack


@pytest_asyncio.fixture
async def owner(empty_url: str, empty: asyncpg.Connection) -> AsyncIterator[str]:
    """Yields the URL of the same database for a role that may make tables in public, and no schema."""
    role = f"owner_{uuid4().hex[:8]}"
    await empty.execute(f"create role {role} login password 'made-up'")
    await empty.execute(f"grant create on schema public to {role}")
    yield as_role(empty_url, role)
    await empty.execute(f"drop owned by {role} cascade")
    await empty.execute(f"drop role {role}")


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:made-up@{host}"))


async def tables(db: asyncpg.Connection) -> dict[str, int]:
    """Counts the requests of each schema."""
    found = await db.fetch("select schemaname from pg_tables where tablename = 'requests' order by 1")
    return {
        row["schemaname"]: await db.fetchval(f'select count(*) from "{row["schemaname"]}".requests')  # noqa: S608 — our own names
        for row in found
    }


async def test_two_prefixes_serve_their_own_requests_also_those_with_one_id(
    settings: Settings, db: asyncpg.Connection, stack: Stack
) -> None:
    other = f"{settings.prefix}-b"
    url = settings.database_url.get_secret_value()
    try:
        async with (
            run_in_process(settings) as start,
            open_desk(stack.amqp_url, settings.prefix) as desk,
            open_desk(stack.amqp_url, other) as other_desk,
        ):
            await start()  # the tables were nobody's: now they are this prefix's
            await migrate.migrate(url, prefix=other)
            await start(prefix=other)
            request_id = uuid4()
            first = await desk.ask(good_request(request_id, name="one"))
            second = await other_desk.ask(good_request(request_id, name="another"))
            assert (first.status, second.status) == ("completed", "completed")
            assert await tables(db) == {"public": 1, other: 1}
            assert await db.fetchval("select name from sessions") == "one"
            assert await db.fetchval(f'select name from "{other}".sessions') == "another"  # noqa: S608 — our own name
    finally:
        await delete_topology(stack.amqp_url, other)


async def test_a_worker_of_another_prefix_is_told_what_to_do(settings: Settings, database_url: str) -> None:
    async with run_in_process(settings) as start:
        await start()
        with pytest.raises(
            MigrationError,
            match=f"belong to prefix {settings.prefix}, not to other: run `WORKER_PREFIX=other session-wor",
        ):
            await start(prefix="other")
    assert await migrate.require_current(database_url, prefix=settings.prefix) == "public"
    assert (await migrate.inspect(database_url, prefix="other")).pending == load_migrations()


async def test_of_the_first_workers_of_several_prefixes_one_gets_the_tables(
    database_url: str, db: asyncpg.Connection
) -> None:
    prefixes = [f"p{number}" for number in range(6)]

    outcomes = await asyncio.gather(
        *(migrate.settle(database_url, None, prefix) for prefix in prefixes), return_exceptions=True
    )

    winner = await db.fetchval("select prefix from installation")
    assert {
        prefix: outcome for prefix, outcome in zip(prefixes, outcomes, strict=True) if outcome == "public"
    } == {winner: "public"}
    refused = [str(outcome) for outcome in outcomes if outcome != "public"]
    assert len(refused) == 5
    assert all(f"belong to prefix {winner}" in words for words in refused)


async def test_several_prefixes_migrate_at_once(empty_url: str, empty: asyncpg.Connection) -> None:
    prefixes = ["a", "b", "c"]

    await asyncio.gather(*(migrate.migrate(empty_url, prefix=prefix) for prefix in prefixes * 2))

    first = await empty.fetchval("select prefix from installation")
    assert set(await tables(empty)) == {"public"} | set(prefixes) - {first}
    for prefix in prefixes:
        schema = await migrate.settle(empty_url, None, prefix)
        assert schema == ("public" if prefix == first else prefix)
        assert await migrate.migrate(empty_url, prefix=prefix) == []


@pytest.mark.parametrize(
    "prefix",
    ["public", "information_schema", "pg_x", "pg_catalog", "UPPER", "with-dash", "1st", "select", "x" * 60],
)
async def test_whatever_its_name_a_prefix_has_a_schema(
    empty_url: str, empty: asyncpg.Connection, prefix: str
) -> None:
    await migrate.migrate(empty_url, prefix="first")
    await migrate.migrate(empty_url, prefix=prefix)

    schema = await migrate.settle(empty_url, None, prefix)

    assert schema == own_schema(prefix)
    assert set(await tables(empty)) == {"public", schema}
    database = Database(empty_url, 1, None, Readiness(["postgres"]))
    await database.open(schema)
    await Leases(database, uuid4(), 30).register("host", 1, "0")
    await database.close()
    assert await empty.fetchval(f'select count(*) from "{schema}".workers') == 1  # noqa: S608
    assert await empty.fetchval("select count(*) from workers") == 0


async def test_every_function_looks_in_its_own_schema_and_last_in_that_of_temporary_tables(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    for prefix in ("first", "second-one"):
        await migrate.migrate(empty_url, prefix=prefix)

    rows = await empty.fetch(
        "select nspname, proname, proconfig, lanname = 'sql' and not prosecdef as within from pg_proc"
        " join pg_namespace n on n.oid = pronamespace join pg_language l on l.oid = prolang"
        " where nspname in ('public', 'second-one')"
    )

    # These are expressions: what calls them has such a path, and with one of their own they would cost more.
    within = {row["proname"] for row in rows if row["within"]}
    assert within == {
        "dead_letters_that", "failure_of", "keys_in", "limit_of", "tokens", "why_waiting", "without_sealed",
    }  # fmt: skip
    assert len(rows) >= 16
    for row in [row for row in rows if row["proname"] not in within]:
        assert f'search_path="{row["nspname"]}", pg_temp' in (row["proconfig"] or ()), row


async def test_tables_of_the_version_before_are_kept_and_belong_to_whoever_migrates_or_works_first(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    await _as_before(empty)
    request_id = await _unfinished(empty)

    assert [one.name for one in await migrate.migrate(empty_url)] == ["installation", *_after(2)]
    assert await empty.fetchval("select count(*) from installation") == 0
    assert await migrate.settle(empty_url, None, "mine") == "public"

    assert await empty.fetchval("select prefix from installation") == "mine"
    assert await empty.fetchval("select request_id from requests") == request_id
    await migrate.migrate(empty_url, prefix="another")
    assert await tables(empty) == {"another": 0, "public": 1}


async def test_an_index_that_was_left_half_built_is_built_again(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    await _as_before(empty)
    await empty.execute("create index requests_by_time on requests (received_at)")
    await empty.execute(
        "update pg_index set indisvalid = false where indexrelid = 'requests_by_time'::regclass"
    )

    await migrate.migrate(empty_url, prefix="mine")

    assert await empty.fetchval(
        "select indisvalid from pg_index where indexrelid = 'requests_by_time'::regclass"
    )


async def test_where_public_has_other_tables_of_such_names_a_prefix_goes_elsewhere(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    await empty.execute("create table schema_migrations (version text)")
    await empty.execute("create table sessions (sid text)")

    with pytest.raises(MigrationError, match=r"no room in schema public.*Set WORKER_PREFIX"):
        await migrate.migrate(empty_url)
    await migrate.migrate(empty_url, prefix="mine")

    assert await migrate.settle(empty_url, None, "mine") == "mine"
    assert await tables(empty) == {"mine": 0}


async def test_a_role_that_may_not_make_a_schema_is_told_so_and_takes_one_that_is_there(
    empty: asyncpg.Connection, owner: str
) -> None:
    await migrate.migrate(owner, prefix="first")
    with pytest.raises(
        MigrationError, match=r'may not make the schema "second".*create schema "second" auth'
    ):
        await migrate.migrate(owner, prefix="second")
    role = urlsplit(owner).username
    await empty.execute(f"create schema second authorization {role}")

    await migrate.migrate(owner, prefix="second")

    assert await migrate.settle(owner, None, "second") == "second"


async def test_a_role_without_rights_in_the_schema_is_told_so(empty_url: str, owner: str) -> None:
    await migrate.migrate(empty_url, prefix="first")
    await migrate.migrate(empty_url, prefix="second")

    with pytest.raises(
        MigrationError, match="has no rights in schema second: `session-worker migrate --grant"
    ):
        await migrate.settle(owner, None, "second")


async def test_the_first_schema_is_the_one_that_the_role_s_search_path_names(
    empty: asyncpg.Connection, owner: str
) -> None:
    role = urlsplit(owner).username
    await empty.execute(f"create schema its_own authorization {role}")
    await empty.execute(f"alter role {role} set search_path = its_own")

    await migrate.migrate(owner)

    assert await migrate.settle(owner, None, "mine") == "its_own"
    assert await tables(empty) == {"its_own": 0}


@pytest.mark.parametrize(("maker", "made_by"), [("up", "migrate"), ("up", "worker"), ("up", "nobody")])
async def test_tables_that_somebody_else_made_are_refused(empty_url: str, maker: Any, made_by: str) -> None:
    if made_by == "migrate":
        await migrate.migrate(empty_url, prefix="mine")
    else:
        await migrate.migrate(empty_url)
    if made_by == "worker":
        await migrate.settle(empty_url, None, "mine")

    with pytest.raises(MigrationError, match=r"were not made by `session-worker up`.*set WORKER_PREFIX"):
        await migrate.migrate(empty_url, prefix="mine", maker=maker)


async def test_what_up_has_made_it_uses_again(empty_url: str) -> None:
    assert await migrate.migrate(empty_url, prefix="mine", maker="up") == load_migrations()
    assert await migrate.migrate(empty_url, prefix="mine", maker="up") == []
    assert await migrate.migrate(empty_url, prefix="another", maker="up") == load_migrations()
    assert await migrate.settle(empty_url, None, "another") == "another"


async def test_only_what_a_demonstration_made_is_dropped(empty_url: str, empty: asyncpg.Connection) -> None:
    await migrate.migrate(empty_url, prefix="mine")
    await migrate.migrate(empty_url, prefix="demo-1", maker="demo", own=True)
    await migrate.migrate(empty_url, prefix="other")

    for prefix in ("mine", "demo-1", "other", "nobody"):
        await migrate.drop(empty_url, None, prefix)

    assert set(await tables(empty)) == {"public", "other"}


@pytest.mark.parametrize(("prefix", "own", "schema"), [(None, False, "public"), ("x-1", True, "x-1")])
async def test_the_printed_sql_makes_the_tables_of_a_prefix(
    empty_url: str, empty: asyncpg.Connection, prefix: str | None, own: bool, schema: str
) -> None:
    await empty.execute(migrate.script(prefix, own=own))

    assert await migrate.settle(empty_url, None, "x-1") == schema
    assert await migrate.migrate(empty_url, prefix="x-1") == []


async def _as_before(db: asyncpg.Connection) -> None:
    """Brings a database into the state in which the first version left it."""
    first = load_migrations()[0]
    await db.execute(first.sql)
    await db.execute(
        "create table schema_migrations (number integer primary key, name text not null,"
        " checksum text not null, applied_at timestamptz not null default now())"
    )
    await db.execute(
        "insert into schema_migrations values (1, 'foundation', $1, now())", migrate.checksum(first)
    )


async def _unfinished(db: asyncpg.Connection) -> UUID:
    found: UUID = await db.fetchval(
        "insert into requests (request_id, fingerprint, body, session_id) values ($1, 'x', '{}', 'ts_1')"
        " returning request_id",
        uuid4(),
    )
    return found


def _after(number: int) -> list[str]:
    return [migration.name for migration in load_migrations() if migration.number > number]
