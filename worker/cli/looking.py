"""What the commands have in common that look something up: the database, and which request an id means."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from rich.table import Table

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.lookup_database import LookupDatabase, open_database
from worker.cli.needed_settings import settings_for
from worker.cli.options import encodable
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.tables import coloured, grid, people, plain
from worker.monitoring import log
from worker.operations import search
from worker.operations.record import Record, find
from worker.settings import Settings


@asynccontextmanager
async def looked_up(options: argparse.Namespace) -> AsyncIterator[tuple[LookupDatabase, Settings]]:
    """Open the database of the settings."""
    settings = settings_for(database=True)
    log.configure(settings.model_copy(update={"log_level": "error"}))
    database = await open_database(settings, options.wait)
    try:
        yield database, settings
    finally:
        await database.close()


def id_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", type=encodable,
        help="a request's id, its session's id or its correlation id; the first "
        f"{search.SHORTEST} characters or more of one are enough",
    )  # fmt: skip


async def the_one(database: LookupDatabase, options: argparse.Namespace) -> UUID:
    """Find the one request that has the id; where several do, list them and raise."""
    matches = await database.look(lambda: search.by_id(database, options.id), options.wait)
    if not matches:
        raise await _unknown(database, options)
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


async def the_record(database: LookupDatabase, options: argparse.Namespace) -> Record:
    """Read what is on record about the one request that has the id, or raise."""
    whole = whole_id(options.id)
    record = await database.look(lambda: find(database, whole), options.wait) if whole else None
    if record is None:
        request_id = await the_one(database, options)
        record = await database.look(lambda: find(database, request_id), options.wait)
    if record is None:
        raise await _unknown(database, options)
    return record


def whole_id(text: str) -> UUID | None:
    """Read a whole request id, in any spelling of a UUID; None for anything else."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def _unknown(database: LookupDatabase, options: argparse.Namespace) -> CommandError:
    letters = await database.look(lambda: search.dead_letters(database, options.id), options.wait)
    shown = f" (`session-worker dead show {letters[0]}`)" if letters else ""
    return CommandError(
        exits.FAILED,
        f"no request {options.id} is on record: it has not been accepted yet, or was deleted as old; dead "
        f"letters with this id: {len(letters)}{shown}",
    )


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
