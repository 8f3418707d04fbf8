"""The schema: numbered files, each applied once, under a lock, and never changed afterwards."""

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg

from worker.errors import MigrationError
from worker.sql import Migration, load_migrations

_LOCK = 7_305_118_842_210_651_191  # any number that no one else takes
_RECORD = """
create table if not exists schema_migrations (
  number integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
)
"""


class State(NamedTuple):
    applied: list[Migration]
    pending: list[Migration]


def checksum(migration: Migration) -> str:
    return hashlib.sha256(migration.sql.encode()).hexdigest()


async def migrate(url: str, tls: ssl.SSLContext | None = None) -> list[Migration]:
    """Apply what is missing; returns what was applied. Two at once: the second waits, and finds nothing to
    do.
    """
    async with _connected(url, tls) as connection:
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        try:
            await connection.execute(_RECORD)
            pending = (await _compare(connection)).pending
            for migration in pending:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(
                        "insert into schema_migrations (number, name, checksum) values ($1, $2, $3)",
                        migration.number, migration.name, checksum(migration),
                    )  # fmt: skip
            return pending
        finally:
            await connection.execute("select pg_advisory_unlock($1)", _LOCK)


def script() -> str:
    """What `migrate` does to an empty database, for those who do it by other means."""
    parts = [f"begin;\n{_RECORD.strip()};"]
    for migration in load_migrations():
        record = f"{migration.number}, '{migration.name}', '{checksum(migration)}'"
        parts += [
            f"-- {migration.number:04d}_{migration.name}",
            migration.sql.strip(),
            f"insert into schema_migrations (number, name, checksum) values ({record});",  # noqa: S608 — of this package's own files
        ]
    return "\n\n".join([*parts, "commit;"])


async def inspect(url: str, tls: ssl.SSLContext | None = None) -> State:
    """What is applied and what is pending; changes nothing."""
    async with _connected(url, tls) as connection:
        if await connection.fetchval("select to_regclass('schema_migrations')") is None:
            return State([], load_migrations())
        return await _compare(connection)


async def require_current(url: str, tls: ssl.SSLContext | None = None) -> None:
    """Raises unless the schema is the one this worker was made for."""
    if pending := (await inspect(url, tls)).pending:
        names = ", ".join(f"{migration.number:04d}_{migration.name}" for migration in pending)
        raise MigrationError(f"the database lacks migrations ({names}): run `session-worker migrate` first")


async def _compare(connection: asyncpg.Connection) -> State:
    """A migration that is newer than this version is no obstacle: workers are replaced one by one."""
    rows = await connection.fetch("select number, name, checksum from schema_migrations order by number")
    recorded = {row["number"]: row for row in rows}
    migrations = load_migrations()
    for migration in migrations:
        row = recorded.get(migration.number)
        if row and row["checksum"] != checksum(migration):
            raise MigrationError(
                f"migration {migration.number:04d}_{migration.name} was changed after it was applied: "
                "restore the file and put the change into a new migration"
            )
    return State(
        [migration for migration in migrations if migration.number in recorded],
        [migration for migration in migrations if migration.number not in recorded],
    )


@asynccontextmanager
async def _connected(url: str, tls: ssl.SSLContext | None) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10, **({"ssl": tls} if tls else {}))
    try:
        yield connection
    finally:
        await connection.close()
