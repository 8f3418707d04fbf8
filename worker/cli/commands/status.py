"""`session-worker status`."""

import argparse
import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from uuid import UUID

from rich.live import Live
from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.lookup_database import LookupDatabase, open_database
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, positive, wait_option
from worker.cli.output import emit, say
from worker.cli.record_tables import at, render
from worker.cli.tables import coloured, grid, people, plain
from worker.monitoring import log
from worker.operations import search
from worker.operations.record import Record, find

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
Correlation ids have no index: the newest requests are looked through.
"""
_LOOK_SECONDS = 0.5
_FINISHED = ("completed", "failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID",
        help="a request's id, its session's id or its correlation id; of the first two, the first "
        f"{search.SHORTEST} characters or more are enough",
    )  # fmt: skip
    parser.add_argument(
        "--watch", action="store_true", help="watch it until it is finished, also if it has yet to arrive"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="watch no longer than this")
    parser.add_argument(
        "--look-through", type=positive, default=500_000, metavar="N",
        help="how many of the newest requests are looked through for a correlation id, or for the session "
        "id of a request that has none (default 500000)",
    )  # fmt: skip
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_status(options))


async def _status(options: argparse.Namespace) -> int:
    settings = settings_for(database=True)
    log.configure(settings.model_copy(update={"log_level": "error"}))
    database = await open_database(settings, options.wait)
    try:
        whole = _uuid(options.id)
        if options.watch:
            return await _watch(database, whole or await _the_one(database, options), options)
        record = await _look_up(database, whole, options) if whole else None
        if record is None:
            record = await _look_up(database, await _the_one(database, options), options)
        if record is None:
            raise _unknown(options.id)
        if options.json:
            emit(record)
        else:
            people().print(render(record))
        return exits.OK
    finally:
        await database.close()


async def _look_up(database: LookupDatabase, request_id: UUID, options: argparse.Namespace) -> Record | None:
    return await database.look(lambda: find(database, request_id), options.wait)


async def _the_one(database: LookupDatabase, options: argparse.Namespace) -> UUID:
    """Find the one request that has the id; where several do, list them and raise."""
    matches = await database.look(lambda: search.by_id(database, options.id), options.wait)
    if not matches:
        say(f"no request's id: looking through the newest {options.look_through:,} for the correlation id")
        through = await database.look(
            lambda: search.look_through(database, options.id, options.look_through), options.wait
        )
        if not through.matches:
            raise _unknown(options.id, through)
        matches = through.matches
    if len(matches) == 1:
        if matches[0].status is None:
            raise CommandError(
                exits.FAILED,
                f"the session {matches[0].session_id} is there, but its request {matches[0].request_id} "
                "was deleted as old",
            )
        return matches[0].request_id
    _list(matches[: search.MOST_FOUND], as_json=options.json)
    some = len(matches) if len(matches) <= search.MOST_FOUND else f"more than {search.MOST_FOUND}"
    raise CommandError(exits.USAGE, f"{some} requests match {options.id}: give the id of one of them")


def _list(matches: list[search.Match], *, as_json: bool) -> None:
    if as_json:
        for each in matches:
            emit(each._asdict())
    else:
        people().print(table_of(matches))


def table_of(matches: list[search.Match]) -> Table:
    table = grid("", "request", "status", "received", "org", cut=["org"])
    for each in matches:
        table.add_row(
            str(each.request_id), coloured(each.status or "deleted"), at(each.received_at)[:19],
            plain(each.org_id or ""),
        )  # fmt: skip
    return table


def _uuid(text: str) -> UUID | None:
    """Read a whole request id, in any spelling of a UUID; None for anything else."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def _watch(database: LookupDatabase, request_id: UUID, options: argparse.Namespace) -> int:
    last: Record | None = None
    try:
        with _screen(as_json=options.json) as show:
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
def _screen(*, as_json: bool) -> Generator[Callable[[Record], None], None, None]:
    """Yield what shows a version of a record: as a line of JSON, or in the place of the version before."""
    if as_json:
        yield emit
        return
    with Live(console=people(), auto_refresh=False) as live:
        yield lambda record: live.update(render(record), refresh=True)
    if not live.console.is_terminal:
        live.console.print()  # it leaves the last line open there


def _unknown(text: str, through: search.Through | None = None) -> CommandError:
    if through is None or through.since is None or through.all_of_them:
        looked = ""
    else:
        looked = (
            f" Of correlation ids, and of session ids of requests that have no session, only those of "
            f"{through.looked:,} requests since {at(through.since)[:16]} were looked through: "
            "--look-through N looks farther back."
        )
    return CommandError(
        exits.FAILED,
        f"no request {text} is on record: it has not been accepted yet, or was deleted as old.{looked}",
    )
