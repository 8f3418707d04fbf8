"""Reaches Postgres and the broker for the console, which stays up while one is away, and says which."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import structlog

from worker.console.problems import Problem, away, not_in_time
from worker.errors import MigrationError, PostgresAway, PublishInterrupted, SettingsError, WorkerError
from worker.postgres.database import Database, describe, is_transient
from worker.postgres.looking import LookingDatabase
from worker.postgres.migrate import require_current
from worker.process import own_task
from worker.rabbitmq.connection import Broker, is_lost
from worker.settings import Settings
from worker.tls import context_from

T = TypeVar("T")
POOL = 3  # connections to Postgres: no page waits long, and ten screens take nothing from the workers
_AGAIN_SECONDS = 2.0
_FIRST_SECONDS = 3.0
_CLOCK_SECONDS, _CLOCK_WAIT_SECONDS = 60.0, 1.0
_TRY_SECONDS = 15
_log = structlog.get_logger(__name__)


class Servers:
    """Keeps the way to both servers, and what was found there lately."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = context_from(settings)
        self._database: Database | None = None
        self._why = "it was not asked yet"
        self._asked = asyncio.Event()
        self._found: dict[str, tuple[float, object]] = {}
        self._looks: dict[str, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._ahead = timedelta()
        url = settings.amqp_url.get_secret_value()
        try:
            self.broker = Broker(
                url, self._tls if url.startswith("amqps:") else None, "session-worker console"
            )
        except ValueError as error:
            raise SettingsError(f"AMQP_URL: {error}") from None

    @property
    def database(self) -> Database:
        """Return the database; raise a problem while it is away."""
        if self._database is None:
            raise away("Postgres", self._why)
        return self._database

    async def asked(self) -> None:
        """Return once Postgres was asked for the first time, whether it answered or not; soon in any case."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._asked.wait()

    async def time_there(self, now: datetime) -> datetime:
        """Return what time it is by the clock of Postgres, as far as it was heard of."""
        try:
            async with asyncio.timeout(_CLOCK_WAIT_SECONDS):
                self._ahead = await self.shared("clock", _CLOCK_SECONDS, lambda: self._look_ahead(now))
        except Exception as error:
            if problem_of(error) is None:
                raise
        return now + self._ahead

    async def _look_ahead(self, now: datetime) -> timedelta:
        (row,) = await self.database.call("server")
        ahead: timedelta = row["now"] - now
        return ahead

    async def shared(self, name: str, seconds: float, look: Callable[[], Awaitable[T]]) -> T:
        """Return what `look` finds; what was found within these seconds is found."""
        clock = asyncio.get_running_loop().time
        at, found = self._found.get(name, (0.0, None))
        if name in self._found and clock() - at < seconds:
            return cast("T", found)
        task = self._looks.get(name)
        if task is None:
            task = self._looks[name] = asyncio.ensure_future(look())
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._keep(name, done))
        return cast("T", await asyncio.shield(task))

    def forget(self) -> None:
        """Forget what was found: somebody has changed something, and looks what came of it."""
        self._found.clear()
        self._looks.clear()

    def _keep(self, name: str, done: "asyncio.Future[object]") -> None:
        self._tasks.discard(done)
        well = not done.cancelled() and done.exception() is None
        if self._looks.get(name) is not done:
            return  # it is forgotten
        del self._looks[name]
        if well:
            self._found[name] = asyncio.get_running_loop().time(), done.result()

    async def _reach(self) -> None:
        """Try until Postgres is there with the tables of this prefix. What is lost later opens by itself."""
        url = self._settings.database_url.get_secret_value()
        while self._database is None:
            database = LookingDatabase(url, POOL, self._tls)
            try:
                async with asyncio.timeout(_TRY_SECONDS):
                    schema = await require_current(url, self._tls, self._settings.prefix)
                    await database.open(schema)
            except Exception as error:  # noqa: BLE001 — whatever it is, it is said, and tried again
                why = database.trouble or words(error)
                if why != self._why:
                    _log.warning("console.postgres_away", reason=why)
                self._why = why
                await database.close()
            else:
                self._database = database
            self._asked.set()
            if self._database is None:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _close(self) -> None:
        await own_task.end(self._tasks)
        if self._database is not None:
            await self._database.close()


@asynccontextmanager
async def reaching(settings: Settings) -> AsyncIterator[Servers]:
    """Reach the servers while the context is open."""
    servers = Servers(settings)
    task = asyncio.create_task(servers._reach())  # noqa: SLF001 — it is this module's own
    try:
        yield servers
    finally:
        await own_task.end([task])
        with suppress(Exception):  # it is away, and so closed
            await servers._close()  # noqa: SLF001 — as above


def problem_of(error: Exception) -> Problem | None:
    """Return the problem that an error of a server is for people; None: it is a fault of this program."""
    if isinstance(error, Problem):
        return error
    library = type(error).__module__.partition(".")[0]
    if library == "asyncpg" or isinstance(error, PostgresAway):
        return _of_postgres(error)
    if isinstance(error, PublishInterrupted):
        return away("RabbitMQ", "it was lost, or did not confirm a message in time")
    if library == "aiormq" or (type(error) is Exception and is_lost(error)):  # how its library says it
        return away("RabbitMQ", words(error))
    return away("A server", words(error)) if isinstance(error, OSError) else None


def _of_postgres(error: Exception) -> Problem | None:
    match getattr(error, "sqlstate", None):
        case "57014" if notes := getattr(error, "__notes__", None):
            return not_in_time(str(notes[0]))  # who holds the lock that it waited for
        case "57014":
            said = str(error).splitlines()[0]
            return not_in_time(f"{said}. Ask for less, as with a filter or a shorter time, or again")
        case "55P03":
            return not_in_time(
                "another transaction holds a lock on what was asked for: `session-worker blockers` says who. "
                "Ask again in a moment"
            )
        case _:
            return away("Postgres", words(error)) if is_transient(error) else None


def words(error: Exception) -> str:
    """Say why a server cannot be reached, without a word of its address."""
    if isinstance(error, MigrationError | WorkerError):
        return str(error)
    return error.strerror if isinstance(error, OSError) and error.strerror else describe(error)
