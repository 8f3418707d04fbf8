"""For commands that make the schema themselves."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest_asyncio

from worker.stack import Stack


@pytest_asyncio.fixture
async def stack_database(stack: Stack) -> AsyncIterator[str]:
    """A database without any tables."""
    name = f"empty_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.database_url)
    try:
        await admin.execute(f"create database {name} template template0")
        yield f"{stack.database_url.rpartition('/')[0]}/{name}"
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()
