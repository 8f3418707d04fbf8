"""`session-worker up`."""

import argparse
import asyncio
import os
import shlex
import shutil
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr

from worker.app import run_worker
from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.local_settings import settings_on, throwaway_key
from worker.cli.output import say
from worker.cli.own_role import as_worker
from worker.cli.reaching import reach
from worker.cli.servers import broker_for
from worker.console.access import Role
from worker.console.tokens import new_token
from worker.monitoring import log
from worker.monitoring.readiness import Readiness
from worker.postgres import migrate
from worker.process import own_task, signals
from worker.rabbitmq import topology
from worker.secret_files import with_secrets_read
from worker.settings import Settings, secret_variables
from worker.stack import Kept, Stack, kept_in, local_stack
from worker.tls import context_from

EXAMPLES = """\
  session-worker up     until Ctrl-C; it says how to use it from elsewhere
  session-worker up --data work
                        the same, and what is in queues and tables is there
                        again the next time; `. work/env` for other terminals
  DATABASE_URL=postgresql://… session-worker up
                        with a Postgres of yours; it stays

Its worker has no handler. So on servers of yours it takes only tables that
`up` has made, and no queue that is in use.
"""
_SERVERS = ("AMQP_URL", "DATABASE_URL")
_WAIT_SECONDS = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", type=Path,
        help="keep the data of the servers that it starts there, and write DIR/env, which a shell reads; "
        "they are programs on this machine then, not containers",
    )  # fmt: skip


def execute(options: argparse.Namespace) -> int:
    if options.data and all(map(os.environ.get, _SERVERS)):
        raise CommandError(
            exits.USAGE, f"--data: {_listed(_SERVERS)} name servers of yours, which keep their data"
        )
    with kept_in(options.data) if options.data else nullcontext() as kept:
        event_loop.run(event_loop.until_signalled(_up(kept)))
    return exits.OK


async def _up(kept: Kept | None) -> None:
    environ = with_secrets_read(os.environ, secret_variables())
    async with local_stack(say, environ=environ, kept=kept) as stack:
        settings = settings_on(stack, environ, **_keys(kept, environ))
        with (
            TemporaryDirectory(prefix="session-worker-") as folder,
            env_file(kept, stack, settings, environ) as file,
        ):
            await _run(stack, environ, *with_console(stack, settings, Path(folder)), file)


def _keys(kept: Kept | None, environ: Mapping[str, str]) -> dict[str, object]:
    """Make a key to seal with, where the environment has none: what was sealed goes away with the database,
    or is kept beside its key.
    """
    if environ.get("WORKER_SEAL_KEYS") or environ.get("DATABASE_URL"):
        return {}
    return {"seal_keys": kept.secret("seal.keys", throwaway_key) if kept else throwaway_key()}


@contextmanager
def env_file(
    kept: Kept | None, stack: Stack, settings: Settings, environ: Mapping[str, str]
) -> Iterator[Path | None]:
    """Write the variables for other terminals into the folder that is kept, while the servers run."""
    if kept is None:
        yield None
        return
    file = kept.folder / "env"
    file.touch(mode=0o600)
    lines = [
        f"export {name}={shlex.quote(value)}\n" for name, value in exported(stack, settings, environ).items()
    ]
    file.write_text("".join(lines), "utf-8")
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def with_console(stack: Stack, settings: Settings, folder: Path) -> tuple[Settings, str | None]:
    """Have the worker serve the console; return the token that was made for it, if the environment names no
    file of tokens.
    """
    told = SecretStr(stack.management_url or "")
    changes: dict[str, object] = {"console": True, "management_url": settings.management_url or told}
    if settings.console_tokens_file:
        return settings.model_copy(update=changes), None
    token, line = new_token("you", Role.ADMIN, payloads=True)
    file = folder / "tokens"
    file.write_text(line.text, "utf-8")
    return settings.model_copy(update=changes | {"console_tokens_file": str(file)}), token


