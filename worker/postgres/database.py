"""The way to Postgres: a warm pool, and calls that outlast an outage.

A call is one statement in a transaction of its own. It is repeated until Postgres has answered it, so every
statement here is written to be repeated: after a lost connection nobody knows whether it was committed.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any, TypeVar

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from worker.backoff import delays
from worker.errors import NotStorable, SettingsError, ValuesRefused
from worker.monitoring.readiness import Readiness
from worker.postgres.installation import connected, use_schema
from worker.postgres.locks import lock_holders
from worker.postgres.session import STATEMENTS_UNNAMED, Session, open_session
from worker.postgres.sql import load_queries, setup_query
from worker.postgres.transactions import Transactions
from worker.process import own_task
from worker.tls_words import tls_in_words

T = TypeVar("T")
Fetching = Awaitable[Sequence[asyncpg.Record]]
Around = Callable[[Any], Fetching]
PART = "postgres"
_CONNECT_SECONDS = 10
_CALL_SECONDS = 15
_CLOSE_SECONDS = 1
_AGAIN_SECONDS = 3.0
_LONG_SECONDS = 3.0  # a statement that takes longer is asked what it waits for
_LOOK_SECONDS = 1.0
_FOR_EVER = 1 << 62
_DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
)
_TRANSIENT_CLASSES = ("08", "53", "57P", "25006", "25P03", "40001", "40P01", "55P03")
_REFUSED_CLASSES = ("22", "23", "54")  # the values, a constraint, a limit: what the statement was given
_READ_ONLY = "25006"
_PUT_RIGHT = ("28", "3D")  # a wrong password, a missing database: put right while workers wait
_log = structlog.get_logger(__name__)

# Every query of ours goes by keys. Without these a plan made while a table was small and unknown
# would read all of it for as long as the plan is cached. The generic plan is forced: to plan again each time
# costs about a quarter of a commit.
SERVER_SETTINGS = {
    # A statement that nobody waits for any more ends by itself, also one that waits for a lock.
    "statement_timeout": f"{_CALL_SECONDS - 1}s",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# A call is a few messages there. A worker that is frozen between two of them would keep its locks, and a
# session that others need.
_IDLE = "idle_in_transaction_session_timeout"
_POOLED_SETTINGS = SERVER_SETTINGS | {_IDLE: f"{_CALL_SECONDS}s"}


def is_transient(error: BaseException) -> bool:
    """Return whether the same statement may succeed once Postgres is back."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith(_TRANSIENT_CLASSES)
    return isinstance(error, _DRIVER_ERRORS)


def is_refusal(error: BaseException) -> bool:
    """Return whether Postgres refuses the values it was given. All else that it may say — no rights, no
    memory, a statement that somebody ended — is no fault of a request, and is waited out.
    """
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "").startswith(_REFUSED_CLASSES)


def describe(error: BaseException) -> str:
    """Describe an outage in a few words: its cause where that was found, else the words of Postgres, which
    name no values of a row in these classes.
    """
    if notes := getattr(error, "__notes__", None):
        return str(notes[0])
    if of_tls := tls_in_words(error):
        return of_tls
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"


def _unchanged(statement: Fetching) -> Fetching:
    return statement


async def _nothing_to_reset(_connection: object) -> None:
    """Skip the reset: our statements leave nothing behind on a connection, and it would cost a round trip."""


class Outage:
    """Logs an outage once. It lasts from the first statement that fails until all of them got through."""

    def __init__(self) -> None:
        self._failing = 0
        self._since = 0.0

    def begin(self, query: str, reason: str) -> None:
        if not self._failing:
            self._since = asyncio.get_running_loop().time()
            _log.warning("postgres.lost", query=query, reason=reason)
        self._failing += 1

    def end(self) -> None:
        self._failing -= 1
        if not self._failing:
            away_seconds = round(asyncio.get_running_loop().time() - self._since, 1)
            _log.info("postgres.back", away_seconds=away_seconds)


