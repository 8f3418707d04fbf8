"""Elects one worker of an installation, which asks for all of them what one alone needs to ask.

It holds a lock on a connection of its own. Postgres ends that connection when nothing is asked on it for a
while: so a worker that is frozen is not elected for ever. Behind a pooler a transaction holds the lock.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import NamedTuple
from uuid import UUID

import asyncpg

from worker.postgres.database import Database, is_transient
from worker.postgres.session import Session
from worker.postgres.sql import load_queries
from worker.process import own_task

WATCHING, ANNOUNCING = 0x5E5510, 0x5E5511  # of the locks; the other half of each is the schema
_ASK_SECONDS = 5.0
_KEPT_SECONDS = 2 * 86_400.0


class Measured(NamedTuple):
    """What the elected worker has seen: a row of the course of the last hours."""

    answered: list[int]  # answers since the row before, by how long they took
    queued: int | None  # messages in the request queue; None: the broker does not tell
    unread: int | None  # in the response queue
    dead: int | None
    oldest: float
    due: int
    overdue: float
    waiting: dict[str, int]  # by reason
    unanswered: int


class Elected:
    """Asks Postgres about itself. Nothing here waits for a lock for long."""

    def __init__(self, connection: Session) -> None:
        self.connection = connection
        """While it lasts, no other worker is elected."""

    async def lock_wait(self) -> float:
        """Return for how many seconds the first of the statements that wait for a lock has waited."""
        seconds: float = await self.connection.fetchval(_queries()["lock_wait"])
        return seconds

    async def oldest_unfinished(self) -> float | None:
        """Return the age of the oldest request that is not finished; None while a lock is in the way."""
        try:
            seconds: float = await self.connection.fetchval(_queries()["oldest_unfinished"])
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            return None
        return seconds

    async def table_bytes(self) -> dict[str, int]:
        """Return the size of each table of the installation; of none while a lock is in the way."""
        try:
            rows = await self.connection.fetch(_queries()["table_bytes"])
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            return {}
        return {row["name"]: row["bytes"] for row in rows}

    async def answered(self) -> dict[UUID, list[int]]:
        """Return what each worker has answered since its start, by how long it took."""
        rows = await self.connection.fetch(_queries()["answered"])
        return {row["id"]: row["answered"] for row in rows}

    async def measure(self, measured: Measured) -> None:
        """Write a row of the course of the last hours; none while a lock is in the way."""
        with suppress(asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            await self.connection.execute(
                _queries()["measure"],
                _KEPT_SECONDS,
                *measured[:-2],
                json.dumps(measured.waiting),
                measured.unanswered,
            )


class Election:
    """Lets this worker stand for election, again and again: each task has one of its own, by its key."""

    def __init__(self, database: Database, key: int = WATCHING) -> None:
        self._database = database
        self._key = key

    async def hold(self, work: Callable[[Elected], Awaitable[None]]) -> None:
        """Do this work if no other worker is elected, for as long as the lock is held: it is lost with its
        connection.
        """
        if not (await self._database.call("is_vacant", self._key, aside=True))[0]["vacant"]:
            return
        try:
            async with self._database.apart() as connection:
                await connection.keep(_queries()["bounds"])
                if connection.pooled:
                    await self._hold_pooled(work, connection)
                elif await connection.fetchval(_queries()["elect"], self._key):
                    await work(Elected(connection))
        except Exception as error:  # the driver says by any of its errors that a connection is lost
            if not is_transient(error):
                raise

    async def _hold_pooled(self, work: Callable[[Elected], Awaitable[None]], connection: Session) -> None:
        """Do the same where a lock lasts no longer than its transaction: one is held open beside the work,
        and is asked something again and again, for the same reason.
        """
        async with self._database.apart() as holder:
            await holder.keep(_queries()["bounds_of_the_holder"])
            async with holder.transaction():
                if not await holder.fetchval(_queries()["elect_pooled"], self._key):
                    return
                both = [asyncio.ensure_future(each) for each in (work(Elected(connection)), _ask(holder))]
                try:
                    done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                    for ended in done:
                        ended.result()
                finally:
                    await own_task.end(both)


async def _ask(holder: Session) -> None:
    """Show again and again that this worker is not frozen."""
    while True:
        await asyncio.sleep(_ASK_SECONDS)
        await holder.execute(_queries()["ask"])


@cache
def _queries() -> dict[str, str]:
    return load_queries("election.sql")
