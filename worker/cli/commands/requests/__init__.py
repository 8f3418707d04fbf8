"""`session-worker requests` finds requests and acts on them: each of its subcommands is a module here."""

import argparse
import importlib
from typing import Protocol, cast

from worker.cli.exits import MEANINGS

SUBCOMMANDS = {
    "list": "those that match, the last ones first, and what they failed of",
    "show": "all that is on record about one",
    "explain": "one, event by event: what happened, what happens next, and whether all is well",
    "watch": "each change of those that match, as it happens",
    "retry": "send what has failed anew, as new requests",
    "resend": "send responses on record again, here or elsewhere",
    "cancel": "take those back that are not finished",
}

EXAMPLES = """\
  session-worker requests list --org org-7 --status failed --since 1h
  session-worker requests list --help

`session-worker requests SUBCOMMAND --help` shows the options of each.
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
