"""Mutes groups of failures for a time: somebody knows of them, and they are shown apart until then.

It changes nothing else: the failures go on, and so do metrics and alerts. Each change is a row of the audit,
which the same statement writes.
"""

import json
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from worker.postgres.database import Database

_GROUPS: Final = UUID("7a1b6c52-0f0e-5c0b-9a8e-3b6d1f4e2c97")  # the namespace of the ids of groups


class Alike(NamedTuple):
    """What the failures of a group have in common."""

    code: str
    reason: str | None
    place: str | None  # file:line function of the handler; None: it was not the handler
    build: str | None

    @property
    def id(self) -> UUID:
        """Return the id of the group."""
        return uuid5(_GROUPS, json.dumps(self))


class Mute(NamedTuple):
    """A mute of a group that is in force."""

    id: UUID  # of the group
    code: str
    reason: str | None
    place: str | None
    build: str | None
    why: str
    muted_by: str
    muted_at: datetime
    ends_at: datetime


async def group_of(database: Database, request_id: UUID) -> Alike | None:
    """Return the group that a failure is of; None: no such request has failed."""
    rows = await database.call("group_of", request_id, aside=True)
    return Alike(**rows[0]) if rows else None


async def mute(
    database: Database, group: Alike, *, until: datetime | timedelta, reason: str, by: str
) -> Mute | None:
    """Mute a group, in the place of a mute that is there. None: its end is past."""
    at, lasts = (None, until) if isinstance(until, timedelta) else (until, None)
    rows = await database.call("mute", group.id, *group, reason, by, at, lasts, aside=True)
    return Mute(**rows[0]) if rows else None


async def unmute(database: Database, group_id: UUID, *, reason: str, by: str) -> Mute | None:
    """End a mute, and return it; None: there was none."""
    for row in await database.call("unmute", group_id, by, reason, aside=True):
        found: dict[str, Any] = dict(row)
        if found.pop("held"):
            return Mute(**found)
    return None


async def mutes(database: Database) -> list[Mute]:
    """List what is muted now, the next to end first."""
    return [Mute(**row) for row in await database.call("mutes", aside=True)]
