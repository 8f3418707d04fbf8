"""`session-worker keys list`."""

import argparse

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.output import emit
from worker.cli.sealed_rows import NAMES, READS_ALL, Counted, count_options, counted
from worker.cli.tables import grid, people, plain
from worker.operations.keys import SealedRows

EXAMPLES = f"""\
  session-worker keys list
  session-worker keys list --quick
  session-worker keys list --json

A key that has rows must stay in WORKER_SEAL_KEYS. Repeats: a request that
comes again is known by the key that was in front when it came first; nothing
of these is sealed. "here" is the WORKER_SEAL_KEYS of this shell.

{READS_ALL}"""


def arguments(parser: argparse.ArgumentParser) -> None:
    count_options(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_list(options))


async def _list(options: argparse.Namespace) -> int:
    found = await counted(options)
    listed = _listed(found)
    if options.json:
        for each in listed:
            emit(
                {
                    **each._asdict(), "here": each.key in found.here, "seals": found.here[:1] == (each.key,),
                    "workers": len(found.workers), "workers_with": _workers_with(found, each.key),
                }
            )  # fmt: skip
    elif listed:
        people().print(table_of(found))
    else:
        print("no key is set, and nothing is sealed")
    return exits.OK


def _listed(found: Counted) -> list[SealedRows]:
    """Add the keys that nothing needs."""
    used = {each.key for each in found.rows}
    known = [*found.here, *(key for worker in found.workers for key in worker.keys)]
    unused = [SealedRows(key, "unfinished", 0) for key in dict.fromkeys(known) if key not in used]
    return sorted([*found.rows, *unused])


def table_of(found: Counted) -> Table:
    table = grid("", "key", "needed by", "rows", "here", "workers", wrap=["needed by"], cut=["key"])
    for each in _listed(found):
        here = "MISSING" if each.key not in found.here else "seals" if each.key == found.here[0] else "opens"
        table.add_row(
            plain(each.key), NAMES[each.place] if each.rows else "nothing", f"{each.rows:,}", here,
            f"{_workers_with(found, each.key)} of {len(found.workers)}",
        )  # fmt: skip
    return table


def _workers_with(found: Counted, key: str) -> int:
    return sum(key in worker.keys for worker in found.workers)
