"""`session-worker schema`."""

import argparse
import json
from collections.abc import Callable

from schemas import json_schemas
from worker.cli import exits

EXAMPLES = """\
  session-worker schema             all of them, one object with their names
  session-worker schema response    the one that subscribers validate with
  session-worker schema strict      the same as sent today, for generators
  session-worker schema asyncapi    the exchange of messages: queues, headers
  session-worker schema settings    a worker's settings, as a Markdown table
  session-worker schema metrics     its metrics, and what to watch
  session-worker schema log-events  what each event of its log means
"""
_NAMES = ("request", "response", "strict", "session", "cancel")
_ASYNCAPI = "asyncapi"
_TABLES = ("settings", "metrics", "log-events")


def arguments(parser: argparse.ArgumentParser) -> None:
    names = (*_NAMES, _ASYNCAPI, *_TABLES)
    parser.add_argument(
        "name", nargs="?", choices=names, metavar="NAME", help=f"only this one: {', '.join(names)}"
    )
    parser.add_argument("--json", action="store_true", help="on one line")


def execute(options: argparse.Namespace) -> int:
    if options.name in _TABLES:
        print(_table(options.name)(), end="")
        return exits.OK
    if options.name == _ASYNCAPI:
        from worker.asyncapi import document  # noqa: PLC0415 — the other schemas need less than a worker

        print(json.dumps(document(), indent=None if options.json else 2))
        return exits.OK
    documents = {_short(name): schema for name, schema in json_schemas().items()}
    print(
        json.dumps(documents[options.name] if options.name else documents, indent=None if options.json else 2)
    )
    return exits.OK


def _table(name: str) -> Callable[[], str]:
    """Import what makes a table, which needs more than the contract does."""
    if name == "settings":
        from worker.cli.settings_table import settings_table  # noqa: PLC0415 — each needs a part of the worker

        return settings_table
    if name == "metrics":
        from worker.cli.metrics_table import metrics_table  # noqa: PLC0415 — as above

        return metrics_table
    from worker.cli.log_events_table import log_events_table  # noqa: PLC0415 — as above

    return log_events_table


def _short(file_name: str) -> str:
    name = file_name.removesuffix(".schema.json").removeprefix("create-session-")
    return {"cancel-session-request": "cancel", "response.strict": "strict"}.get(name, name)
