"""Draws what docs/tables.md says of each table and view, from the comments that the migrations make."""

import re
from typing import NamedTuple

from support import drawn
from support.statements import ROOT

from worker.postgres.sql import load_migrations

PAGE = ROOT / "docs" / "tables.md"
_CHANGE = re.compile(
    r"^comment on (table|view|column) ([\w.]+) is\s+((?:'(?:[^']|'')*'\s*)+);|^drop (?:table|view) (\w+)",
    re.MULTILINE,
)
_PIECE = re.compile(r"'((?:[^']|'')*)'")


class Described(NamedTuple):
    """A table or a view: what it holds, and each of its columns."""

    kind: str
    holds: str
    columns: dict[str, str]


def described() -> dict[str, Described]:
    """Return what the comments say, once all migrations are applied."""
    found: dict[str, Described] = {}
    for migration in load_migrations():
        for kind, name, pieces, dropped in _CHANGE.findall(migration.sql):
            text = "".join(_PIECE.findall(pieces)).replace("''", "'")
            table, _, column = name.partition(".")
            if dropped:
                found.pop(dropped, None)
            elif column:
                found[table].columns[column] = text
            else:
                found[table] = Described(kind, text, found[table].columns if table in found else {})
    return found


def page() -> str:
    """Return the page; each of its marks names the tables that are described between it and its end."""
    tables = described()
    return drawn.page(PAGE, lambda names: "".join(_table(name, tables[name]) for name in names.split(", ")))


def _table(name: str, table: Described) -> str:
    kind = "" if table.kind == "table" else "*View.* "
    rows = "".join(f"| `{column}` | {text} |\n" for column, text in table.columns.items())
    holds = f"{kind}{table.holds[0].upper()}{table.holds[1:]}."
    return f"### {name}\n\n{holds}\n\n| column | holds |\n|---|---|\n{rows}\n"
