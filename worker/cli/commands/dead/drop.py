"""`session-worker dead drop`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.dead_letters import agreed, preview, selected, selection_options, told
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.operations import dead_letters

EXAMPLES = """\
  session-worker dead drop 6fa860ba --because "a test of ours"
  session-worker dead drop --like 6fa860ba --because "sent by mistake" --dry-run
  session-worker dead drop --app billing-exporter --since 1h --because "known"

They are kept for 7 days more, for `session-worker dead restore`.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    selection_options(parser, reason_required=True)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_drop(options))


async def _drop(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        which, ids = await selected(database, options)
        await preview(database, which, options, len(ids))
        if options.dry_run or not agreed(options, "Drop them?"):
            return exits.OK
        dropped = await database.look(
            lambda: dead_letters.drop(
                database, ids, reason=options.why, by=options.by, about={"dead_letters": which.told}
            ),
            options.wait,
        )
    return told(options, "dropped", dropped, len(ids), "; `session-worker dead restore` puts them back")
