"""Postgres for a command that looks something up: it is told soon when there is no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.cli.servers import reach
from worker.monitoring.readiness import Readiness
from worker.postgres.database import PART, Database
from worker.postgres.migrate import require_current
from worker.process.failpoint import FailPoint
from worker.process.identity import new_identity
from worker.settings import Settings
from worker.tls import context_from

T = TypeVar("T")


class Looking(Database):
    """A call that comes to nothing is told, and not repeated for as long as Postgres is away. One that waits
    for a lock says so, and for whom."""

    def __init__(self, settings: Settings) -> None:
        self._state = Readiness([PART])
        self._telling: asyncio.Task[None] | None = None
        super().__init__(
            settings.database_url.get_secret_value(), 1, context_from(settings), self._state, FailPoint(""),
            application=new_identity().application,
        )  # fmt: skip

    async def open(self, schema: str | None = None) -> None:
        await super().open(schema)
        self._telling = asyncio.create_task(self._tell())

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await super().close()

    async def call(self, query: str, *args: Any) -> list[Any]:  # noqa: ANN401 — a statement's arguments
        rows = await self.once(query, *args)
        self._state.up(PART)
        return rows

    async def look(self, attempt: Callable[[], Awaitable[T]], wait_seconds: float) -> T:
        """What the attempt returns, or a CommandError within the time."""
        try:
            return await reach("Postgres", attempt, wait_seconds, each_within=True)
        except CommandError as error:
            if (cause := self.trouble) and error.code == exits.UNREACHABLE:
                raise CommandError(error.code, f"Postgres does not answer: the statement {cause}") from None
            raise

    @property
    def trouble(self) -> str | None:
        """Why it is not there, or does not answer."""
        return self._state.reasons.get(PART)

    async def _tell(self) -> None:
        while True:
            await self._state.until_down(PART)
            say(f"the statement {self.trouble}")
            await self._state.until_up(PART)


async def open_database(settings: Settings, wait_seconds: float) -> Looking:
    """Connected, or a CommandError within the time."""
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    schema = await reach(
        "Postgres", lambda: require_current(url, tls, settings.prefix), wait_seconds, each_within=True
    )
    database = Looking(settings)
    try:
        async with asyncio.timeout(wait_seconds):
            await database.open(schema)
    except TimeoutError:
        raise CommandError(exits.UNREACHABLE, f"Postgres cannot be reached: {database.trouble}") from None
    return database
