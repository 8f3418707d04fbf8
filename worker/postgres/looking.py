"""The way to Postgres of somebody who only looks: nothing is repeated, and no lock is waited for for long."""

import ssl

import asyncpg

from worker.errors import PostgresAway
from worker.monitoring.readiness import Readiness
from worker.postgres.database import PART, Database, describe
from worker.postgres.session import Session
from worker.postgres.sql import setup_query
from worker.process.identity import new_identity


class LookingDatabase(Database):
    """Tries each call once, where a worker's database repeats it until Postgres is back."""

    def __init__(self, url: str, pool_size: int, tls: ssl.SSLContext | None) -> None:
        self._state = Readiness([PART])
        super().__init__(url, pool_size, tls, self._state, application=new_identity().application)

    @property
    def trouble(self) -> str | None:
        """The reason why Postgres was not reached, as far as it is known."""
        reason = self._state.reasons.get(PART)
        return None if reason == "starting" else reason

    async def call(self, query: str, *args: object, **_how: object) -> list[asyncpg.Record]:
        try:
            return await self.once(query, *args)
        except OSError as error:  # of the network, which names no server
            raise PostgresAway(error.errno, error.strerror or describe(error)) from error

    async def _prepare(self, connection: Session) -> None:
        await super()._prepare(connection)
        await connection.keep(setup_query("wait_for_nobody"))
