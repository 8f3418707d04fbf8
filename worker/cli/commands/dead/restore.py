"""`session-worker dead restore`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.dead_letters import agreed, preview, selected, selection_options, told
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.operations import dead_letters

EXAMPLES = """\
  session-worker dead list --state dropped
  session-worker dead restore 6fa860ba
  session-worker dead restore --app billing-exporter --yes
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    selection_options(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_restore(options))


async def _restore(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        which, ids = await selected(database, options, "dropped")
        await preview(database, which, options, len(ids))
        if options.dry_run or not agreed(options, "Restore them?"):
            return exits.OK
        restored = await database.look(
            lambda: dead_letters.restore(
                database, ids, reason=options.why, by=options.by, about={"dead_letters": which.told}
            ),
            options.wait,
        )
    return told(options, "restored", restored, len(ids))
