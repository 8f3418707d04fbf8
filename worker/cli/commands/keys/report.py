"""`session-worker keys report`."""

import argparse

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.output import emit
from worker.cli.sealed_rows import NAMES, READS_ALL, Counted, count_options, counted
from worker.cli.steering import say_lines
from worker.cli.tables import grid, people, plain
from worker.operations.keys import as_record, with_unused, workers_with

EXAMPLES = f"""\
  session-worker keys report
  session-worker keys report --quick
  session-worker keys report --json

What each key still holds: requests, sessions and dead letters, how many, and
since when the oldest is there. A key that has rows must stay in
WORKER_SEAL_KEYS. Repeats: a request that comes again is known by the key that
was in front when it came first; nothing of these is sealed. "here" is the
WORKER_SEAL_KEYS of this shell.

{READS_ALL}"""


def arguments(parser: argparse.ArgumentParser) -> None:
    count_options(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_report(options))


async def _report(options: argparse.Namespace) -> int:
    found = await counted(options)
    listed = with_unused(found.rows, found.here, found.workers)
    if options.json:
        retired = {one.key for one in found.retired}
        for each in listed:
            emit(as_record(each, found.here, found.workers, retired))
        return exits.OK
    if listed:
        people().print(table_of(found))
    else:
        print("no key is set, and nothing is sealed")
    for key, at, who, reason in found.retired:
        say_lines(f"{key} was retired at {at:%Y-%m-%d %H:%M}Z by {who}: {reason}")
    return exits.OK


def table_of(found: Counted) -> Table:
    table = grid(
        "", "key", "holds", "rows", "oldest", "here", "workers", wrap=["holds"], cut=["key"]
    )  # fmt: skip
    for each in with_unused(found.rows, found.here, found.workers):
        here = "MISSING" if each.key not in found.here else "seals" if each.key == found.here[0] else "opens"
        table.add_row(
            plain(each.key), NAMES[each.place] if each.rows else "nothing", f"{each.rows:,}",
            f"{each.oldest:%Y-%m-%d}" if each.oldest else "", here,
            f"{workers_with(found.workers, each.key)} of {len(found.workers)}",
        )  # fmt: skip
    return table
