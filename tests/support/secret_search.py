"""Searches a database and a text for traces of a secret."""

import base64

import asyncpg


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


def traces_of(secret: str, text: str) -> list[str]:
    """Returns the forms of the secret (plain, reversed, hex, base64) that are in the text."""
    raw = secret.encode()
    disguises = {secret, secret[::-1], raw.hex(), base64.b64encode(raw).decode().rstrip("=")}
    return [disguise for disguise in disguises if disguise in text]
