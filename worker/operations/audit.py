"""Keeps and lists what operators did: each change is a row of the audit, in the transaction of the change."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from worker.postgres.database import Database


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
    """List changes, the newest first; `before`: those with a smaller number; `action`: how it begins."""
    rows = await database.call("list_audit", org, who, since, until, before, most, action, aside=True)
    return [Entry(**{**row, "about": _told(row["about"])}) for row in rows]


async def of_selection(database: Database, selection_id: str, most: int = 20) -> list[Entry]:
    """List what was done with a selection, the first first."""
    rows = await database.call("audit_of_selection", selection_id, most, aside=True)
    return [Entry(**{**row, "about": _told(row["about"])}) for row in rows]


def _told(about: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(about).items() if value is not None}
