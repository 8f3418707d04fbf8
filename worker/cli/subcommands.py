"""Reads the subcommands of a command that is a package: each of them is a module in it."""

import argparse
import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from worker.cli.exits import MEANINGS


class Subcommand(Protocol):
    """A module of a subcommand."""

    EXAMPLES: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, options: argparse.Namespace) -> int: ...


class Subcommands:
    """The subcommands of a package, each with a line about it."""

    def __init__(self, package: str, summaries: Mapping[str, str]) -> None:
        self._package = package
        self._summaries = summaries

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
        for name, summary in self._summaries.items():
            module = self._load(name)
            sub = subcommands.add_parser(
                name,
                help=summary,
                description=f"{summary[0].upper()}{summary[1:]}.",
                epilog=f"examples:\n{module.EXAMPLES}\n{MEANINGS}",
            )
            sub.add_argument(
                "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )
            sub.add_argument("--env-file", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            module.arguments(sub)

    def execute(self, options: argparse.Namespace) -> int:
        return self._load(options.subcommand).execute(options)

    def _load(self, name: str) -> Subcommand:
        return cast("Subcommand", importlib.import_module(f"{self._package}.{name}"))
