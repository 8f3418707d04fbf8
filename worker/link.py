"""A connection to the broker that is opened again whenever it is lost."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)
from yarl import URL

from worker.errors import SettingsError
from worker.readiness import Readiness
from worker.retry import delays

CONNECT_SECONDS = 10
HEARTBEAT_SECONDS = 10
BROKER_ERRORS = (AMQPError, OSError, TimeoutError, asyncio.CancelledError, RuntimeError)
_STEADY_SECONDS = 5
_log = structlog.get_logger(__name__)


class Broker:
    """How to reach the broker: one or more hosts, tried in turn."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, name: str) -> None:
        self._urls = [
            target.update_query({"name": name, "heartbeat": str(HEARTBEAT_SECONDS)})
            if "heartbeat" not in target.query
            else target.update_query({"name": name})
            for target in split_hosts(url)
        ]
        self._tls = tls
        self._next = 0

    async def connect(self) -> AbstractConnection:
        """A new connection to the next host."""
        url = self._urls[self._next % len(self._urls)]
        self._next += 1
        return await aio_pika.connect(url, timeout=CONNECT_SECONDS, ssl_context=self._tls)


def split_hosts(url: str) -> Sequence[URL]:
    """One URL for each host in `amqp://user:password@one,two:5673/vhost`."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("amqp", "amqps") or not separator:
        raise SettingsError("AMQP_URL: must begin with amqp:// or amqps://")
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    try:
        urls = [URL(f"{scheme}://{credentials}{at}{host.strip()}{slash}{path}") for host in hosts.split(",")]
        if not all(target.host for target in urls):
            raise SettingsError("AMQP_URL: has no host")
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: is not a URL ({str(error).splitlines()[0]})") from None
    return urls


async def keep_open(
    part: str,
    broker: Broker,
    serve: Callable[[AbstractConnection], Awaitable[None]],
    readiness: Readiness,
) -> None:
    """Serve on a connection, and on a new one when it is lost, for ever. The waits in between grow and are
    jittered.
    """
    clock = asyncio.get_running_loop().time
    waits = delays(0.2, 5)
    while True:
        begun = clock()
        try:
            await _serve_once(broker, serve)
            reason = "the connection was closed"
        except (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed) as error:
            # Worth trying again all the same: users and permissions are put right while workers wait.
            reason = f"the broker refuses these credentials or this vhost: {error!r}"
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            reason = f"{error!r}"[:300]
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            reason = f"the connection was lost: {error!r}"[:300]  # the client library's way of saying so
        readiness.down(part, reason)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # it came while the connection was being closed
        if clock() - begun > _STEADY_SECONDS:
            waits = delays(0.2, 5)
        delay = next(waits)
        _log.warning("broker.lost", part=part, reason=reason, again_in_seconds=round(delay, 1))
        await asyncio.sleep(delay)


async def _serve_once(broker: Broker, serve: Callable[[AbstractConnection], Awaitable[None]]) -> None:
    connection = await broker.connect()
    try:
        await serve(connection)
    finally:
        try:
            async with asyncio.timeout(5):
                await connection.close()
        except BROKER_ERRORS:
            _log.debug("broker.close_unanswered")
