"""Fixtures for tests against real servers in the worker's own process."""

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from support.confirm_channel import Bench, open_bench

from worker.client import Client
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.database import Database
from worker.settings import Settings
from worker.stack import Stack


@pytest_asyncio.fixture
async def empty(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database without tables."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def client(stack: Stack, prefix: str) -> AsyncIterator[Client]:
    """A client of the shop's."""
    async with Client(stack.amqp_url, prefix, app_id="shop") as opened:
        yield opened


@pytest_asyncio.fixture
async def bench(stack: Stack) -> AsyncIterator[Bench]:
    """A channel in confirm mode, and a queue to look into."""
    async with open_bench(stack.amqp_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The test's database, as a worker asks it."""
    connected = Database(settings.database_url.get_secret_value(), 2, None, Readiness([database.PART]))
    await connected.open("public")
    yield connected
    await connected.close()
