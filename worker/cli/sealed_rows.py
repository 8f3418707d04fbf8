"""Counts for `keys report` and `keys check` which rows need which key, and shows people how far that is."""

import argparse
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple

from worker.cli.long_works import progress
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.messages.sealing import parse_seal_keys
from worker.operations import counts, keys, retiring
from worker.operations.keys import KeysOfWorker, Place, SealedRows
from worker.operations.retiring import Retired

READS_ALL = """\
No index says which key a row needs: all requests and sessions are read, some
at a time, which takes minutes where there are ten millions. It holds nobody
up. What comes or ends meanwhile may be counted or not. --quick counts
unfinished requests and dead letters alone.
"""
NAMES: dict[Place, str] = {
    "unfinished": "unfinished requests",
    "finished": "finished requests",
    "sessions": "sessions",
    "custody": "dead letters",
    "repeats": "repeats of requests",
}


class Counted(NamedTuple):
    """Which rows need which key, who has which (this shell, and the live workers that say so), and which ones
    were retired.
    """

    rows: list[SealedRows]
    here: tuple[str, ...]
    workers: list[KeysOfWorker]
    retired: list[Retired]


def count_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="only what is found without reading everything")
    json_option(parser)
    wait_option(parser, 10)


async def counted(options: argparse.Namespace) -> Counted:
    async with looked_up(options) as (database, settings):
        workers = await database.look(
            lambda: keys.keys_of_workers(database, settings.lease_seconds), options.wait
        )
        retired = await database.look(lambda: retiring.retired(database), options.wait)
        kept = await database.look(lambda: counts.kept(database), options.wait)
        total = sum(each.number for each in kept)
        with looked_at(total) as report:
            rows = await keys.rows_by_key(database, keys.QUICK if options.quick else keys.PLACES, report)
        return Counted(rows, parse_seal_keys(settings.seal_keys.get_secret_value()).names, workers, retired)


@contextmanager
def looked_at(total: int | None = None) -> Generator[Callable[[Place, int], None], None, None]:
    """Yield what shows how many rows were looked at, of so many requests."""
    with progress() as tell:

        def report(place: Place, looked: int) -> None:
            of_all = f" of {total:,}" if place == "finished" and total is not None else ""
            what = "requests" if place == "finished" else NAMES[place]
            tell(f"{what}: {looked:,}{of_all} looked at")

        yield report
