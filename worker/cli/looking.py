"""Postgres for a command that looks something up: it is told soon when there is no answer."""

import asyncio
from typing import Any

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.servers import reach
from worker.database import PART, Database
from worker.failpoint import FailPoint
from worker.identity import new_identity
from worker.migrate import require_current
from worker.readiness import Readiness
from worker.settings import Settings
from worker.tls import context_from


class _Looking(Database):
    """A call that comes to nothing is told, and not repeated for as long as Postgres is away."""

    async def call(self, query: str, *args: Any) -> list[Any]:  # noqa: ANN401 — a statement's arguments
        return await self.once(query, *args)


async def open_database(settings: Settings, wait_seconds: float) -> Database:
    """Connected, or a CommandError within the time."""
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    schema = await reach(
        "Postgres", lambda: require_current(url, tls, settings.prefix), wait_seconds, each_within=True
    )
    readiness = Readiness([PART])
    database = _Looking(url, 1, tls, readiness, FailPoint(""), application=new_identity().application)
    try:
        async with asyncio.timeout(wait_seconds):
            await database.open(schema)
    except TimeoutError:
        raise CommandError(
            exits.UNREACHABLE, f"Postgres cannot be reached: {readiness.reasons[PART]}"
        ) from None
    return database
