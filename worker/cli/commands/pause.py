"""`session-worker pause`."""

import argparse
from datetime import datetime

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.options import json_option, moment_or_time_from_now, wait_option, words
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.steering import (
    Place,
    Steered,
    by_option,
    counted,
    place_of,
    place_options,
    say_lines,
    steered,
    told,
    wait_now,
)
from worker.cli.tables import cut, grid, people, plain
from worker.operations import steering
from worker.operations.steering import Paused, PauseOnRecord, pause_as_record

EXAMPLES = """\
  session-worker pause --reason "moving the database"
      all requests, on all workers, also on those that start later
  session-worker pause --org org-7 --until +2h --reason "too many errors"
  session-worker pause --worker 10.0.0.7:1 --reason "a look at its memory"
      others work on what it held; it stays alive and ready
  session-worker pause --list
      what is paused, by whom and why

What is running ends as ever, and cancellations are carried out. Nothing
fails of a pause: it waits. A pause that is there already is replaced. That
of a worker ends with the worker: one that starts again is not paused.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    place_options(parser)
    parser.add_argument("--reason", type=words, help="why; who meets the pause is told")
    parser.add_argument(
        "--until", type=moment_or_time_from_now, metavar="TIME",
        help="when it ends by itself: ISO 8601, in UTC unless it has an offset, or milliseconds since 1970, "
        "or how far ahead: +30m, +2h, +1d",
    )  # fmt: skip
    by_option(parser)
    parser.add_argument("--list", action="store_true", help="change nothing; show what is paused")
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.list and (options.org is not None or options.worker or options.reason or options.until):
        raise CommandError(exits.USAGE, "--list shows all pauses, and goes with no other option")
    if not options.list and options.reason is None:
        raise CommandError(exits.USAGE, "--reason TEXT is required: who meets the pause is told")
    return event_loop.run(_list(options) if options.list else _pause(options))


async def _pause(options: argparse.Namespace) -> int:
    async with steered(options) as there:
        database = there.database
        place = place_of(options, there)
        paused = await database.look(
            lambda: steering.pause(
                database, place.scope, place.name, reason=options.reason, by=options.by, until=options.until
            ),
            options.wait,
        )
        if paused is None:
            given = at(options.until) if isinstance(options.until, datetime) else "now"
            raise CommandError(exits.USAGE, f"--until is {given}, which is past: nothing was paused")
        org = place.name if place.scope == "org" else None
        waiting = await database.look(lambda: steering.waiting(database, org), options.wait)
        others = await _others(there, place, options.wait)
    if options.json:
        emit(
            pause_as_record(paused.pause, place.where)
            | {"before": pause_as_record(paused.before) if paused.before else None}
            | {"waiting": None if place.scope == "worker" else waiting.waiting}
            | {"seen": waiting.seen if place.scope == "org" else None}
            | {"workers": 1 if place.scope == "worker" else len(there.live)}
        )
        return exits.OK
    say_lines(*_told(place, paused, waiting, there, others))
    return exits.OK


async def _others(there: Steered, place: Place, seconds: float) -> int:
    """Count the other live workers that are not paused."""
    found = await there.database.look(lambda: steering.pauses(there.database), seconds)
    paused = {one.pause.name for one in found if one.pause.scope == "worker"} | {place.name}
    return sum(1 for worker in there.live if str(worker.id) not in paused)


def _told(place: Place, paused: Paused, waiting: steering.Waiting, there: Steered, others: int) -> list[str]:
    lines = [f"paused: {place}, {told(paused.pause)}"]
    if paused.before:
        lines.append(f"in the place of the pause {told(paused.before)}")
    if place.scope == "worker":
        lines.append("in force within a second")
        if others:
            lines.append(f"{counted(others, 'other live worker')} can take what comes")
        else:
            lines.append("no other live worker can take what comes: it stays in the queue")
        return lines
    lines.append(f"{there.in_force}; {wait_now(place, waiting.waiting)}")
    if place.scope == "org" and not waiting.seen:
        lines.append(
            f"none of the newest {steering.NEWEST:,} requests is of {place.name}: "
            "the pause holds when one comes"
        )
    return lines


async def _list(options: argparse.Namespace) -> int:
    async with steered(options) as there:
        found = await there.database.look(lambda: steering.pauses(there.database), options.wait)
    if options.json:
        for one in found:
            emit(pause_as_record(one.pause, one.place))
    elif found:
        people().print(table_of(found))
    else:
        print("nothing is paused")
    return exits.OK


def table_of(found: list[PauseOnRecord]) -> Table:
    table = grid("", "paused", "why", wrap=["why"])
    for pause, where in found:
        until = f"\nuntil {at(pause.ends_at)[:19]}" if pause.ends_at else ""
        why = f"{pause.reason}\nby {pause.paused_by}\nsince {at(pause.paused_at)[:19]}{until}"
        table.add_row(plain(Place(pause.scope, cut(pause.name), where)), plain(why))
    return table
