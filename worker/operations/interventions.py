"""Tells when people have paused, resumed or limited anything, for charts."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from worker.postgres.database import Database

MOST = 200
_BEFORE = timedelta(days=1)  # a pause that began then may have ended by itself in the time that is asked for
Kind = Literal["pause", "limit"]
_DONE: Final[dict[str, tuple[Kind, str]]] = {
    "pause": ("pause", "paused"),
    "resume": ("pause", "resumed"),
    "limits.set": ("limit", "limited anew"),
    "limits.clear": ("limit", "limit cleared"),
}


class Intervention(NamedTuple):
    """A change of what may begin."""

    at: datetime
    kind: Kind
    words: str


class Noted(NamedTuple):
    """A row of the audit about one."""

    at: datetime
    who: str
    action: str
    reason: str | None
    about: dict[str, Any]


async def interventions(database: Database, since: datetime, now: datetime) -> list[Intervention]:
    """List what was done since then, the newest of it, and the pauses that have ended by themselves."""
    rows = await database.call("interventions", since - _BEFORE, list(_DONE), MOST, aside=True)
    found = told([Noted(**{**row, "about": json.loads(row["about"])}) for row in rows], now)
    return [each for each in found if each.at > since]


def told(noted: Iterable[Noted], now: datetime) -> list[Intervention]:
    """Say what each row of the audit is about, in the order of time. A pause has ended by itself where nobody
    has resumed or replaced it before its end.
    """
    found: list[Intervention] = []
    ends: dict[tuple[str, str], Intervention] = {}
    for row in sorted(noted, key=lambda row: row.at):
        kind, done = _DONE[row.action]
        scope, name = row.about["scope"], row.about["name"]
        whose = _whose(scope, name)
        if kind == "pause" and (end := ends.pop((scope, name), None)) is not None and end.at <= row.at:
            found.append(end)
        why = f": {row.reason}" if row.reason else ""
        found.append(Intervention(row.at, kind, f"{whose} {done} by {row.who}{why}"))
        if row.action == "pause" and (until := row.about.get("until")):
            ends[scope, name] = Intervention(
                datetime.fromisoformat(until), kind, f"{whose}: the pause by {row.who} ends"
            )
    return sorted([*found, *(end for end in ends.values() if end.at <= now)])


def _whose(scope: str, name: str) -> str:
    match scope:
        case "all":
            return "all requests"
        case "each":
            return "each organisation"
        case "worker":
            return f"worker {name[:8]}"
        case _:
            return name
