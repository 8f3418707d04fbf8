"""`session-worker dead redirect`."""

import argparse

from worker.cli import event_loop
from worker.cli.dead_letters import selection_options
from worker.cli.options import json_option, queue_name, wait_option
from worker.cli.replaying import rate_option, replay

EXAMPLES = """\
  session-worker dead redirect --app billing-exporter --to billing.failed
  session-worker dead redirect 6fa860ba --to inspection --yes

The messages go as they are, without the notes about their death. They count
as replayed then. What no queue takes stays in custody.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    selection_options(parser)
    parser.add_argument(
        "--to", type=queue_name, required=True, metavar="QUEUE", help="the queue to send them to"
    )
    rate_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(replay(options, to=options.to))
