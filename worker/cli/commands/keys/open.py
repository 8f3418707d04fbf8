"""`session-worker keys open`."""

import argparse
import sys

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.long_works import audit_options
from worker.cli.looking import id_argument, looked_up, table_of
from worker.cli.options import wait_option
from worker.cli.output import emit
from worker.cli.tables import bystanders
from worker.messages.sealing import parse_seal_keys
from worker.operations import keys, search

EXAMPLES = """\
  session-worker keys open ts_261125_1ohdj7az0tfas --reason "ticket 7" | jq .

For readers of the table sessions: the document of one session, with its
credentials. It is not written to a terminal. That it was opened, by whom and
why, is a row of the audit.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    id_argument(parser)
    audit_options(parser, reason_required=True)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if sys.stdout.isatty():
        raise CommandError(
            exits.USAGE, "credentials are not shown on a terminal: send them to a file or a pipe"
        )
    return event_loop.run(_open(options))


async def _open(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        matches = await database.look(lambda: search.by_id(database, options.id), options.wait)
        if not matches:
            raise CommandError(exits.FAILED, f"no request or session {options.id} is on record")
        if len(matches) > 1:
            bystanders().print(table_of(matches[: search.MOST_FOUND]))
            raise CommandError(exits.USAGE, f"several match {options.id}: give the id of one of them")
        ring = parse_seal_keys(settings.seal_keys.get_secret_value())
        document = await database.look(
            lambda: keys.opened(database, matches[0].request_id, ring, who=options.by, reason=options.reason),
            options.wait,
        )
    if document is None:
        raise CommandError(exits.FAILED, f"{options.id} has no session")
    emit(document)
    return exits.OK
