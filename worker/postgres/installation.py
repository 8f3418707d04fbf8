"""Each installation has its tables in a schema of its own, so that none sees the rows of another.

A connection looks for every name in that schema alone. The first installation of a database is in the schema
that is used without further ado, mostly `public`; each other one is in a schema named as its prefix.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from worker.errors import MigrationError
from worker.postgres.session import Session, open_session
from worker.postgres.sql import setup_query

_RESERVED = ("public", "information_schema")
_TABLES = (
    "answered_calls", "attempts", "audit", "confirmed_leases", "count_changes", "dead_letters",
    "ended_workers", "installation", "leases", "limits", "lines", "long_calls", "measures", "mutes",
    "other_answers", "pauses", "recorded_transitions", "request_counts", "request_totals", "requests",
    "retired_keys", "retries", "rules", "schema_migrations", "selection_items", "selections", "sessions",
    "sessions_other", "shard_readers", "shards", "unsent_events", "used_ids", "workers", "works",
)  # fmt: skip


class Place(NamedTuple):
    """A schema, and the prefix that its tables belong to; None: they belong to nobody yet."""

    schema: str
    installed: bool
    prefix: str | None = None
    made_by: str | None = None


class Places(NamedTuple):
    """The schemas of a database that matter to a prefix. `found` holds its tables."""

    home: Place
    home_is_free: bool
    own: Place | None
    found: Place | None


def database_of(url: str) -> str | None:
    """Say which database a URL means, as `host:port/name`, and not who connects; None: it is not clear."""
    parts = urlsplit(url)
    if "@" in parts.path:
        return None  # a password with a slash in it
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def own_schema(prefix: str) -> str:
    """Name the schema that belongs to this prefix alone. No prefix begins with a full stop."""
    return f".{prefix}" if prefix in _RESERVED or prefix.startswith("pg_") else prefix


def search_path(schema: str) -> str:
    """Put temporary tables last: by default they come first, and would stand in for the real ones."""
    quoted = schema.replace('"', '""')
    return f'"{quoted}", pg_temp'


async def use_schema(connection: Session, schema: str) -> None:
    """Look for every name in this schema, and last in that of temporary tables."""
    await connection.keep_one("search_path", search_path(schema))


@asynccontextmanager
async def connected(
    url: str, tls: ssl.SSLContext | None = None, schema: str | None = None
) -> AsyncIterator[Session]:
    connection = await open_session(url, tls, seconds=10)
    try:
        if schema is not None:
            await use_schema(connection, schema)
        yield connection
    except BaseException:
        connection.terminate()  # to close it in order would wait for what it was asked last
        raise
    await connection.close()


async def look_around(connection: Session, prefix: str | None) -> Places:
    """Look what is there for this prefix; None: for the first installation. The connection is a new one."""
    row = await connection.fetchrow(setup_query("home"), _TABLES)
    if row["schema"] is None:
        raise MigrationError("the database has no schema that its search_path names: create one, or set it")
    home = await _look(connection, row["schema"])
    free = row["may_create"] and not row["taken"]
    if prefix is None:
        return Places(home, free, None, home if home.installed else None)
    own = home if home.schema == own_schema(prefix) else await _look(connection, own_schema(prefix))
    for place in (home, own):
        if place.installed and place.prefix == prefix:
            return Places(home, free, own, place)
    for place in (own, home):
        if place.installed and place.prefix is None:
            return Places(home, free, own, place)
    return Places(home, free, own, None)


async def _look(connection: Session, schema: str) -> Place:
    if not await connection.fetchval(setup_query("is_installed"), schema):
        return Place(schema, installed=False)
    if not await connection.fetchval(setup_query("may_use"), schema):
        raise MigrationError(
            f"{await connection.fetchval(setup_query('who'))} has no rights in schema {schema}: "
            "`session-worker migrate --grant ROLE`, run by its owner, gives them"
        )
    await use_schema(connection, schema)
    mark = (
        await connection.fetchrow(setup_query("mark"))
        if await connection.fetchval(setup_query("has_mark"))
        else None
    )
    return Place(schema, True, mark["prefix"], mark["made_by"]) if mark else Place(schema, installed=True)


async def claim(connection: Session, place: Place, prefix: str) -> None:
    """Say that these tables are this prefix's, if nobody has. Of two at once the first one has them."""
    if place.prefix is None:
        await use_schema(connection, place.schema)
        owner = await connection.fetchval(setup_query("claim"), prefix, "worker")
        if owner != prefix:
            raise belongs_to_another(place._replace(prefix=owner), prefix)


def belongs_to_another(place: Place, prefix: str) -> MigrationError:
    return MigrationError(
        f"the tables in schema {place.schema} belong to prefix {place.prefix}, not to {prefix}: "
        f"run `WORKER_PREFIX={prefix} session-worker migrate` first, which makes a schema for {prefix}"
    )


def table_names() -> tuple[str, ...]:
    """Return the names of the tables of an installation."""
    return _TABLES
