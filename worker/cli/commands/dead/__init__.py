"""`session-worker dead` shows and acts on dead letters in custody: each subcommand is a module here."""

import argparse
import importlib
from typing import Protocol, cast

from worker.cli.exits import MEANINGS

SUBCOMMANDS = {
    "list": "what is in custody, grouped, or one by one",
    "show": "one message: why it is here, where it came from, and its body",
    "replay": "send messages again to where they belong, mended if need be",
    "redirect": "send messages to a queue of your choice, as they are",
    "drop": "give messages up; for a week they can be restored",
    "restore": "put back what was dropped",
    "export": "write messages to a file, one JSON object a line",
}

EXAMPLES = """\
  session-worker dead list
  session-worker dead show 6fa860ba
  session-worker dead replay --like 6fa860ba --rename id=request_id --dry-run
  session-worker dead drop --app billing-exporter --because "sent by mistake"
  session-worker dead replay --help

Workers take dead letters into Postgres; WORKER_MAX_DEAD_LETTERS=0 leaves them
in their queue. `session-worker dead SUBCOMMAND --help` shows the options.
"""


class _Subcommand(Protocol):
    """A module of a subcommand."""

    EXAMPLES: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, options: argparse.Namespace) -> int: ...


def arguments(parser: argparse.ArgumentParser) -> None:
    subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for name, summary in SUBCOMMANDS.items():
        module = _load(name)
        sub = subcommands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{module.EXAMPLES}\n{MEANINGS}",
        )
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        module.arguments(sub)


def execute(options: argparse.Namespace) -> int:
    return _load(options.subcommand).execute(options)


def _load(name: str) -> _Subcommand:
    return cast("_Subcommand", importlib.import_module(f"{__name__}.{name}"))
