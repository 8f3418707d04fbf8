"""The schema: numbered files, each applied once, under a lock, and never changed afterwards."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, NamedTuple

import asyncpg

from worker.errors import MigrationError
from worker.postgres.grants import Kind, grants
from worker.postgres.installation import (
    Place,
    Places,
    belongs_to_another,
    claim,
    connected,
    look_around,
    own_schema,
    search_path,
    use_schema,
)
from worker.postgres.session import Session
from worker.postgres.sql import Migration, load_migrations, load_queries, setup_query

_NEEDED = re.compile(r"_needs_(\d{4})$")  # in the name of a migration that not every earlier version survives
TURN = 7_305_118_842_210_651_191  # of a lock, by which one migrates at a time: any number no one else takes
_LOOK_AGAIN_SECONDS = 0.1
LOCK_SECONDS, LOCK_AGAIN_SECONDS = 1, 10  # how long a change waits for a table, and until it is tried again

Maker = Literal["migrate", "up", "demo", "tests"]


class State(NamedTuple):
    applied: list[Migration]
    pending: list[Migration]
    newer: tuple[str, ...] = ()
    """Those that this version does not know, and can work with."""


class Given(NamedTuple):
    """A role that was given the rights of its kind, in which schema."""

    role: str
    schema: str
    kind: Kind


def checksum(migration: Migration) -> str:
    return hashlib.sha256(migration.sql.encode()).hexdigest()


async def migrate(
    url: str,
    tls: ssl.SSLContext | None = None,
    prefix: str | None = None,
    *,
    maker: Maker = "migrate",
    own: bool = False,
) -> list[Migration]:
    """Apply what is missing; returns what was applied. Two at once: the second waits, and finds nothing to
    do.

    Without a prefix the tables are those of the database's first installation, and whoever comes first has
    them. `own` wants a schema of this prefix's own, also where there is room for it in the first one. Any
    other maker than `migrate` takes only what it has made itself.
    """
    async with connected(url, tls) as connection, _turn(connection):
        place = _chosen(await look_around(connection, prefix), prefix, own=own)
        if place.installed and maker not in ("migrate", place.made_by):
            raise MigrationError(_not_made_by(maker, place))
        if prefix is not None and place.schema == own_schema(prefix):
            await _create(connection, place.schema)
        await use_schema(connection, place.schema)
        await connection.execute(setup_query("record_table"))
        state = await _compare(connection)
        for migration in state.pending:
            await _apply(connection, migration, new=not state.applied)
        if prefix is not None and place.prefix is None:
            await connection.execute(setup_query("claim_by_owner"), prefix, maker)
        if state.pending:
            for row in await connection.fetch(setup_query("roles")):
                await connection.execute(grants(Kind(row["kind"]), row["role"], place.schema, no_more=False))
        await connection.execute(setup_query("make_session_months"))
        return state.pending


async def grant(
    url: str,
    role: str,
    tls: ssl.SSLContext | None = None,
    prefix: str | None = None,
    kind: Kind = Kind.WORKER,
) -> Given:
    """Give a role the rights of its kind, and take from it what is more than those."""
    async with connected(url, tls) as connection, _turn(connection):
        place = _found(await look_around(connection, prefix), prefix)
        await use_schema(connection, place.schema)
        if await connection.fetchval(setup_query("is_owner"), role):
            raise MigrationError(
                f"{role} owns the tables, and their triggers act for it: its rights cannot be taken from it. "
                f"Create a role of its own for the {kind}s"
            )
        try:
            async with connection.transaction():
                await connection.execute(grants(kind, role, place.schema, no_more=True))
        except asyncpg.UndefinedObjectError:
            raise MigrationError(f"there is no role {role}: create it first") from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(f"only the owner of schema {place.schema} may do this: {error}") from None
        return Given(role, place.schema, kind)


def script(prefix: str | None = None, *, own: bool = False) -> str:
    """Return the SQL that `migrate` applies to an empty database, for those who apply it themselves."""
    texts = load_queries("script.sql")
    schema = own_schema(prefix) if own and prefix else "public"
    parts = ["begin;"]
    if own:
        parts.append(texts["create_schema"].format(schema=schema))
    parts += [
        texts["use_schema"].format(search_path=search_path(schema)),
        f"{setup_query('record_table')};",
    ]
    for migration in load_migrations():
        record = texts["record"].format(
            number=migration.number, name=migration.name, checksum=checksum(migration)
        )
        parts += [
            f"-- {migration.written}",
            migration.on_new_tables.strip(),
            record,
        ]
    if prefix:
        parts.append(texts["claim"].format(prefix=prefix))
    return "\n\n".join([*parts, "commit;"])


async def inspect(url: str, tls: ssl.SSLContext | None = None, prefix: str | None = None) -> State:
    """Return what is applied and what is pending; changes nothing."""
    async with connected(url, tls) as connection:
        return await _state(connection, (await look_around(connection, prefix)).found)


async def require_current(url: str, tls: ssl.SSLContext | None = None, prefix: str | None = None) -> str:
    """Return the schema of the prefix's tables. Raises unless it is the one this version was made for."""
    async with connected(url, tls) as connection:
        return (await _current(connection, prefix)).schema


