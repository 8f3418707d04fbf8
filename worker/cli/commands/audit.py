"""`session-worker audit`."""

import argparse
import json

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.filter_options import moment_or_time_ago
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, json_option, positive, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.tables import grid, people, plain
from worker.operations import audit

EXAMPLES = """\
  session-worker audit list
  session-worker audit list --org org-7 --since 1d
  session-worker audit list --by ann@ops --csv > audit.csv

Each change that an operator made is a row, written with the change itself:
pauses, limits, and what was done to requests. WORKER_AUDIT_DAYS says how long
it is kept. Nobody can change a row, or delete one before its time.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list",))
    parser.add_argument("--org", metavar="ORG", help="what was done to this organisation alone")
    parser.add_argument("--by", metavar="WHO", help="what this operator did")
    parser.add_argument(
        "--since", type=moment_or_time_ago, metavar="TIME", help="then or later: a time, or 1h, 2d"
    )
    parser.add_argument("--until", type=moment_or_time_ago, metavar="TIME", help="before")
    parser.add_argument("--limit", type=positive, default=50, metavar="N", help="the newest N (default 50)")
    parser.add_argument("--after", type=positive, metavar="NUMBER", help="go on after this one")
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
        rows = [(*entry[:6], json.dumps(entry.about), entry.touched) for entry in found]
        print_csv(audit.Entry._fields, rows)
    elif options.json:
        for entry in found:
            emit(entry._asdict())
    elif found:
        people().print(table_of(found))
        if len(found) == options.limit:
            people().print(f"--after {found[-1].number} for more")
    else:
        print("no operator has changed anything yet, as far as this is kept")
    return exits.OK


def table_of(found: list[audit.Entry]) -> Table:
    table = grid(
        "", "at", "who", "action", "about", "touched", "reason", wrap=["who", "action", "about", "reason"]
    )
    for entry in found:
        table.add_row(
            at(entry.at)[:19], plain(entry.who), plain(entry.action), plain(_about(entry)),
            f"{entry.touched:,}", plain(entry.reason or ""),
        )  # fmt: skip
    return table


def _about(entry: audit.Entry) -> str:
    parts = {name: value for name, value in entry.about.items() if value not in ("", {})}
    if parts.get("scope") == "org":
        parts = {name: value for name, value in parts.items() if name not in ("scope", "name")}
    return ", ".join(f"{name} {_short(value)}" for name, value in parts.items())


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:199]}…"  # noqa: PLR2004 — some lines of a table
