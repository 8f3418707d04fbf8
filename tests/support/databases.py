"""Databases that last as long as a test needs them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from worker.postgres import migrate
from worker.postgres.sql import Migration, load_migrations


@asynccontextmanager
async def made_database(server_url: str, kind: str, template: str = "template0") -> AsyncIterator[str]:
    """Makes a database, a copy of the template, and yields its URL; drops it at the end."""
    name = f"{kind}_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server_url)
    try:
        # Without a word about it, each page goes through the log, which takes three times as long.
        await admin.execute(f"create database {name} template {template} strategy file_copy")
        yield with_database(server_url, name)
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.execute(f"drop role if exists {name}_console")  # which support.console makes
        await admin.close()


def with_database(url: str, name: str) -> str:
    """Returns the URL of another database on the same server."""
    return f"{url.rpartition('/')[0]}/{name}"


async def migrate_up_to(url: str, number: int, monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    """Makes the tables as they were before this migration, and returns what is to come: this one and on."""
    everything = load_migrations()
    earlier = [migration for migration in everything if migration.number < number]
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "load_migrations", lambda: earlier)
        await migrate.migrate(url)
    return everything[len(earlier) :]
