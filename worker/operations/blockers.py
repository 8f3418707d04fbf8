"""Tells who holds a lock that statements of the installation wait for, and ends such a connection."""

import json
import re
from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from worker.postgres.database import Database
from worker.postgres.locks import Holder, find_holders

_COMMENTS = re.compile(r"/\*.*?(?:\*/|\Z)|--[^\n]*", re.DOTALL)
_VALUE = re.compile(r"['\"$]|(?<![A-Za-z_])\d")
_LONGEST = 60  # characters of a statement


class Blocker(NamedTuple):
    """A connection that others wait for. What Postgres does not show this role is None."""

    pid: int  # 0: a prepared transaction
    user: str | None
    application: str | None
    since: datetime | None  # its transaction
    state: str | None
    statement: str | None  # its first words
    relations: tuple[str, ...]  # the tables that others wait for
    waiting: int  # statements of ours
    longest_seconds: float  # how long the first of these has waited


async def blockers(database: Database) -> list[Blocker]:
    """List who holds up statements of ours, who holds up the most first."""
    waits = {row["pid"]: row["seconds"] for row in await database.call("waiting_for_locks", aside=True)}
    if not waits:
        return []
    behind: dict[int, list[Holder]] = defaultdict(list)
    async with database.apart() as connection:
        for each in await find_holders(connection, list(waits)):
            behind[each.holder].append(each)
    found = [_blocker(those, waits) for those in behind.values()]
    return sorted(found, key=lambda each: (-each.waiting, each.pid))


async def terminate(database: Database, blocker: Blocker, *, who: str, reason: str | None) -> bool:
    """End this connection, unless it has gone on to another transaction; tell whether it was ended."""
    about = json.dumps(
        {
            "pid": blocker.pid, "user": blocker.user, "application": blocker.application,
            "since": blocker.since and blocker.since.isoformat(), "statement": blocker.statement,
        }
    )  # fmt: skip
    rows = await database.call(
        "terminate_blocker", blocker.pid, blocker.since, who, reason, about, aside=True
    )
    return bool(rows) and rows[0]["done"]


def _blocker(those: list[Holder], waits: dict[int, float]) -> Blocker:
    holder = those[0]
    return Blocker(
        pid=holder.holder,
        user=holder.role,
        application=holder.application_name or None,
        since=holder.begun_at,
        state=holder.state,
        statement=None if holder.statement is None else first_words(holder.statement),
        relations=tuple(sorted({each.relation for each in those if each.relation})),
        waiting=len({each.waiting for each in those}),
        longest_seconds=max(waits[each.waiting] for each in those),
    )


def first_words(statement: str) -> str:
    """Cut a statement before the first thing in it that may be a value: that may be a secret."""
    words = " ".join(_COMMENTS.sub(" ", statement).split())
    value = _VALUE.search(words)
    shown = words[: value.start()] if value else words
    return words if shown == words and len(words) <= _LONGEST else f"{shown[:_LONGEST].rstrip()} …"
