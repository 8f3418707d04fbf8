"""`session-worker status`."""

import argparse
import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from uuid import UUID

from rich.live import Live

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.looking import id_argument, looked_up, the_one, the_record, whole_id
from worker.cli.lookup_database import LookupDatabase
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import render
from worker.cli.tables import people
from worker.operations.record import Record, find
from worker.settings import Settings

EXAMPLES = """\
  session-worker status 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11
  session-worker status 6f9f1c0e                  as much of it as you have
  session-worker status ts_261125_1ohdj7az0tfas   by its session
  session-worker status order-17                  by its correlation id
  session-worker status 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11 --watch
      until it is completed or failed
  session-worker status 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11 --json

With --watch the exit code is 0 for completed, 1 for failed, 4 when --timeout
was over first. Where several requests match, they are listed, and it is 2.
"""
_LOOK_SECONDS = 0.5
_FINISHED = ("completed", "failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    id_argument(parser)
    parser.add_argument(
        "--watch", action="store_true", help="watch it until it is finished, also if it has yet to arrive"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="watch no longer than this")
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_status(options))


async def _status(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        whole = whole_id(options.id)
        if options.watch:
            return await _watch(database, settings, whole or await the_one(database, options), options)
        record = await the_record(database, options)
        if options.json:
            emit(record)
        else:
            people().print(render(record, settings.trace_url))
        return exits.OK


async def _look_up(database: LookupDatabase, request_id: UUID, options: argparse.Namespace) -> Record | None:
    return await database.look(lambda: find(database, request_id), options.wait)


async def _watch(
    database: LookupDatabase, settings: Settings, request_id: UUID, options: argparse.Namespace
) -> int:
    last: Record | None = None
    try:
        with _screen(settings.trace_url, as_json=options.json) as show:
            async with asyncio.timeout(options.timeout):
                async for record in _versions(database, request_id, options):
                    show(record)
                    last = record
    except TimeoutError:
        state = f"still {last['request']['status']}" if last else "still not on record"
        raise CommandError(exits.TIMED_OUT, f"{state} after {options.timeout:g} s: {request_id}") from None
    return exits.OK if last and last["request"]["status"] == "completed" else exits.FAILED


async def _versions(
    database: LookupDatabase, request_id: UUID, options: argparse.Namespace
) -> AsyncGenerator[Record, None]:
    """Yield the record each time that it has changed, until the request is finished."""
    last: Record | None = None
    while last is None or last["request"]["status"] not in _FINISHED:
        record = await _look_up(database, request_id, options)
        if record is not None and record != last:
            yield record
        last = record
        if record is None or record["response"] is None:
            await asyncio.sleep(_LOOK_SECONDS)


@contextmanager
def _screen(trace_url: str, *, as_json: bool) -> Generator[Callable[[Record], None], None, None]:
    """Yield what shows a version of a record: as a line of JSON, or in the place of the version before."""
    if as_json:
        yield emit
        return
    with Live(console=people(), auto_refresh=False) as live:
        yield lambda record: live.update(render(record, trace_url), refresh=True)
    if not live.console.is_terminal:
        live.console.print()  # it leaves the last line open there
