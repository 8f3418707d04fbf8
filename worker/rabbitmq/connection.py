"""Connects to the broker: its hosts are tried in turn. The worker and the client share it."""

import asyncio
import ssl
from contextlib import suppress

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionNotAllowed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from worker.process import own_task

Connection = AbstractConnection
"""The type of a connection, for those who only hand it on."""
REFUSED = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)
"""The errors of a broker that does not know this user, password or vhost."""
LOST = (AMQPError, OSError, TimeoutError, RuntimeError)
"""The errors of a lost connection, beside the library's bare `Exception`: see `is_lost`."""
CONNECT_SECONDS = 10
HEARTBEAT_SECONDS = 10  # a frozen broker is noticed after about three of them
_ASK_SECONDS = 3
_CLOSE_SECONDS = 2
SETUP_SECONDS = 15
"""The time for all declarations, or for all consumers to begin. A node that is cut off from its cluster keeps
the connection open and answers nothing: without a limit nobody would go on to the next host."""


class Broker:
    """One or more hosts of the same cluster. Each connection is made to the next of them."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, name: str) -> None:
        self._urls = [_with_defaults(host, name) for host in split_hosts(url)]
        self._tls = tls
        self._next = 0

    async def connect(self) -> AbstractConnection:
        url = self._urls[self._next % len(self._urls)]
        self._next += 1
        connection = aio_pika.Connection(url, ssl_context=self._tls)
        try:
            await connection.connect(timeout=CONNECT_SECONDS)
        except BaseException as error:
            await close(connection)
            if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):
                # The client library's way of saying that the broker refused to open it.
                raise ConnectionNotAllowed("the vhost is not there, or not for this user") from error
            if url.scheme == "amqp" and _said_nothing(error) and await _speaks_tls(url):
                raise IncompatibleProtocolError(
                    "the server speaks TLS at this port: AMQP_URL has to begin with amqps:// for it"
                ) from error
            raise
        if own_task.is_being_cancelled():  # which the library may have lost: see `own_task.end`
            await close(connection)
            raise asyncio.CancelledError
        return connection


async def close(connection: AbstractConnection) -> None:
    """Close a connection, in order if the broker still listens. It raises nothing but the cancellation of the
    running task.
    """
    with suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
    # After a close that was interrupted the library counts it as open. The garbage collector would close it
    # again, where no loop may run. This call has nothing left to wait for.
    await connection.close()
    if own_task.is_being_cancelled():
        raise asyncio.CancelledError


def _said_nothing(error: BaseException) -> bool:
    """Tell whether a server has closed the connection before it had said all."""
    return isinstance(error.__cause__, asyncio.IncompleteReadError | ConnectionResetError)


async def _speaks_tls(url: URL) -> bool:
    """Ask a server whether its port is one for TLS. Nothing else is said, so nobody has to be verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            _, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def is_lost(error: Exception) -> bool:
    return isinstance(error, LOST) or type(error) is Exception


def split_hosts(url: str) -> list[URL]:
    """Return a URL for each host of `amqp://user:password@one,two:5673,three/vhost`; raise ValueError if the
    text is no such URL.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in ("amqp", "amqps") or not separator:
        raise ValueError("must begin with amqp:// or amqps://")
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    try:
        urls = [URL(f"{scheme}://{credentials}{at}{host.strip()}{slash}{path}") for host in hosts.split(",")]
    except ValueError:
        urls = []
    if not urls or not all(each.host for each in urls):
        raise ValueError("is not amqp://user:password@host:port/vhost")
    if urls[0].query.get("no_verify_ssl", "0") != "0":
        raise ValueError(
            "says no_verify_ssl, by which anybody may stand in for the broker: name the file of its CA "
            "with cafile=… in its place"
        )
    return urls


def vhost_of(url: str) -> str:
    """Return the vhost of such a URL, as the client library reads it."""
    return split_hosts(url)[0].path[1:].replace("%2F", "/") or "/"


def _with_defaults(url: URL, name: str) -> URL:
    return url.update_query({"heartbeat": str(HEARTBEAT_SECONDS), **url.query, "name": name})
