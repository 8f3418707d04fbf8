"""Tables for people on stdout, one JSON object a line for programs, and everything else on stderr."""

import json
import logging
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.process.stderr import stderr

_COLOURS = {
    "completed": "green", "active": "green", "failed": "red", "timed_out": "yellow", "processing": "cyan",
}  # fmt: skip
NARROWEST = 100  # columns, where the output is no terminal: an id must not be broken over lines


class _Console(Console):
    """When whoever read it is gone, as any other output: rich would end the program as failed."""

    def on_broken_pipe(self) -> None:
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True  # nothing depends on it


def people() -> Console:
    console = _Console(highlight=False)
    if not console.is_terminal and console.width < NARROWEST:
        console.width = NARROWEST
    return console


def bystanders() -> Console:
    """Where progress goes: it is no result."""
    return _Console(stderr=True, highlight=False)


def emit(record: Mapping[str, Any]) -> None:
    print(as_json(record), flush=True)


def as_json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, default=_as_text)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def say(text: str) -> None:
    print(text, file=stderr(), flush=True)


def show_client_log() -> None:
    """What the client says while it waits for the broker."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("worker.client")
    logger.handlers = [handler]
    logger.propagate = False


def coloured(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def plain(value: object) -> Text:
    """Somebody's words: no markup of ours in them, and nothing that a terminal would obey."""
    return Text(
        "".join(
            each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in str(value)
        )
    )


def facts(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values, those that have one."""
    table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            table.add_row(name, value if isinstance(value, Text) else plain(value))
    return table


def grid(title: str, *columns: str, wrap: Collection[str] = (), cut: Collection[str] = ()) -> Table:
    """A table with these columns. Where there is no room for all of it, those to `wrap` go on in the next
    line, between words, and those to `cut` lose their end; no other one is touched."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            overflow="ellipsis" if column in cut else "fold",
            no_wrap=bool(wrap or cut) and column not in wrap and column not in cut,
        )
    return table
