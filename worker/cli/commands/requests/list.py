"""`session-worker requests list`."""

import argparse

from worker.cli.filter_options import filter_options, page_options
from worker.cli.options import json_option, wait_option

EXAMPLES = """\
  session-worker requests list --status failed --since 1h
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    filter_options(parser)
    page_options(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    raise NotImplementedError
