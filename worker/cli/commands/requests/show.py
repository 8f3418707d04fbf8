"""`session-worker requests show`."""

import argparse
import json

from worker.cli import event_loop, exits
from worker.cli.looking import id_argument, looked_up, the_record
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import render
from worker.cli.tables import facts, people
from worker.operations.record import body_of

EXAMPLES = """\
  session-worker requests show 6f9f1c0e
  session-worker requests show order-17 --payload
      what was asked for as well; sealed credentials are not opened
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    id_argument(parser)
    parser.add_argument("--payload", action="store_true", help="show what was asked for, too")
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_show(options))


async def _show(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        record = await the_record(database, options)
        request_id = record["request"]["request_id"]
        body = None
        if options.payload:
            body = await database.look(lambda: body_of(database, request_id), options.wait)
    if options.json:
        emit({**record, **({"body": body} if options.payload else {})})
        return exits.OK
    people().print(render(record, settings.trace_url))
    if options.payload:
        text = (
            json.dumps(body, indent=2, ensure_ascii=False)
            if body is not None
            else "it was refused at the door"
        )
        people().print(facts("asked for", [("", text)]))
    return exits.OK
