"""`session-worker keys` tells which rows need which key: each of its subcommands is a module here."""

import argparse
import importlib
from typing import Protocol, cast

from worker.cli.exits import MEANINGS

SUBCOMMANDS = {
    "list": "which rows need which key, and who has it",
    "check": "whether a key that rows need is missing; exit code 1 if so",
    "reseal": "seal anew what one key has sealed, with another",
    "open": "write a session's document with its credentials opened, to a file or a pipe",
}

EXAMPLES = """\
  session-worker keys list
  session-worker keys check
  session-worker keys reseal --from k1 --reason "k1 was in a log"
  session-worker keys reseal --help

`session-worker keys SUBCOMMAND --help` shows the options of each.
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
