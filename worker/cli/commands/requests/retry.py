"""`session-worker requests retry`."""

import argparse

from worker.cli.options import queue_name
from worker.cli.selecting import act, bulk_options, follow_options

EXAMPLES = """\
  session-worker requests retry 6f9f1c0e
  session-worker requests retry --org org-7 --status failed --since 1h --dry-run
      what would be done: how many, of whom, where their answers go
  session-worker requests retry --code attempts_exhausted --since 2h --rate 20/s
  session-worker requests retry --status failed --since 1h --to prod.responses

What has failed stays failed: each becomes a new request with an id of its own,
linked to the old one, once. Its secrets are opened here, so WORKER_SEAL_KEYS
has to be that of the workers. Its answer goes where the old one's went, unless
you say otherwise; that of a call that waits no more goes to the response queue.
What was begun and not ended goes on with `session-worker selections continue`.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--to", type=queue_name, metavar="QUEUE", help="all answers go to this queue")
    where.add_argument(
        "--answer", choices=["none"], help="none: tell no requester; answers go to the response queue"
    )
    bulk_options(parser)
    follow_options(parser)


def execute(options: argparse.Namespace) -> int:
    return act(options, "retry", to=options.to, answer=options.answer)
