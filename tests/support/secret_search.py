"""Searches for traces of a secret: in a database, in its files, in a text, in the list of processes."""

import base64
from pathlib import Path
from uuid import uuid4

import asyncpg

_COMPRESSED = """
select format('alter table %s alter column %I set storage external', c.oid::regclass, a.attname)
from pg_attribute a join pg_class c on c.oid = a.attrelid
where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attstorage = 'x' and a.attnum > 0
"""
_FILES = """
select pg_relation_filepath(oid) from pg_class
where relkind in ('r', 'i', 't', 'm') and pg_relation_filepath(oid) is not null and oid >= 16384
"""
_SEGMENTS = """
select 'pg_wal/' || name from pg_ls_waldir()
where name between pg_walfile_name($1) and pg_walfile_name($2)
order by name
"""
_PAGE_BYTES, _HEADER_BYTES, _FIRST_HEADER_BYTES = 8192, 24, 40  # of the log


async def everything_in(db: asyncpg.Connection) -> str:
    """Returns every value of every table, as text."""
    tables = await db.fetch(
        "select quote_ident(table_schema) || '.' || quote_ident(table_name) as name"
        " from information_schema.tables"
        " where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
    )
    assert len(tables) >= 6
    rows = [
        row
        for table in tables
        for row in await db.fetch(f"select * from {table['name']}")  # noqa: S608 — the database's own names
    ]
    values = [value for row in rows for value in row.values()]
    return "\n".join(value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values)


class OnDisk:
    """Reads what Postgres has written to its disk since this was made: tables, indexes and the log."""

    def __init__(self, db: asyncpg.Connection, since: int) -> None:
        self._db = db
        self._since = since

    @classmethod
    async def watched(cls, db: asyncpg.Connection) -> "OnDisk":
        """Begins. From now on nothing is compressed, so that a text is found as it is, and the log is kept
        as long as the connection has the slot, which nobody reads.
        """
        name = f"watched_{uuid4().hex}"
        since = await db.fetchval("select lsn from pg_create_physical_replication_slot($1, true, true)", name)
        for row in await db.fetch(_COMPRESSED):
            await db.execute(row[0])
        return cls(db, since)

    async def files(self) -> bytes:
        await self._db.execute("checkpoint")
        return b"\n".join(await self._read(await self._db.fetch(_FILES)))

    async def log(self) -> bytes:
        """Return what the log holds. A text that goes on on the next page is found: no header is in it."""
        now = await self._db.fetchval("select pg_switch_wal()")
        segments = await self._read(await self._db.fetch(_SEGMENTS, self._since, now))
        return b"".join(
            segment[at + (_HEADER_BYTES if at else _FIRST_HEADER_BYTES) : at + _PAGE_BYTES]
            for segment in segments
            for at in range(0, len(segment), _PAGE_BYTES)
        )

    async def _read(self, files: list[asyncpg.Record]) -> list[bytes]:
        assert files
        parts = [await self._db.fetchval("select pg_read_binary_file($1, true)", row[0]) for row in files]
        return [part for part in parts if part]


def list_of_processes() -> bytes:
    """Returns the words of every process on this machine, as everybody on it may read them."""
    words = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words.append((process / "cmdline").read_bytes())
        except OSError:  # it has ended
            continue
    assert any(b"worker" in each for each in words)
    return b"\n".join(words)


def traces_of(secret: str, text: str) -> list[str]:
    """Returns the forms of the secret (plain, reversed, hex, base64) that are in the text."""
    raw = secret.encode()
    disguises = {secret, secret[::-1], raw.hex(), base64.b64encode(raw).decode().rstrip("=")}
    return [disguise for disguise in disguises if disguise in text]
