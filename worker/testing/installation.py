"""Gives a test session two servers, and queues and tables of its own on them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from worker.cli.local_settings import settings_on, throwaway_key
from worker.cli.lookup_database import open_database
from worker.cli.servers import broker_for, design_for
from worker.operations.filters import Filter, Page, State
from worker.operations.listing import matching
from worker.postgres import migrate
from worker.rabbitmq import topology
from worker.settings import Settings
from worker.stack import local_stack
from worker.tls import context_from

_CONNECT_SECONDS = 10
_GRACE_SECONDS = 2  # a call that hangs shall not hold up the tests after it
_UNFINISHED: tuple[State, ...] = ("waiting", "processing", "retrying")


@asynccontextmanager
async def own_installation(say: Callable[[str], None], environ: Mapping[str, str]) -> AsyncIterator[Settings]:
    """Yield a worker's settings on the servers that the environment names, or that are started for it, with a
    prefix that nobody else has. At the end its queues and its schema are removed.
    """
    async with local_stack(say, environ=environ) as stack:
        settings = settings_on(
            stack, environ, prefix=f"test-{uuid4().hex[:12]}", seal_keys=throwaway_key(), http_port=0,
            management_url="", console=False, grace_seconds=_GRACE_SECONDS,
        )  # fmt: skip
        try:
            await _make_tables(settings)
            yield settings
        finally:
            await _drop_tables(settings)
            await _at_the_broker(settings, topology.remove)


async def leave_nothing(settings: Settings) -> None:
    """Make it as if nobody had sent anything yet, for the next test. No worker is at work."""
    if await _something_is_unfinished(settings):
        await _drop_tables(settings)
        await _make_tables(settings)
    await _at_the_broker(settings, topology.clear)


async def _make_tables(settings: Settings) -> None:
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    await migrate.migrate(url, tls, settings.prefix, maker="tests", own=True)


async def _drop_tables(settings: Settings) -> None:
    await migrate.drop(settings.database_url.get_secret_value(), context_from(settings), settings.prefix)


async def _something_is_unfinished(settings: Settings) -> bool:
    database = await open_database(settings, _CONNECT_SECONDS)
    try:
        for state in _UNFINISHED:
            if (await matching(database, Filter(status=state), Page(limit=1))).ids:
                return True
        return False
    finally:
        await database.close()


async def _at_the_broker(
    settings: Settings, change: Callable[[Any, topology.Topology], Awaitable[None]]
) -> None:
    connection = await broker_for(settings).connect()
    try:
        await change(connection, design_for(settings))
    finally:
        await connection.close()
