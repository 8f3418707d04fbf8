"""A connection that needs no session: what it was told to keep holds also behind a pooler.

PgBouncer in transaction mode gives each transaction another session of Postgres. What a session keeps
(settings, prepared statements, locks) is lost then, or somebody else has it. So behind a pooler each call is
a transaction that begins with the settings, and each statement is parsed anew. Else nothing of it is done.
"""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from worker.postgres.sql import setup_query

STATEMENTS_UNNAMED = {"statement_cache_size": 0}
_SET = re.compile(r"\bset (\S+) = ('[^']*')")


class Session(asyncpg.Connection):  # type: ignore[misc]  # the library has no types
    """Is a connection as any other, once it is known that there is no pooler."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 — the library's
        super().__init__(*args, **kwargs)
        self.pooled = False
        self._kept: dict[str, str] = {}

    async def look_for_pooler(self) -> None:
        """Find out whether somebody stands in between: who answers is then not who was connected to."""
        self.pooled = await self.fetchval(setup_query("backend")) != self.get_server_pid()

    async def keep(self, statements: str) -> None:
        """Run these statements, which only `set` something, and keep what they set."""
        if self.pooled:
            self._kept |= dict(_SET.findall(statements))
        else:
            await super().execute(statements)

    async def keep_one(self, name: str, value: str) -> None:
        """Keep one setting of any value."""
        if self.pooled:
            self._kept[name] = "'" + value.replace("'", "''") + "'"
        else:
            await super().fetchval(setup_query("keep_one"), name, value)

    async def execute(self, query: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401 — the library's
        if self.pooled and query == "BEGIN;":  # of a transaction of the library's
            await self._begin()
            return query
        async with self._in_transaction():
            return await super().execute(query, *args, **how)

    async def fetch(self, query: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401 — as above
        async with self._in_transaction():
            return await super().fetch(query, *args, **how)

    async def fetchrow(self, query: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401 — as above
        async with self._in_transaction():
            return await super().fetchrow(query, *args, **how)

    async def fetchval(self, query: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401 — as above
        async with self._in_transaction():
            return await super().fetchval(query, *args, **how)

    @asynccontextmanager
    async def _in_transaction(self) -> AsyncIterator[None]:
        if not self.pooled or self.is_in_transaction():
            yield
            return
        await self._begin()
        try:
            yield
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # it is gone already
                await super().execute("rollback")
            raise
        except BaseException:
            self.terminate()  # nobody knows how far it is
            raise
        await super().execute("commit")

    async def _begin(self) -> None:
        kept = [f"set_config('{name}', {value}, true)" for name, value in self._kept.items()]
        await super().execute(f"begin; select {', '.join(kept)}")


async def open_session(
    url: str,
    tls: ssl.SSLContext | None,
    seconds: float,
    *,
    call_seconds: float | None = None,
    settings: Mapping[str, str] | None = None,
    pooled: bool | None = None,
) -> Session:
    """Connect within so many seconds. `pooled`: whether there is a pooler, where that is known."""
    session: Session = await asyncpg.connect(
        url,
        connection_class=Session,
        timeout=seconds,
        command_timeout=call_seconds,
        server_settings=settings,
        **({} if pooled is False else STATEMENTS_UNNAMED),
        **({"ssl": tls} if tls else {}),
    )
    try:
        if pooled is None:
            await session.look_for_pooler()
        else:
            session.pooled = pooled
    except BaseException:
        session.terminate()
        raise
    return session
