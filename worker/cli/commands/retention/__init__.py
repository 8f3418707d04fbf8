"""`session-worker retention` tells what is kept, and deletes it: each subcommand is a module here."""

import argparse
import importlib
from typing import Protocol, cast

from worker.cli.exits import MEANINGS

SUBCOMMANDS = {
    "status": "what is kept since when, how large it is, how it grows, and what could go",
    "run": "delete finished requests now that are older than you say",
    "sessions": "delete sessions that ended long ago and whose request is gone",
}

EXAMPLES = """\
  session-worker retention status
  session-worker retention run --older 7d --dry-run
  session-worker retention sessions --ended-before 90d --dry-run

`session-worker retention SUBCOMMAND --help` shows the options of each.
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
