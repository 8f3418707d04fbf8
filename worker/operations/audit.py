"""Keeps and lists what operators did: each change is a row of the audit, in the transaction of the change."""

import json
from collections.abc import Mapping
from datetime import datetime
from secrets import token_hex
from typing import Any, NamedTuple

from worker.postgres.database import Database

_AT_ONCE = 500  # rows
_LOOKS = 20  # for one list: beyond, an operation of very many steps is cut in two


class Entry(NamedTuple):
    """A change that an operator made."""

    number: int
    at: datetime
    who: str  # as they call themselves
    role: str  # as Postgres knows them
    action: str
    reason: str | None
    about: dict[str, Any]
    touched: int
    steps: int = 1  # rows: one for each step of an operation


async def append(
    database: Database,
    action: str,
    *,
    who: str,
    reason: str | None,
    about: Mapping[str, Any],
    touched: int = 1,
) -> None:
    """Add a row for what was changed elsewhere. A change in these tables has it in its own statement."""
    await database.call("append_audit", who, action, reason, json.dumps(about), touched, aside=True)


def new_run() -> str:
    """Name an operation of many steps: the rows that have this `run` in what they are about are one entry."""
    return token_hex(4)


async def entries(
    database: Database,
    *,
    org: str | None = None,
    who: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    most: int = 50,
    action: str | None = None,
) -> list[Entry]:
    """List changes, the newest first. `before`: those with a smaller number; `action`: how it begins. The
    steps of one operation are one entry, with the number and the time of its first step, and the sum of what
    they touched.
    """
    found: dict[str | int, Entry] = {}
    at_once = max(most, _AT_ONCE)
    for _ in range(_LOOKS):
        rows = await database.call("list_audit", org, who, since, until, before, at_once, action, aside=True)
        for row in rows:
            entry = Entry(**{**row, "about": _told(row["about"])})
            key = row["about"] if "run" in entry.about else entry.number
            if last := found.get(key):
                entry = entry._replace(touched=last.touched + entry.touched, steps=last.steps + 1)
            elif len(found) == most:
                return list(found.values())
            found[key] = entry
        if len(rows) < at_once:
            break
        before = rows[-1]["number"]
    return list(found.values())


async def of_selection(database: Database, selection_id: str, most: int = 20) -> list[Entry]:
    """List what was done with a selection, the first first."""
    rows = await database.call("audit_of_selection", selection_id, most, aside=True)
    return [Entry(**{**row, "about": _told(row["about"])}) for row in rows]


def _told(about: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(about).items() if value is not None}
