"""Elects one worker of an installation, which asks for all of them what one alone needs to ask.

It holds a lock on a connection of its own. Postgres ends that connection when nothing is asked on it for a
while: so a worker that is frozen is not elected for ever.
"""

from collections.abc import Awaitable, Callable
from functools import cache

import asyncpg

from worker.postgres.database import Database, is_transient
from worker.postgres.sql import load_queries

_KEY = 0x5E5510  # of the lock; the other half of it is the schema


class Elected:
    """Asks Postgres about itself. Nothing here waits for a lock for long."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def lock_wait(self) -> float:
        """Return for how many seconds the first of the statements that wait for a lock has waited."""
        seconds: float = await self._connection.fetchval(_queries()["lock_wait"])
        return seconds

    async def oldest_unfinished(self) -> float | None:
        """Return the age of the oldest request that is not finished; None while a lock is in the way."""
        try:
            seconds: float = await self._connection.fetchval(_queries()["oldest_unfinished"])
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            return None
        return seconds

    async def table_bytes(self) -> dict[str, int]:
        """Return the size of each table of the installation; of none while a lock is in the way."""
        try:
            rows = await self._connection.fetch(_queries()["table_bytes"])
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            return {}
        return {row["name"]: row["bytes"] for row in rows}


class Election:
    """Lets this worker stand for election, again and again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hold(self, work: Callable[[Elected], Awaitable[None]]) -> None:
        """Do this work if no other worker is elected, for as long as the lock is held: it is lost with its
        connection.
        """
        if not (await self._database.call("is_vacant", _KEY, aside=True))[0]["vacant"]:
            return
        try:
            async with self._database.apart() as connection:
                await connection.execute(_queries()["bounds"])
                if await connection.fetchval(_queries()["elect"], _KEY):
                    await work(Elected(connection))
        except Exception as error:  # the driver says by any of its errors that a connection is lost
            if not is_transient(error):
                raise


@cache
def _queries() -> dict[str, str]:
    return load_queries("election.sql")
