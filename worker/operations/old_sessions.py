"""Tells which sessions ended long ago, and deletes them: whole months at once, and the others one by one."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from worker.operations import audit
from worker.operations.ownership import require_owner
from worker.operations.retention import Old, Report, at_once
from worker.postgres.database import Database

DELETES_SESSIONS = "delete sessions"  # which is for the owner
_LOOKED_AT_ONCE = 5_000
_LOCK_AGAIN_SECONDS = 10.0


class Month(NamedTuple):
    """A month of sessions that is over, or the time before there were months."""

    name: str  # of its table
    rows: int  # about: as Postgres last counted them
    kept_by: str | None  # active, young or on record: why it stays; None: all of it may go


async def months(database: Database, before: datetime) -> list[Month]:
    """List the months that are over, the oldest first, and say which of them ended before then."""
    return [Month(**row) for row in await database.call("session_months", before, aside=True)]


async def count(database: Database, before: datetime, report: Report) -> Old:
    """Count the sessions that ended before then: those of whole months, and those that are in no month."""
    whole = [month for month in await months(database, before) if month.kept_by is None]
    found, reached = Old(gone=sum(month.rows for month in whole), months=len(whole)), ""
    names = [month.name for month in whole]
    while rows := await database.call("ended_sessions", reached, before, _LOOKED_AT_ONCE, names, aside=True):
        found, reached = _added(found, rows), rows[0]["reached"]
        report(found)
    return found


async def retire(
    database: Database, before: datetime, report: Report, *, who: str, reason: str | None, rate: float
) -> Old:
    """Delete the sessions that ended before then. One whose request is on record stays, and so does its
    month: a completed request has its session. Raises NotOwner.
    """
    await require_owner(database, DELETES_SESSIONS)
    about = json.dumps({"ended_before": before.isoformat(), "run": audit.new_run()})
    done = Old()
    for month in await months(database, before):
        if month.kept_by is None:
            done = await _drop(database, month, before, done, (who, reason, about))
            report(done)
    clock, reached = asyncio.get_running_loop().time, ""
    while True:
        begun = clock()
        rows = await database.call(
            "retire_sessions", reached, before, at_once(rate), who, reason, about, aside=True
        )
        if not rows:
            return done
        done, reached = _added(done, rows), rows[0]["reached"]
        report(done)
        await asyncio.sleep(max(0, begun + rows[0]["gone"] / rate - clock()))


async def _drop(
    database: Database, month: Month, before: datetime, done: Old, noted: tuple[str, str | None, str]
) -> Old:
    """Drop a month. While somebody holds its lock for long, it is tried again and again."""
    while True:
        ((dropped, sessions),) = await database.call("drop_sessions", month.name, before, *noted, aside=True)
        if dropped is not None:
            return done._replace(gone=done.gone + (sessions or 0), months=done.months + dropped)
        await asyncio.sleep(_LOCK_AGAIN_SECONDS)


def _added(old: Old, rows: Sequence[dict[str, int]]) -> Old:
    (row,) = rows
    return old._replace(
        gone=old.gone + row["gone"], kept=old.kept + row["kept"], looked=old.looked + row["looked"]
    )
