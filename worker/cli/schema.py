"""`session-worker schema`."""

import argparse
import json

from schemas import json_schemas
from worker.cli import exits

EXAMPLES = """\
  session-worker schema                 all three, one object with their names
  session-worker schema response        the one that subscribers validate with
"""
_NAMES = ("request", "response", "session")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", choices=_NAMES, help="only this one")
    parser.add_argument("--json", action="store_true", help="on one line")


def execute(options: argparse.Namespace) -> int:
    documents = {_short(name): schema for name, schema in json_schemas().items()}
    print(
        json.dumps(documents[options.name] if options.name else documents, indent=None if options.json else 2)
    )
    return exits.OK


def _short(file_name: str) -> str:
    return file_name.removesuffix(".schema.json").removeprefix("create-session-")