class Database:
    """Keeps a pool of connections warm, and repeats a statement until Postgres answers it."""

    def __init__(
        self,
        url: str,
        pool_size: int,
        tls: ssl.SSLContext | None,
        readiness: Readiness,
        on_waited: Callable[[float], None] | None = None,
        application: str = "session-worker",
        *,
        tells_events: bool = False,
    ) -> None:
        self._application = application
        self._tells_events = tells_events  # what it does with requests is written down for those who watch
        self._on_waited = on_waited  # is told how long each statement waited for a connection
        self._url = url
        self._size = pool_size
        self._tls = tls
        self._readiness = readiness
        self._queries = {
            name: sql
            for file in ("queries.sql", "operations.sql", "owner.sql", "doctor.sql", "shards.sql")
            for name, sql in load_queries(file).items()
        }
        self._schema: str | None = None
        self.pooled = False
        """Whether Postgres is reached through a pooler, so that no session outlasts its transaction."""
        self._pool: asyncpg.Pool | None = None
        self._outage = Outage()
        self._refused_writes = 0  # statements that a read-only Postgres refuses, and that are tried again
        self._under_way: dict[int, float] = {}  # since when, by the process that serves it
        self._releasing: set[asyncio.Future[None]] = set()
        self._causes: dict[int, str] = {}
        self._answered = 0.0
        self._watching: asyncio.Task[None] | None = None

    async def open(self, schema: str | None = None) -> None:
        """Open the pool. It waits, visibly, for a Postgres that is not there yet. All names are of this
        schema.
        """
        self._schema = schema
        self.pooled = await self.reach(self._is_pooled)
        self._pool = await self.reach(self._connect)
        if not self.pooled:  # a pooler does not tell which process serves a statement
            self._watching = asyncio.create_task(self._watch())
        self._readiness.up(PART)

    @property
    def schema(self) -> str | None:
        """The schema in which all names are looked for."""
        return self._schema

    async def reach(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what the attempt returns; it is repeated while Postgres is not there or lets nobody in."""
        waits = delays(0.5, 5)
        while True:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS + 5):
                    return await attempt()
            except asyncpg.ClientConfigurationError as error:
                raise SettingsError(f"DATABASE_URL: {error}") from None
            except _DRIVER_ERRORS as error:
                if not is_transient(error) and not str(getattr(error, "sqlstate", "")).startswith(_PUT_RIGHT):
                    raise
                self._readiness.down(PART, describe(error))
                delay = next(waits)
                _log.warning("postgres.waiting", reason=describe(error), again_in_seconds=round(delay, 1))
                await asyncio.sleep(delay)

    async def _is_pooled(self) -> bool:
        async with connected(self._url, self._tls) as connection:
            return connection.pooled

    async def _connect(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self._url,
            min_size=self._size,
            max_size=self._size,
            max_inactive_connection_lifetime=0,
            max_queries=_FOR_EVER,
            reset=_nothing_to_reset,
            connection_class=Session,
            init=self._prepare,
            timeout=_CONNECT_SECONDS,
            server_settings=self._settings(),
            **(STATEMENTS_UNNAMED if self.pooled else {}),
            **({"ssl": self._tls} if self._tls else {}),
        )

    def _settings(self) -> dict[str, str]:
        """Return what a connection is opened with. A pooler refuses settings that it does not know."""
        return {"application_name": self._application, **({} if self.pooled else SERVER_SETTINGS)}

    async def _prepare(self, connection: Session) -> None:
        if self.pooled:
            connection.pooled = True
            statements = [f"set {name} = '{value}'" for name, value in _POOLED_SETTINGS.items()]
            await connection.keep("; ".join(statements))
        if self._schema is not None:
            await use_schema(connection, self._schema)
        if self._tells_events:
            await connection.keep(setup_query("tell_events"))

    async def close(self) -> None:
        if self._watching is not None:
            await own_task.end([self._watching])
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[Session]:
        """Open a connection beside the pool's, for what belongs to one connection."""
        connection = await open_session(
            self._url,
            self._tls,
            _CONNECT_SECONDS,
            call_seconds=_CALL_SECONDS,
            settings=self._settings(),
            pooled=self.pooled,
        )
        try:
            await self._prepare(connection)
            yield connection
        finally:
            with suppress(*_DRIVER_ERRORS):  # it is gone already, or Postgres is
                await connection.close(timeout=_CLOSE_SECONDS)

    @asynccontextmanager
    async def transactions(self) -> AsyncIterator[Transactions]:
        """Open such a connection for statements that belong into one transaction."""
        async with self.apart() as connection:
            if connection.pooled:
                await connection.keep(f"set {_IDLE} = '0'")  # in between the broker may be waited for
            yield Transactions(connection, self._queries)

    async def call(
        self,
        query: str,
        *args: Any,  # noqa: ANN401 — a statement's arguments
        aside: bool = False,
        again_within: float = _AGAIN_SECONDS,
        around: Around = _unchanged,
    ) -> list[asyncpg.Record]:
        """Return the rows of the named query, however long Postgres is away.

        `aside`: no request waits for this statement; an error other than an outage is raised at once.
        `again_within`: the longest wait, in seconds, before it is tried again.
        `around`: what a test does in the middle of the statement.
        """
        failed = refused_write = False
        try:
            waits = delays(0.1, again_within)
            while True:
                try:
                    rows = await self.once(query, *args, around=around)
                    if failed:
                        await self.once("all_is_safe")
                except _DRIVER_ERRORS as error:
                    if is_refusal(error) or (aside and not is_transient(error)):
                        refused = ValuesRefused if is_refusal(error) else NotStorable
                        raise refused(str(getattr(error, "sqlstate", "unknown"))) from error
                    if not failed:
                        failed = True
                        self._outage.begin(query, describe(error))
                    if getattr(error, "sqlstate", None) == _READ_ONLY and not refused_write:
                        refused_write = True
                        self._refused_writes += 1
                    self._readiness.down(PART, describe(error))
                    await asyncio.sleep(next(waits))
                else:
                    # A read that succeeds says nothing of the writes that Postgres refuses.
                    if self._refused_writes == refused_write:
                        self._readiness.up(PART)
                    return rows
        finally:
            self._refused_writes -= refused_write
            if failed:
                self._outage.end()

    async def once(
        self,
        query: str,
        *args: Any,  # noqa: ANN401 — a statement's arguments
        around: Around = _unchanged,
    ) -> list[asyncpg.Record]:
        """Try it once."""
        assert self._pool is not None, "the database is open"  # noqa: S101 — the composition root opens it first
        begun = perf_counter()
        try:
            async with asyncio.timeout(_CALL_SECONDS):  # the pool's own limit costs a task for each call
                connection = await self._pool.acquire()
        finally:
            if self._on_waited:
                self._on_waited(perf_counter() - begun)
        pid = connection.get_server_pid()
        self._under_way[pid] = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                rows = await around(connection.fetch(self._queries[query], *args))
        except BaseException as error:
            # Only after a refused statement is a connection what it was. A server that did not answer would
            # not answer a polite cancel either, and a lost answer left behind confuses the next call.
            if not isinstance(error, asyncpg.PostgresError) or is_transient(error):
                with suppress(asyncpg.InterfaceError):  # it is gone already
                    connection.terminate()
            if isinstance(error, TimeoutError | asyncpg.QueryCanceledError) and pid in self._causes:
                error.add_note(self._causes[pid])
            raise
        finally:
            del self._under_way[pid]
            # Nobody waits for it: it takes two turns of a loop that may be busy.
            self._releasing.add(released := asyncio.ensure_future(self._release(connection)))
            released.add_done_callback(self._releasing.discard)
        self._answered = asyncio.get_running_loop().time()
        return list(rows)

    async def _release(self, connection: PoolConnectionProxy) -> None:
        """Give a connection back to the pool. One that was lost may have given itself back by then."""
        assert self._pool is not None  # noqa: S101 — the connection is of it
        with suppress(asyncpg.InternalClientError):  # the driver's word for that: its place is free already
            await self._pool.release(connection)

    async def _watch(self) -> None:
        """Find out what a statement waits for, while it waits: afterwards Postgres does not know."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            long = {pid: since for pid, since in self._under_way.items() if clock() - since > _LONG_SECONDS}
            self._causes = {pid: cause for pid, cause in self._causes.items() if pid in long}
            if not long:
                continue
            with suppress(*_DRIVER_ERRORS):  # it is away then, which the statements themselves will tell
                async with asyncio.timeout(_CONNECT_SECONDS):
                    self._causes |= await lock_holders(self._url, self._tls, list(long))
            waiting = [pid for pid in long if pid in self._causes and self._under_way.get(pid) == long[pid]]
            if waiting and self._answered < min(long[pid] for pid in waiting):  # nothing gets through
                self._readiness.down(PART, self._causes[waiting[0]])
