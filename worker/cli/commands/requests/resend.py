"""`session-worker requests resend`."""

import argparse

from worker.cli.options import queue_name
from worker.cli.selecting import act, bulk_options

EXAMPLES = """\
  session-worker requests resend 6f9f1c0e
  session-worker requests resend 6f9f1c0e --to prod.responses
      elsewhere, where its own queue is gone
  session-worker requests resend --response unroutable --since 1d --dry-run

The response on record, with the bytes and the message id that it always has:
who got it before knows it as a copy. Once the broker has confirmed it, here
or elsewhere, it waits no longer.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=queue_name, metavar="QUEUE", help="to this queue, not to the requester")
    bulk_options(parser)


def execute(options: argparse.Namespace) -> int:
    return act(options, "resend", to=options.to)
