"""`session-worker history`."""

import argparse
from datetime import UTC, datetime

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv, print_rows
from worker.cli.exits import CommandError
from worker.cli.filter_options import moment_or_time_ago
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, encodable, json_option, wait_option
from worker.cli.output import emit
from worker.operations.history import changes

EXAMPLES = """\
  session-worker history export --org org-7 --since 2026-11-24 \\
      --until 2026-11-25 --csv > changes.csv
  session-worker history export --since 1h --json

Each change of a request is a line: when, from which status to which, why, and
who made it, where an operator did. A request that was deleted as old has none.
"""
COLUMNS = (
    "at", "request_id", "org_id", "user_id", "attempt", "from", "to", "code", "reason", "actor", "worker",
    "build", "session_id",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("export",))
    parser.add_argument(
        "--org", type=encodable, metavar="ORG", help="of this organisation's requests (default: of all)"
    )
    parser.add_argument(
        "--since", type=moment_or_time_ago, required=True, metavar="TIME",
        help="changes from then on: a time, or 1h, 2d",
    )  # fmt: skip
    parser.add_argument(
        "--until", type=moment_or_time_ago, metavar="TIME", help="changes before then (default: now)"
    )
    csv_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.csv == options.json:
        raise CommandError(exits.USAGE, "say --csv or --json: which of them is wanted")
    return event_loop.run(_export(options))


async def _export(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        if options.csv:
            print_csv(COLUMNS, ())
        until = options.until or datetime.now(UTC)
        async for part in changes(database, options.org, options.since, until):
            if options.csv:
                print_rows(part)
                continue
            for change in part:
                emit(dict(zip(COLUMNS, change, strict=True)))
    return exits.OK
