"""`session-worker console`: serves the console; its subcommand makes a token."""

import argparse
from contextlib import AsyncExitStack

import structlog

from worker.cli import event_loop, exits
from worker.cli.commands.console import token
from worker.cli.exits import MEANINGS
from worker.console.app import make_app
from worker.console.health import Health
from worker.console.server import serve
from worker.monitoring import log
from worker.monitoring.readiness import Readiness
from worker.process import signals
from worker.settings import Settings, read_settings

SUBCOMMANDS = {"token": "make a token: it is shown once; its line goes into the tokens file"}

EXAMPLES = """\
  session-worker console token --name anna --role operator >> anna.txt
  WORKER_CONSOLE_TOKENS_FILE=tokens session-worker console
      at WORKER_HTTP_HOST and WORKER_HTTP_PORT, until SIGTERM or Ctrl-C
  WORKER_CONSOLE=true WORKER_CONSOLE_TOKENS_FILE=tokens session-worker run
      a worker that serves the console too, where its health is

It stays up while Postgres or RabbitMQ is away, and says which.
"""
_log = structlog.get_logger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND")
    summary = SUBCOMMANDS["token"]
    sub = subcommands.add_parser(
        "token", help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{token.EXAMPLES}\n{MEANINGS}",
    )  # fmt: skip
    sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    token.arguments(sub)


def execute(options: argparse.Namespace) -> int:
    if options.subcommand == "token":
        return token.execute(options)
    settings = read_settings()
    log.configure(settings)
    event_loop.run(_serve(settings))
    return exits.OK


async def _serve(settings: Settings) -> None:
    stop = signals.stop_on_signals()
    async with AsyncExitStack() as opened:
        app = await opened.enter_async_context(make_app(settings, Health(Readiness(()), None)))
        port = await opened.enter_async_context(serve(app, settings.http_host, settings.http_port))
        _log.info("console.started", host=settings.http_host, http_port=port, prefix=settings.prefix)
        await stop.wait()
    _log.info("console.stopped")