async def settle(url: str, tls: ssl.SSLContext | None, prefix: str) -> str:
    """Do the same for a worker: tables that nobody has claimed belong to it from now on."""
    async with connected(url, tls) as connection:
        place = await _current(connection, prefix)
        await claim(connection, place, prefix)
        return place.schema


async def drop(url: str, tls: ssl.SSLContext | None, prefix: str) -> None:
    """Remove what a demonstration or a test session has made: a schema of its own, and all in it."""
    async with connected(url, tls) as connection, _turn(connection):
        place = (await look_around(connection, prefix)).found
        if place is None or place.made_by not in ("demo", "tests") or place.schema != own_schema(prefix):
            return
        async with connection.transaction():
            await connection.execute(setup_query("name_schema"), place.schema)
            await connection.execute(setup_query("drop_schema"))


def _chosen(places: Places, prefix: str | None, *, own: bool) -> Place:
    """Choose the schema that `migrate` works in."""
    if own and places.own is not None:
        wanted = places.own
    elif places.found is not None:
        return places.found
    elif places.home_is_free or places.own is None:
        wanted = places.home
    else:
        wanted = places.own
    if prefix is None and not places.home_is_free:
        raise MigrationError(
            f"there is no room in schema {wanted.schema}: tables of our names are there, or this role may "
            "not create any. Set WORKER_PREFIX: a schema of that name is made, or taken if it is there"
        )
    if prefix is not None and wanted.prefix not in (None, prefix):
        raise belongs_to_another(wanted, prefix)
    return wanted


async def _create(connection: Session, schema: str) -> None:
    """Make the schema unless it is there: somebody may have made it for a role that may not."""
    if await connection.fetchval(setup_query("schema_exists"), schema):
        return
    try:
        async with connection.transaction():
            await connection.execute(setup_query("name_schema"), schema)
            await connection.execute(setup_query("create_schema"))
    except asyncpg.InsufficientPrivilegeError:
        raise MigrationError(
            f'this role may not make the schema "{schema}" that this prefix needs: grant it `create` on the '
            f'database, or make the schema for it: `create schema "{schema}" authorization ROLE`'
        ) from None


async def _current(connection: Session, prefix: str | None) -> Place:
    places = await look_around(connection, prefix)
    if pending := (await _state(connection, places.found)).pending:
        if places.found is None and places.home.installed and prefix is not None:
            raise belongs_to_another(places.home, prefix)
        names = ", ".join(migration.written for migration in pending)
        raise MigrationError(f"the database lacks migrations ({names}): run `session-worker migrate` first")
    return _found(places, prefix)


