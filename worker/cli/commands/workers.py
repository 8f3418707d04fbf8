"""`session-worker workers`."""

import argparse
from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from worker.cli import draining, event_loop, exits
from worker.cli.commands import pause
from worker.cli.csv_output import print_csv
from worker.cli.exits import CommandError
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, json_option, wait_option, words
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.steering import by_option, place_of, steered, told
from worker.cli.tables import facts, grid, people, plain
from worker.operations import overview, steering
from worker.operations.overview import LiveWorker, worker_as_record
from worker.operations.steering import PauseOnRecord

EXAMPLES = """\
  session-worker workers
  session-worker workers --json
  session-worker workers show 10.0.0.7:1
  session-worker workers drain 10.0.0.7:1 --reason "a bad build"
      it begins nothing more; returns when it has nothing in hand
  session-worker workers pause 10.0.0.7:1 --reason "a look at its memory"
      the same as `session-worker pause --worker`: returns at once

SILENT is one that gave no sign of life for half of its lease: others take
over what it holds when the lease has run out. Exit code 1 if there is one, or
if no worker lives. A drained worker goes on running, so that nothing starts
another one in its place: end it with a SIGTERM, once its build is gone from
there, or let it go on with `session-worker resume --worker`.
"""
_STYLES = {"SILENT": "bold red", "paused": "yellow", "ready": "green"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "show", "drain", "pause"), default="list")
    parser.add_argument("worker", nargs="?", metavar="ID|HOST:PID", help="the worker to show, drain or pause")
    parser.add_argument("--reason", type=words, help="why it is drained or paused; the audit keeps it")
    by_option(parser)
    parser.add_argument(
        "--timeout", type=float, default=60, metavar="SECONDS",
        help="drain: how long its calls may take to end (default 60)",
    )  # fmt: skip
    json_option(parser)
    csv_option(parser)
    wait_option(parser, 10)
    parser.set_defaults(org=None, list=False, until=None)  # as `pause --worker`


def execute(options: argparse.Namespace) -> int:
    if (options.action == "list") != (options.worker is None):
        takes = "no worker" if options.action == "list" else "an ID or HOST:PID"
        raise CommandError(exits.USAGE, f"`workers {options.action}` takes {takes}")
    if options.csv and options.action != "list":
        raise CommandError(exits.USAGE, "--csv is for the list")
    match options.action:
        case "pause":
            return pause.execute(options)
        case "drain":
            return event_loop.run(draining.drain(options))
        case "show":
            return event_loop.run(_show(options))
        case _:
            return event_loop.run(_list(options))


async def _list(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        found = await database.look(lambda: overview.workers(database, settings.lease_seconds), options.wait)
    if options.json:
        for each in found:
            emit(worker_as_record(each))
    elif options.csv:
        print_csv([*LiveWorker._fields, "state"], ([*each, each.state] for each in found))
    elif found:
        people().print(table_of(found, datetime.now(UTC)))
    else:
        print("no worker has been here within a day: `session-worker run` starts one")
    all_well = any(each.lives for each in found) and all(each.lives for each in found)
    return exits.OK if all_well else exits.FAILED


async def _show(options: argparse.Namespace) -> int:
    async with steered(options) as there:
        place = place_of(options, there, may_be_gone=True)
        found = await there.database.look(
            lambda: overview.workers(there.database, there.lease_seconds), options.wait
        )
        paused = await there.database.look(lambda: steering.pauses(there.database), options.wait)
    for each in found:
        if str(each.id) == place.name:
            if options.json:
                emit(worker_as_record(each))
            else:
                people().print(facts_of(each, paused, datetime.now(UTC)))
            return exits.OK if each.lives else exits.FAILED
    raise CommandError(exits.FAILED, f"no worker {options.worker} has been here within a day")


def table_of(found: list[LiveWorker], now: datetime) -> Table:
    table = grid(
        "", "worker", "state", "handler", "version", "in hand", "last beat", "up for", cut=["handler"]
    )
    for each in found:
        table.add_row(
            plain(each.place), Text(each.state, _STYLES[each.state]), plain(_handler(each)),
            plain(each.version), str(each.in_hand), f"{each.silent_seconds:.0f} s",
            _span(now - each.started_at),
        )  # fmt: skip
    return table


def facts_of(worker: LiveWorker, pauses: list[PauseOnRecord], now: datetime) -> Table:
    """Lay out what is known of one, and why it begins nothing, if it is paused."""
    paused = [
        told(one.pause)
        for one in pauses
        if one.pause.scope == "all" or (one.pause.scope, one.pause.name) == ("worker", str(worker.id))
    ]
    return facts(
        worker.place,
        [
            ("state", Text(worker.state, _STYLES[worker.state])),
            ("paused", "\n".join(paused)),
            ("id", worker.id),
            ("handler", _handler(worker)),
            ("version", worker.version),
            ("in hand", f"{worker.in_hand:,} requests that are not finished"),
            ("last beat", f"{worker.silent_seconds:.0f} s ago"),
            ("up since", f"{at(worker.started_at)[:19]}, for {_span(now - worker.started_at)}"),
            ("its requests", f"session-worker requests list --worker {worker.place}"),
        ],
    )


def _handler(worker: LiveWorker) -> str:
    handler = "(older)" if worker.handler is None else worker.handler or "built-in"
    return f"{handler}@{worker.build}" if worker.build else handler


def _span(span: timedelta) -> str:
    return str(timedelta(seconds=max(0, round(span.total_seconds()))))
