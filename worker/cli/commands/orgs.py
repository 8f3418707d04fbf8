"""`session-worker orgs`."""

import argparse
from datetime import UTC, datetime, timedelta

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.filter_options import moment_or_time_ago
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, json_option, positive_up_to, wait_option
from worker.cli.output import emit
from worker.cli.tables import grid, people, plain, took
from worker.operations import overview
from worker.operations.filters import MOST_LISTED
from worker.operations.listing import LOOKED_AT
from worker.operations.overview import Org

EXAMPLES = f"""\
  session-worker orgs
  session-worker orgs --since 10m --limit 5
  session-worker orgs --csv

What waits, runs, is completed and failed is of all that is on record. The
rest is of what came since then, of the newest {LOOKED_AT:,} at most; who had the
most of these comes first.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        type=moment_or_time_ago,
        metavar="TIME",
        help="a time, or how long ago (default 1h)",
    )
    parser.add_argument(
        "--limit", type=positive_up_to(MOST_LISTED), default=20, metavar="N", help="so many (default 20)"
    )
    json_option(parser)
    csv_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_orgs(options))


async def _orgs(options: argparse.Namespace) -> int:
    since = options.since or datetime.now(UTC) - timedelta(hours=1)
    async with looked_up(options) as (database, _):
        found = await database.look(lambda: overview.orgs(database, since, options.limit), options.wait)
    if options.json:
        for each in found:
            emit(each._asdict())
    elif options.csv:
        print_csv(Org._fields, found)
    elif found:
        people().print(table_of(found))
    else:
        print("no request is on record")
    return exits.OK


def table_of(found: list[Org]) -> Table:
    table = grid(
        "", "org", "waiting", "running", "completed", "failed", "new", "failed", "p50", "p99", cut=["org"]
    )
    for each in found:
        bound = "+" if each.waiting >= LOOKED_AT else ""
        table.add_row(
            plain(each.org or "(none)"), f"{each.waiting}{bound}", str(each.running), str(each.completed),
            str(each.failed), str(each.recent), str(each.recent_failed), took(each.p50_seconds),
            took(each.p99_seconds),
        )  # fmt: skip
    return table