def _found(places: Places, prefix: str | None) -> Place:
    if places.found is None:
        whose = f" of prefix {prefix}" if prefix else ""
        raise MigrationError(
            f"there are no tables{whose} in the database: run `session-worker migrate` first"
        )
    return places.found


async def _state(connection: Session, place: Place | None) -> State:
    if place is None:
        return State([], load_migrations())
    await use_schema(connection, place.schema)
    return await _compare(connection)


async def _apply(connection: Session, migration: Migration, *, new: bool) -> None:
    if not new:
        for statement in migration.beforehand:
            if " concurrently " in statement:
                await connection.execute(statement)
            else:
                await _shortly_locked(connection, partial(connection.execute, statement))

    async def apply() -> None:
        await connection.execute(migration.on_new_tables if new else migration.in_transaction)
        await connection.execute(setup_query("record"), migration.number, migration.name, checksum(migration))

    await _shortly_locked(connection, apply)


async def _shortly_locked(connection: Session, change: Callable[[], Awaitable[object]]) -> None:
    """Run it in a transaction. Whoever comes after a change that waits for a table waits behind it, the
    workers included, so it gives up soon where somebody uses the table for long (a backup), and tries again
    later.
    """
    while True:
        try:
            async with connection.transaction():
                await connection.execute(setup_query("wait_shortly"), f"{LOCK_SECONDS}s")
                await change()
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(LOCK_AGAIN_SECONDS)
        else:
            return


async def create_role(url: str, role: str, password: str) -> None:
    """Make a role that may log in."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute(setup_query("name_role"), role, password)
        await connection.execute(setup_query("create_role"))


async def _compare(connection: Session) -> State:
    """Compare the two. A migration that is newer than this version is no obstacle, since workers are replaced
    one by one, unless its name says which one a worker has to know.
    """
    recorded = {row["number"]: row for row in await connection.fetch(setup_query("applied"))}
    migrations = load_migrations()
    for migration in migrations:
        row = recorded.get(migration.number)
        if row and row["checksum"] != checksum(migration):
            raise MigrationError(
                f"migration {migration.written} was changed after it was applied: "
                "restore the file and put the change into a new migration"
            )
    last = migrations[-1]
    newer = [
        Migration(row["number"], row["name"], "") for row in recorded.values() if row["number"] > last.number
    ]
    for migration in newer:
        if (needed := _NEEDED.search(migration.name)) and int(needed[1]) > last.number:
            raise MigrationError(
                f"this version must not start: the database has migration {migration.written}, after which "
                f"only versions that know migration {needed[1]} can work, and this one knows none after "
                f"{last.written}. Take a newer version"
            )
    return State(
        [migration for migration in migrations if migration.number in recorded],
        [migration for migration in migrations if migration.number not in recorded],
        tuple(migration.written for migration in newer),
    )


@asynccontextmanager
async def _turn(connection: Session) -> AsyncIterator[None]:
    """Hold the lock by which one migrates at a time in a database."""
    if connection.pooled:
        raise MigrationError(
            "DATABASE_URL leads to Postgres through a pooler (PgBouncer), where nobody can hold the lock by "
            "which one migrates at a time: give this command the address of Postgres itself. "
            "Workers may go through the pooler"
        )
    while not await connection.fetchval(setup_query("take_turn"), TURN):  # noqa: ASYNC110 — see the query
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    try:
        yield
    finally:
        await connection.execute(setup_query("end_turn"), TURN)


def _not_made_by(maker: Maker, place: Place) -> str:
    return (
        f"the tables in schema {place.schema}"
        + (f", of prefix {place.prefix}," if place.prefix else "")
        + f" were not made by `session-worker {maker}`, which would answer the requests in them without "
        "their handler. Run `session-worker run` in its place, or set WORKER_PREFIX to another name"
    )
