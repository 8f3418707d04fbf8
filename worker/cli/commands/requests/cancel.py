"""`session-worker requests cancel`."""

import argparse

from worker.cli.selecting import act, bulk_options, follow_options

EXAMPLES = """\
  session-worker requests cancel 6f9f1c0e --because "asked for twice"
  session-worker requests cancel --org org-7 --status waiting --because "a flood"

Whoever asked for these sessions is told: failed, cancelled, and why.
What is finished stays as it is. Exit code 1 says that some had ended before,
4 that some have not ended in time. `session-worker cancel` cancels one that is
not on record yet.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    bulk_options(parser, reason_required=True)
    follow_options(parser)


def execute(options: argparse.Namespace) -> int:
    return act(options, "cancel")
