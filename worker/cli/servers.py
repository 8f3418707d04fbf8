"""The settings that a command needs, and servers that may take a while to answer."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.backoff import delays
from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.client import Client
from worker.errors import SettingsError
from worker.postgres.database import describe, is_transient
from worker.settings import Settings, read_settings
from worker.tls import context_from

T = TypeVar("T")
_REFUSED = ("28", "3D", "42501")


def settings_for(*, broker: bool = False, database: bool = False) -> Settings:
    """The settings from the environment; the URL of a server that the command does not use may be missing."""
    unused = {} if broker else {"amqp_url": "amqp://unused"}
    if not database:
        unused["database_url"] = "postgresql://unused"
    return read_settings(**unused)


def broker_tls(settings: Settings) -> ssl.SSLContext | None:
    return context_from(settings) if settings.amqp_url.get_secret_value().startswith("amqps:") else None


def client_for(settings: Settings, wait_seconds: float) -> Client:
    """A client with the settings' broker and prefix, told of in the broker as this program."""
    url = settings.amqp_url.get_secret_value()
    try:
        return Client(
            url,
            settings.prefix,
            tls=broker_tls(settings),
            connect_timeout=wait_seconds,
            app_id="session-worker cli",
        )
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: {error}") from None


async def reach(
    server: str, attempt: Callable[[], Awaitable[T]], wait_seconds: float, *, each_within: bool = False
) -> T:
    """What the attempt returns, repeated while the server cannot be reached, for so long. `each_within`: the
    attempt is only a look, and is broken off then; else it may be work, and takes what it takes."""
    clock = asyncio.get_running_loop().time
    until = clock() + wait_seconds
    told = ""
    waits = delays(0.5, 2)
    while True:
        try:
            async with asyncio.timeout_at(until if each_within else None):
                return await attempt()
        except Exception as error:  # noqa: BLE001 — sorted out, and raised again unless the server is away
            reason = _worth_waiting(server, error)
        delay = next(waits)
        if clock() + delay > until:
            raise CommandError(exits.UNREACHABLE, f"{server} cannot be reached: {reason}")
        if reason != told:
            say(f"waiting up to {until - clock():.0f} s for {server}: {reason}")
            told = reason
        await asyncio.sleep(delay)


def refusal(server: str, error: BaseException) -> CommandError | None:
    """An answer that no waiting changes: who one is, or which database."""
    code = str(getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or "")
    kind = type(error).__name__
    if code.startswith(_REFUSED) or "Authentication" in kind or "NotAllowed" in kind:
        return CommandError(exits.UNREACHABLE, f"{server} refuses: {_in_words(error)}")
    return None


def unreachable(error: BaseException) -> CommandError | None:
    """What is to be said of an error by which a server is away, or refuses, wherever it has come up."""
    if refused := refusal("Postgres", error):
        return refused
    of_postgres = type(error).__module__.startswith("asyncpg") and is_transient(error)
    if of_postgres or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        server = "Postgres" if of_postgres else "a server"
        return CommandError(exits.UNREACHABLE, f"{server} cannot be reached: {_in_words(error)}")
    return None


def _worth_waiting(server: str, error: Exception) -> str:
    """Why the server does not answer; raises what no waiting mends."""
    if isinstance(error, ValueError):
        raise SettingsError(f"{'AMQP' if server == 'RabbitMQ' else 'DATABASE'}_URL: {error}") from error
    if refused := refusal(server, error):
        raise refused from error
    if is_transient(error) or type(error).__module__.startswith("aiormq"):
        return _in_words(error)
    raise error


def _in_words(error: BaseException) -> str:
    return str(error) if isinstance(error, OSError) and error.errno else describe(error)
