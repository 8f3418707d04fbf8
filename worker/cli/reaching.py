"""Waits for servers that may take a while to answer, and says in words why one does not."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.backoff import delays
from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.errors import SettingsError
from worker.postgres.database import describe, is_transient
from worker.tls_words import tls_in_words

T = TypeVar("T")
_REFUSED = ("28", "3D", "42501")  # classes and codes of SQLSTATE: who one is, which database, which rights


async def reach(
    server: str, attempt: Callable[[], Awaitable[T]], wait_seconds: float, *, each_within: bool = False
) -> T:
    """Return what the attempt returns; repeat it for `wait_seconds` while the server cannot be reached.

    `each_within`: the attempt only looks something up, and is broken off when the time is over. Any other
    attempt may be at work, and takes as long as it takes.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + wait_seconds
    said = ""
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
        if reason != said:
            say(f"waiting up to {until - clock():.0f} s for {server}: {reason}")
            said = reason
        await asyncio.sleep(delay)


def refusal(server: str, error: BaseException) -> CommandError | None:
    """The error to end with if the server refuses this user or database, which no waiting changes."""
    code = str(getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or "")
    kind = type(error).__name__
    if code.startswith(_REFUSED) or "Authentication" in kind or "NotAllowed" in kind:
        return CommandError(exits.UNREACHABLE, f"{server} refuses: {_in_words(error)}")
    return None


def unreachable(error: BaseException) -> CommandError | None:
    """The error to end with if this one, raised anywhere, means that a server is away or refuses."""
    if refused := refusal("Postgres", error):
        return refused
    of_postgres = type(error).__module__.startswith("asyncpg") and is_transient(error)
    if of_postgres or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        server = "Postgres" if of_postgres else "a server"
        return CommandError(exits.UNREACHABLE, f"{server} cannot be reached: {_in_words(error)}")
    return None


def _worth_waiting(server: str, error: Exception) -> str:
    """Say why the server does not answer; raise an error that waiting does not mend."""
    if isinstance(error, ValueError):
        raise SettingsError(f"{'AMQP' if server == 'RabbitMQ' else 'DATABASE'}_URL: {error}") from error
    if refused := refusal(server, error):
        raise refused from error
    if is_transient(error) or type(error).__module__.startswith("aiormq"):
        return _in_words(error)
    raise error


def _in_words(error: BaseException) -> str:
    if tls_in_words(error) is None and isinstance(error, OSError) and error.errno:
        return str(error)
    return describe(error)