async def _run(
    stack: Stack, environ: Mapping[str, str], settings: Settings, token: str | None, file: Path | None
) -> None:
    log.configure(settings)
    await _make_or_refuse(settings, own_broker=not environ.get("AMQP_URL"))
    settings = await as_worker(stack, settings, environ)
    stop = signals.stop_on_signals()
    started: asyncio.Future[tuple[int, Readiness]] = asyncio.get_running_loop().create_future()
    telling = asyncio.create_task(_tell(stack, environ, settings, started, token, file))
    try:
        await run_worker(settings, stop, lambda port, readiness: started.set_result((port, readiness)))
    finally:
        await own_task.end([telling])
        say("stopping the servers …")


async def _make_or_refuse(settings: Settings, *, own_broker: bool) -> None:
    """Make the tables; refuse tables or queues of others, whose requests this worker, which has no handler,
    would answer.
    """
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    made_before = (await migrate.inspect(url, tls, settings.prefix)).applied
    if not own_broker and not made_before:
        connection = await reach("RabbitMQ", broker_for(settings).connect, _WAIT_SECONDS)
        try:
            if await topology.in_use(connection, topology.names_for(settings.prefix)):
                raise CommandError(
                    exits.FAILED,
                    f"the queue of prefix {settings.prefix} has messages or a worker already: `up` "
                    "would answer requests that are meant for another. Set WORKER_PREFIX to another name",
                )
        finally:
            await connection.close()
    await migrate.migrate(url, tls, settings.prefix, maker="up")


async def _tell(
    stack: Stack,
    environ: Mapping[str, str],
    settings: Settings,
    started: "asyncio.Future[tuple[int, Readiness]]",
    token: str | None,
    file: Path | None,
) -> None:
    port, readiness = await started
    await readiness.until_up()
    say(how_to_use(stack, settings, port, environ, token, file))


def exported(stack: Stack, settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that another terminal needs, beside those that this one was given."""
    made = {"AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.database_url}
    if settings.seal_keys:  # another worker beside this one needs the same
        made["WORKER_SEAL_KEYS"] = settings.seal_keys.get_secret_value()
    found = {name: value for name, value in made.items() if not environ.get(name)}
    if settings.prefix != "sessions":
        found["WORKER_PREFIX"] = settings.prefix
    return found


def how_to_use(
    stack: Stack,
    settings: Settings,
    port: int,
    environ: Mapping[str, str],
    token: str | None = None,
    file: Path | None = None,
) -> str:
    """Say how to reach everything. A secret that was made here is shown, one that was given is only named."""
    given = [name for name in (*_SERVERS, "WORKER_SEAL_KEYS") if environ.get(name)]
    variables = exported(stack, settings, environ)
    told = [f"  export {name}={shlex.quote(value)}" for name, value in variables.items()]
    if file is not None:
        told = [f"  . {shlex.quote(str(file))}"]
    as_here = f", with {_listed(given)} as here" if given else ""
    script = str(Path(sysconfig.get_path("scripts"), "session-worker"))
    command = "session-worker" if shutil.which("session-worker") else shlex.quote(script)
    places = [
        ("AMQP", "the one that AMQP_URL names" if "AMQP_URL" in given else stack.amqp_url),
        ("database", "the one that DATABASE_URL names" if "DATABASE_URL" in given else stack.database_url),
        ("RabbitMQ's page", stack.management_url),
        ("console", f"http://{settings.http_host}:{port}/"),
        ("its token", token or "one of yours: WORKER_CONSOLE_TOKENS_FILE is set"),
        ("health", f"http://{settings.http_host}:{port}/readyz"),
        ("metrics", f"http://{settings.http_host}:{port}/metrics"),
    ]
    return "\n".join(
        [
            "",
            "A worker is ready.",
            "",
            *(f"  {name:<16} {place}" for name, place in places if place),
            "",
            f"In another terminal{as_here}:",
            "",
            *told,
            f'  {command} request --name "Support chat"',
            f"  {command} responses --follow",
            "",
            "Ctrl-C stops the worker, then the servers that were started for it.",
            "",
        ]
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
