"""`session-worker selections`."""

import argparse

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.looking import looked_up
from worker.cli.lookup_database import LookupDatabase
from worker.cli.options import encodable, json_option, wait_option, words
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.selecting import follow_options, installation, work_on
from worker.cli.steering import by_option
from worker.cli.tables import grid, people, plain
from worker.operations import selections
from worker.operations.selection_words import as_record, in_words, told
from worker.operations.selections import Selection

EXAMPLES = """\
  session-worker selections list
  session-worker selections show 7f3a90c1
  session-worker selections stop 7f3a90c1 --because "too many at once"
  session-worker selections continue 7f3a90c1
      also after its process was killed: nothing is done twice

A selection is what `requests retry`, `resend` and `cancel` have chosen: what
matched then, and no other. One process at a time works on it.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "show", "stop", "continue"))
    parser.add_argument("id", nargs="?", type=encodable, metavar="ID", help="the selection")
    parser.add_argument("--because", dest="why", type=words, metavar="TEXT", help="why; the audit keeps it")
    by_option(parser)
    follow_options(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if (options.action == "list") != (options.id is None):
        raise CommandError(exits.USAGE, f"`selections {options.action}` takes {_TAKES[options.action]}")
    does = {"list": _list, "show": _show, "stop": _stop, "continue": _continue}[options.action]
    return event_loop.run(event_loop.until_signalled(does(options)))


_TAKES = dict.fromkeys(("show", "stop", "continue"), "the ID of one") | {"list": "no ID"}


async def _list(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        found = await database.look(lambda: selections.selections(database), options.wait)
    if options.json:
        for selection in found:
            emit(selection._asdict())
    elif found:
        people().print(table_of(found))
    else:
        print("no selections")
    return exits.OK


async def _show(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        selection = await _the_one(database, options)
        preview = await selections.preview(database, selection.id)
        outcomes = await selections.outcomes(database, selection.id)
        results = [] if selection.action == "resend" else await selections.results(database, selection.id)
    if options.json:
        emit(as_record(selection, outcomes, results))
        return exits.OK
    for line in [*in_words(selection, preview), *told(selection, outcomes, results)]:
        people().print(plain(line), soft_wrap=True)
    if selection.state != "done" and not selection.alive:
        print(f"next: session-worker selections continue {selection.id}")
    return exits.OK


async def _stop(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        selection = await _the_one(database, options)
        stopped = await database.look(
            lambda: selections.stop(database, selection.id, by=options.by, reason=options.why), options.wait
        )
        selection = await _the_one(database, options)
    if options.json:
        emit({**selection._asdict(), "stopped": stopped})
    elif stopped:
        people().print(plain(f"stopped: selection {selection.id}, {selection.left} left"))
    else:
        people().print(plain(f"nothing to do: selection {selection.id} is {selection.state}"))
    return exits.OK


async def _continue(options: argparse.Namespace) -> int:
    async with installation(options) as there:
        return await work_on(there, await _the_one(there.database, options), options)


async def _the_one(database: LookupDatabase, options: argparse.Namespace) -> Selection:
    found = await database.look(lambda: selections.selections(database, options.id), options.wait)
    if not found:
        raise CommandError(exits.FAILED, f"there is no selection {options.id}: see `selections list`")
    return found[0]


def table_of(found: list[Selection]) -> Table:
    table = grid("", "selection", "action", "state", "chosen", "left", "made", "by", cut=["by"])
    for one in found:
        silent = one.state == "running" and not one.alive
        table.add_row(
            one.id, one.action, "SILENT" if silent else one.state, f"{one.chosen:,}", f"{one.left:,}",
            at(one.made_at)[5:16], plain(one.who),
        )  # fmt: skip
    return table
