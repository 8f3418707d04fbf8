"""Opens Postgres for a command that looks something up, and says soon when there is no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.cli.reaching import reach
from worker.monitoring.readiness import Readiness
from worker.postgres.database import PART, Database
from worker.postgres.migrate import require_current
from worker.process import own_task
from worker.process.identity import new_identity
from worker.settings import Settings
from worker.tls import context_from

T = TypeVar("T")


class LookupDatabase(Database):
    """Tries each call once, where a worker's database repeats it until Postgres is back. While a call waits
    for a lock, a line on stderr says so, and who holds the lock.
    """

    def __init__(self, settings: Settings) -> None:
        self._state = Readiness([PART])
        self._telling: asyncio.Task[None] | None = None
        super().__init__(
            settings.database_url.get_secret_value(), 1, context_from(settings), self._state,
            application=new_identity().application,
        )  # fmt: skip

    async def open(self, schema: str | None = None) -> None:
        await super().open(schema)
        self._telling = asyncio.create_task(self._tell())

    async def close(self) -> None:
        if self._telling is not None:
            await own_task.end([self._telling])
        await super().close()

    async def call(self, query: str, *args: Any, **_how: Any) -> list[Any]:  # noqa: ANN401 — a statement's arguments
        rows = await self.once(query, *args)
        self._state.up(PART)
        return rows

    async def look(self, attempt: Callable[[], Awaitable[T]], wait_seconds: float) -> T:
        """Return what the attempt returns, or raise a CommandError when the time is over."""
        try:
            return await reach("Postgres", attempt, wait_seconds, each_within=True)
        except CommandError as error:
            if (cause := self.trouble) and error.code == exits.UNREACHABLE:
                raise CommandError(error.code, f"Postgres does not answer: the statement {cause}") from None
            raise

    @property
    def trouble(self) -> str | None:
        """The reason why Postgres is away or does not answer; None while it does."""
        return self._state.reasons.get(PART)

    async def _tell(self) -> None:
        while True:
            await self._state.until_down(PART)
            say(f"the statement {self.trouble}")
            await self._state.until_up(PART)


async def open_database(settings: Settings, wait_seconds: float) -> LookupDatabase:
    """Connect to the tables of the settings' prefix, or raise a CommandError when the time is over."""
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    schema = await reach(
        "Postgres", lambda: require_current(url, tls, settings.prefix), wait_seconds, each_within=True
    )
    database = LookupDatabase(settings)
    try:
        async with asyncio.timeout(wait_seconds):
            await database.open(schema)
    except TimeoutError:
        raise CommandError(exits.UNREACHABLE, f"Postgres cannot be reached: {database.trouble}") from None
    return database
