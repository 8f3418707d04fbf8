"""Fixtures for tests of the console: one database and one console for the tests of a file."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser
from support.browser import chromium
from support.console import Console, open_console
from support.databases import made_database
from support.harness import delete_topology
from support.logging_kept import logging_kept

from worker.monitoring import log
from worker.settings import Settings
from worker.stack import Stack


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def here(stack: Stack, template: str) -> AsyncIterator[Settings]:
    """The settings of an installation that the tests of a file share."""
    prefix = f"t{uuid4().hex[:12]}"
    async with made_database(stack.database_url, "console", template) as url:
        settings = Settings(
            amqp_url=stack.amqp_url, database_url=url, prefix=prefix, http_host="127.0.0.1", http_port=0,
            log_level="warning", mode="test", environment_name="production", environment_color="red",
        )  # fmt: skip
        with logging_kept():
            log.configure(settings)
            yield settings
        await delete_topology(stack.amqp_url, prefix)


@pytest_asyncio.fixture(scope="module")
async def console(here: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """The console of that installation."""
    async with open_console(here, tmp_path_factory.mktemp("console")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def record(here: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection to its database."""
    connection = await asyncpg.connect(here.database_url.get_secret_value())
    yield connection
    await connection.close()
