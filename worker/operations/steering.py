"""Holds work back and lets it go on: pauses and limits, for all workers of an installation.

Each change is a row of the audit, which the same statement writes.
"""

import re
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from worker.messages import moments
from worker.postgres.database import Database
from worker.rules import NO_ORG, Limit, Pause, PauseScope, Scope

MOST_COUNTED = 100_000  # of what waits
NEWEST = 50_000  # requests that are looked through for one of an organisation
_FROM_NOW = re.compile(r"\+(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Worker(NamedTuple):
    """A worker that was heard of within a day."""

    id: UUID
    host: str
    pid: int
    lives: bool

    @property
    def place(self) -> str:
        return f"{self.host}:{self.pid}"


class Paused(NamedTuple):
    """A pause that is in force now, and the one in whose place it is."""

    pause: Pause
    before: Pause | None


class PauseOnRecord(NamedTuple):
    """A pause, and of a worker where that runs."""

    pause: Pause
    place: str | None


class Waiting(NamedTuple):
    """How many wait, counted up to a bound; and of an organisation whether it is known at all."""

    waiting: int
    seen: bool


class Cleared(NamedTuple):
    """The limit that a command had set, and the one of a setting that counts from now on."""

    removed: Limit | None
    setting: Limit | None


class LimitOnRecord(NamedTuple):
    """A limit as it was set. The last three are None where they are not counted."""

    limit: Limit
    source: Literal["setting", "command"]
    reason: str | None
    set_by: str
    set_at: datetime
    in_force: bool  # one that is set by command counts before one of a setting
    waiting: int | None
    running_now: int | None
    share: float | None  # beside all organisations that have something waiting


def moment_or_time_from_now(text: str) -> datetime | timedelta:
    """Read a time as `moment` does, or how far ahead it is, as +30m, +2h or +1d. Raises ValueError."""
    if found := _FROM_NOW.fullmatch(text.strip()):
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        return moments.moment(text)
    except ValueError as error:
        raise ValueError(f"is {error}, nor a time from now as +30m, +2h or +1d") from None


async def workers(database: Database, lease_seconds: float) -> list[Worker]:
    """List the workers. Of an older version's it is not known how long its leases are: as long as these."""
    return [Worker(**row) for row in await database.call("workers", lease_seconds, aside=True)]


async def pause(
    database: Database,
    scope: PauseScope,
    name: str,
    *,
    reason: str,
    by: str,
    until: datetime | timedelta | None = None,
) -> Paused | None:
    """Pause all, an organisation or a worker, in place of a pause that is there. None: its end is past."""
    at, lasts = (None, until) if isinstance(until, timedelta) else (until, None)
    rows = await database.call("pause", scope, name, reason, by, at, lasts, aside=True)
    if not rows:
        return None
    row = dict(rows[0])
    old = {column: row.pop(f"old_{column}") for column in tuple(row) if f"old_{column}" in row}
    before = None if old["reason"] is None else Pause(scope, name, **old)
    return Paused(Pause(scope, name, **row), before)


async def resume(
    database: Database, scope: PauseScope, name: str, *, by: str, reason: str | None = None
) -> Pause | None:
    """End a pause, and return it; None: there was none."""
    for row in await database.call("resume", scope, name, by, reason, aside=True):
        found = dict(row)
        if found.pop("held"):
            return Pause(scope, name, **found)
    return None


async def pauses(database: Database) -> list[PauseOnRecord]:
    """List what is paused."""
    found = []
    for row in await database.call("pauses", aside=True):
        *columns, host, pid = row
        found.append(PauseOnRecord(Pause(*columns), None if host is None else f"{host}:{pid}"))
    return found


async def waiting(database: Database, org: str | None = None) -> Waiting:
    """Count what waits, of an organisation or of all."""
    row = (await database.call("waiting_of", org, MOST_COUNTED, NEWEST, aside=True))[0]
    return Waiting(**row)


async def set_limit(database: Database, change: Limit, *, reason: str | None, by: str) -> Limit:
    """Set what is given of a limit, keep the rest of it, and return all that is in force then."""
    rows = await database.call(
        "set_limit", change.scope, change.name, change.running, change.rate, change.burst, change.weight,
        reason, by, aside=True,
    )  # fmt: skip
    return Limit(change.scope, change.name, **rows[0])


async def clear_limit(
    database: Database, scope: Scope, name: str = NO_ORG, *, by: str, reason: str | None = None
) -> Cleared:
    """Remove a limit that was set by command; one of a setting stays, and counts again."""
    found = {
        source: Limit(scope, name, *values)
        for source, *values in await database.call("clear_limit", scope, name, by, reason, aside=True)
    }
    return Cleared(found.get("command"), found.get("setting"))


async def limits(database: Database) -> list[LimitOnRecord]:
    """List the limits, and what waits and runs under them."""
    found = []
    for row in await database.call("limits", MOST_COUNTED, aside=True):
        columns = dict(row)
        limit = Limit(**{name: columns.pop(name) for name in Limit._fields})
        found.append(LimitOnRecord(limit, **columns))
    return found


def limit_as_record(one: LimitOnRecord) -> dict[str, Any]:
    record = one._asdict()
    return {**record.pop("limit")._asdict(), **record}


def pause_as_record(pause: Pause, where: str | None = None) -> dict[str, Any]:
    return {
        "scope": pause.scope, "name": pause.name, "reason": pause.reason, "by": pause.paused_by,
        "since": pause.paused_at, "until": pause.ends_at, **({"place": where} if where else {}),
    }  # fmt: skip
