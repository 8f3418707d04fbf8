"""`session-worker audit`."""

import argparse
import json

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.filter_options import moment_or_time_ago
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, encodable, json_option, positive_up_to, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.tables import grid, people, plain
from worker.operations import audit
from worker.operations.filters import MOST_LISTED

EXAMPLES = """\
  session-worker audit list
  session-worker audit list --org org-7 --since 1d
  session-worker audit list --by ann@ops --csv > audit.csv

Each change that an operator made is a row, written with the change itself:
pauses, limits, and what was done to requests. WORKER_AUDIT_DAYS says how long
it is kept. Nobody can change a row, or delete one before its time. What has
many steps, as a replay, has a row for each, and is one line here, with the sum.
"""
_LAST_NUMBER = (1 << 63) - 1
_LONGEST = 100  # characters of a value


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list",))
    parser.add_argument(
        "--org", type=encodable, metavar="ORG", help="what was done to this organisation alone"
    )
    parser.add_argument("--by", type=encodable, metavar="WHO", help="what this operator did")
    parser.add_argument(
        "--since", type=moment_or_time_ago, metavar="TIME", help="then or later: a time, or 1h, 2d"
    )
    parser.add_argument("--until", type=moment_or_time_ago, metavar="TIME", help="before")
    parser.add_argument(
        "--limit", type=positive_up_to(MOST_LISTED), default=50, metavar="N", help="the newest N (default 50)"
    )
    parser.add_argument(
        "--after", type=positive_up_to(_LAST_NUMBER), metavar="NUMBER", help="go on after this one"
    )
    csv_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_list(options))


async def _list(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        found = await database.look(
            lambda: audit.entries(
                database, org=options.org, who=options.by, since=options.since, until=options.until,
                before=options.after, most=options.limit,
            ),
            options.wait,
        )  # fmt: skip
    if options.csv:
        rows = [(*entry[:6], json.dumps(entry.about), *entry[7:]) for entry in found]
        print_csv(audit.Entry._fields, rows)
    elif options.json:
        for entry in found:
            emit(entry._asdict())
    elif found:
        people().print(table_of(found))
        if len(found) == options.limit:
            people().print(f"--after {min(entry.number for entry in found)} for more")
    else:
        print("no operator has changed anything yet, as far as this is kept")
    return exits.OK


def table_of(found: list[audit.Entry]) -> Table:
    table = grid("", "at", "who", "action", "about, and why", wrap=["action", "about, and why"], cut=["who"])
    for entry in found:
        about = _about(entry) + (f": {entry.reason}" if entry.reason else "")
        table.add_row(at(entry.at)[:16], plain(entry.who), plain(entry.action), plain(about))
    return table


def _about(entry: audit.Entry) -> str:
    """Say what a change was about. The whole of it is in --json."""
    parts = {name: value for name, value in entry.about.items() if value not in ("", {})}
    if parts.get("scope") == "org":
        parts = {name: value for name, value in parts.items() if name not in ("scope", "name")}
    if chosen := parts.pop("chosen_by", None):
        parts.pop("org", None)
        parts |= {"requests": len(chosen["ids"])} if "ids" in chosen else chosen
    if entry.touched != 1:
        parts["touched"] = f"{entry.touched:,}"
    if entry.steps != 1:
        parts["steps"] = f"{entry.steps:,}"
    return ", ".join(f"{name} {str(value)[:_LONGEST]}" for name, value in parts.items())
