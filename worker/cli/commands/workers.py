"""`session-worker workers`."""

import argparse
from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, json_option, wait_option
from worker.cli.output import emit
from worker.cli.tables import grid, people, plain
from worker.operations import overview
from worker.operations.overview import LiveWorker

EXAMPLES = """\
  session-worker workers
  session-worker workers --json

SILENT is one that gave no sign of life for half of its lease: others take
over what it holds when the lease has run out. Exit code 1 if there is one, or
if no worker lives.
"""
_STYLES = {"SILENT": "bold red", "paused": "yellow", "ready": "green"}


def arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    csv_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_workers(options))


async def _workers(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        found = await database.look(lambda: overview.workers(database, settings.lease_seconds), options.wait)
    if options.json:
        for each in found:
            emit({**each._asdict(), "state": each.state})
    elif options.csv:
        print_csv([*LiveWorker._fields, "state"], ([*each, each.state] for each in found))
    elif found:
        people().print(table_of(found, datetime.now(UTC)))
    else:
        print("no worker has been here within a day: `session-worker run` starts one")
    all_well = any(each.lives for each in found) and all(each.lives for each in found)
    return exits.OK if all_well else exits.FAILED


def table_of(found: list[LiveWorker], now: datetime) -> Table:
    table = grid(
        "", "worker", "state", "handler", "version", "in hand", "last beat", "up for", cut=["handler"]
    )
    for each in found:
        handler = "(older)" if each.handler is None else each.handler or "built-in"
        build = f"@{each.build}" if each.build else ""
        table.add_row(
            plain(f"{each.host}:{each.pid}"), Text(each.state, _STYLES[each.state]), plain(handler + build),
            plain(each.version), str(each.in_hand), f"{each.silent_seconds:.0f} s",
            _span(now - each.started_at),
        )  # fmt: skip
    return table


def _span(span: timedelta) -> str:
    return str(timedelta(seconds=max(0, round(span.total_seconds()))))
