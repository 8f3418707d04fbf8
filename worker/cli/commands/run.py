"""`session-worker run`."""

import argparse
import asyncio
import gc
import os

from worker.app import run_worker
from worker.cli import event_loop, exits
from worker.cli.options import positive
from worker.cli.reaching import refusal
from worker.errors import LifespanFailed
from worker.monitoring import log
from worker.process import own_task, signals, stop_limit
from worker.process.supervisor import supervise
from worker.settings import Settings, read_settings

EXAMPLES = """\
  session-worker run                  one worker
  session-worker run --processes 4    four, restarted when they die; their
                                      health ports are 8080 to 8083
  WORKER_HTTP_PORT=0 WORKER_LOG_FORMAT=json session-worker run

SIGTERM or Ctrl-C: what was begun is finished, then it ends. A second one ends
it at once; nothing is lost.
"""
_LOOK_SECONDS = 1.0
_CLOSING_SECONDS = 10.0  # after the grace; half of it is always enough


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes", type=positive, default=1, metavar="N", help="run N workers (default 1)"
    )
    parser.add_argument("--child-of", type=int, default=0, help=argparse.SUPPRESS)


def execute(options: argparse.Namespace) -> int:
    settings = read_settings()
    log.configure(settings)
    if options.processes > 1:
        return event_loop.run(supervise(options.processes, settings.http_port))
    _look_at_the_program_no_more()
    event_loop.run(_run(settings, options.child_of))
    return exits.OK


def _look_at_the_program_no_more() -> None:
    """Take what is here for good out of the garbage collector's sight. Its largest look, which comes while a
    flood is held, took 100 ms and more, and all of it at the program itself.
    """
    gc.collect()
    gc.freeze()


async def _run(settings: Settings, parent: int) -> None:
    stop = signals.stop_on_signals()
    watching = [asyncio.create_task(stop_limit.limit(stop, settings.grace_seconds + _CLOSING_SECONDS))]
    if parent:
        watching.append(asyncio.create_task(_stop_with(parent, stop)))
    try:
        await run_worker(settings, stop)
    except LifespanFailed:
        raise  # whichever server it speaks of
    except Exception as error:
        if refused := refusal("Postgres", error):
            raise refused from error
        raise
    finally:
        await own_task.end(watching)


async def _stop_with(parent: int, stop: asyncio.Event) -> None:
    """Stop the worker when its supervisor is gone: nobody else would."""
    while os.getppid() == parent:  # noqa: ASYNC110 — the kernel tells a child nothing of its parent's end
        await asyncio.sleep(_LOOK_SECONDS)
    stop.set()
