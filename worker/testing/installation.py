"""Gives a test session two servers, and queues and tables of its own on them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

from worker.cli.local_settings import settings_on, throwaway_key
from worker.cli.servers import broker_for, design_for
from worker.postgres import migrate
from worker.rabbitmq import topology
from worker.settings import Settings
from worker.stack import local_stack
from worker.tls import context_from

_GRACE_SECONDS = 2  # a call that hangs shall not hold up the tests after it


@asynccontextmanager
async def own_installation(
    say: Callable[[str], None], environ: Mapping[str, str]
) -> AsyncIterator[Settings]:
    """Yield a worker's settings on the servers that the environment names, or that are started for it, with a
    prefix that nobody else has. At the end its queues and its schema are removed.
    """
    async with local_stack(say, environ=environ) as stack:
        settings = settings_on(
            stack, environ, prefix=f"test-{uuid4().hex[:12]}", seal_keys=throwaway_key(), http_port=0,
            management_url="", console=False, grace_seconds=_GRACE_SECONDS,
        )  # fmt: skip
        url, tls = settings.database_url.get_secret_value(), context_from(settings)
        try:
            await migrate.migrate(url, tls, settings.prefix, maker="tests", own=True)
            yield settings
        finally:
            if environ.get("DATABASE_URL"):  # else the server is gone with all that is in it
                await migrate.drop(url, tls, settings.prefix)
            if environ.get("AMQP_URL"):
                await _remove_queues(settings)


async def _remove_queues(settings: Settings) -> None:
    connection = await broker_for(settings).connect()
    try:
        await topology.remove(connection, design_for(settings))
    finally:
        await connection.close()
