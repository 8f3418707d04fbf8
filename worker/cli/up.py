"""`session-worker up`."""

import argparse
import asyncio
import base64
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping

from worker import log, migrate, signals
from worker.app import run_worker
from worker.cli import exits, running
from worker.cli.output import say
from worker.readiness import Readiness
from worker.settings import Settings, read_settings
from worker.stack import Stack, local_stack
from worker.tls import context_from

EXAMPLES = """\
  session-worker up     until Ctrl-C; it says how to use it from elsewhere
  DATABASE_URL=postgresql://… session-worker up
                        with a Postgres of yours; it stays
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none: what is there to choose stands in the environment."""


def execute(options: argparse.Namespace) -> int:  # noqa: ARG001 — every command is called so
    running.run(running.until_signalled(_up()))
    return exits.OK


async def _up() -> None:
    async with local_stack(say, environ=os.environ) as stack:
        # A database that goes away with the stack takes what was sealed with it.
        kept = os.environ.get("WORKER_SEAL_KEYS") or os.environ.get("DATABASE_URL")
        settings = settings_on(stack, os.environ, **({} if kept else {"seal_keys": passing_key()}))
        log.configure(settings)
        await migrate.migrate(settings.database_url.get_secret_value(), context_from(settings))
        stop = signals.stop_on_signals()
        started: asyncio.Future[tuple[int, Readiness]] = asyncio.get_running_loop().create_future()
        telling = asyncio.create_task(_tell(stack, settings, started))
        try:
            await run_worker(settings, stop, lambda port, readiness: started.set_result((port, readiness)))
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            say("stopping the servers …")


def settings_on(stack: Stack, environ: Mapping[str, str], **changes: object) -> Settings:
    """A worker's settings on these servers. Unless told otherwise, its port is any free one of this machine
    alone."""
    local: dict[str, object] = {"amqp_url": stack.amqp_url, "database_url": stack.database_url, **changes}
    if stack.kind != "environment":  # servers of ours speak no TLS
        local |= {"tls_ca_file": "", "tls_cert_file": "", "tls_key_file": ""}
    local |= {
        name: value
        for name, value in (("http_host", "127.0.0.1"), ("http_port", 0))
        if f"WORKER_{name.upper()}" not in environ
    }
    return read_settings(**local)


def passing_key() -> str:
    """A key for secrets that nobody has to read later."""
    return f"passing:{base64.b64encode(secrets.token_bytes(32)).decode()}"


async def _tell(stack: Stack, settings: Settings, started: "asyncio.Future[tuple[int, Readiness]]") -> None:
    port, readiness = await started
    await readiness.until_up()
    names = {"AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.database_url}
    if settings.prefix != "sessions":
        names["WORKER_PREFIX"] = settings.prefix
    if settings.seal_keys:  # another worker beside this one needs the same
        names["WORKER_SEAL_KEYS"] = settings.seal_keys.get_secret_value()
    command = (
        "session-worker" if shutil.which("session-worker") else f"{shlex.quote(sys.executable)} -m worker"
    )
    exports = "\n".join(f"  export {name}={shlex.quote(value)}" for name, value in names.items())
    management = f"\n  RabbitMQ's page  {stack.management_url}" if stack.management_url else ""
    say(f"""
A worker is ready.

  AMQP             {stack.amqp_url}
  database         {stack.database_url}{management}
  health           http://{settings.http_host}:{port}/readyz
  metrics          http://{settings.http_host}:{port}/metrics

In another terminal:

{exports}
  {command} request --name "Support chat"
  {command} responses --follow

Ctrl-C stops the worker, then the servers that were started for it.
""")
