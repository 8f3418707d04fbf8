"""Tells what is kept, since when and how it grows, and deletes what is older than an operator says."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from worker.errors import WorkerError
from worker.operations import audit, counts
from worker.operations.ownership import is_owner
from worker.postgres.database import Database
from worker.settings import Settings

_DAY_SECONDS = 86_400
_AT_ONCE = 500
_COUNTED_OF_A_DAY = 200_000
_LOOKED_AT_ONCE = 5_000
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_AGE = re.compile(r"(\d{1,4})([hd])")
_UNITS = {"h": "hours", "d": "days"}
_WITH_REQUESTS = ("recorded_transitions", "confirmed_leases", "attempts")


class TooYoung(WorkerError):
    """This role may not delete what is as young as that."""


class Kept(NamedTuple):
    """A table, and how it grows. What is not known is None."""

    name: str
    rows: int | None  # about: as Postgres last counted them
    table_bytes: int
    index_bytes: int
    since: datetime | None
    day_rows: float | None  # of the last day
    day_bytes: float | None  # what these take


class Status(NamedTuple):
    """What is kept, and by which rules."""

    tables: list[Kept]
    requests: int
    retention_days: list[float]  # of live workers
    kept_at_least: float  # seconds


class Old(NamedTuple):
    """How many may go, or have gone; and how many that are old are kept, since their request is on record."""

    gone: int = 0
    kept: int = 0
    looked: int = 0
    months: int = 0  # of sessions, each as a whole: about how many that are is in `gone`, too


Report = Callable[[Old], None]


def age(text: str) -> timedelta:
    """Read how long ago something has to be, as 12h or 7d. Raises ValueError."""
    found = _AGE.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise ValueError("how long ago, as 12h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


async def status(database: Database, lease_seconds: float) -> Status:
    """Look what is kept. It reads sizes, ends of indexes and kept counts: quick however much there is."""
    rows = await database.call("kept", _COUNTED_OF_A_DAY, aside=True)
    kept = await counts.kept(database)
    requests = sum(each.number for each in kept)
    completed = sum(each.number for each in kept if each.status == "completed")
    day = next(
        (_rows_of_a_day(row["day_rows"], row["day_seconds"]) for row in rows if row["name"] == "requests"),
        0.0,
    )
    tables = []
    for row in rows:
        name, number, of_a_day = row["name"], row["rows"], None
        if row["day_rows"] is not None:
            of_a_day = _rows_of_a_day(row["day_rows"], row["day_seconds"])
        if name == "requests":
            number = requests
        elif name in _WITH_REQUESTS and number and requests:
            of_a_day = number * day / requests
        elif name == "sessions" and requests:
            of_a_day = day * completed / requests
        size = row["table_bytes"] + row["index_bytes"]
        tables.append(
            Kept(
                name=name, rows=number, table_bytes=row["table_bytes"], index_bytes=row["index_bytes"],
                since=row["since"], day_rows=of_a_day,
                day_bytes=None if of_a_day is None else of_a_day * size / max(number or 0, of_a_day, 1),
            )
        )  # fmt: skip
    ((least,),) = await database.call("kept_at_least", aside=True)
    workers = await database.call("retention_of_workers", lease_seconds, aside=True)
    return Status(tables, requests, [row["days"] for row in workers], least)


def _rows_of_a_day(rows: int, seconds: float) -> float:
    return rows * _DAY_SECONDS / max(seconds, 1)


async def old_requests(database: Database, age: timedelta, report: Report, most: int | None = None) -> Old:
    """Count the finished requests that are older than this; not beyond `most`."""
    found, reached = Old(), _FIRST
    while rows := await database.call(
        "old_requests", reached, age.total_seconds(), _LOOKED_AT_ONCE, aside=True
    ):
        ((looked, reached, old),) = rows
        found = Old(found.gone + old, 0, found.looked + looked)
        report(found)
        if most is not None and found.gone >= most:
            break
    return found


async def run(
    database: Database, age: timedelta, report: Report, *, who: str, reason: str | None, rate: float
) -> Old:
    """Delete the finished requests that are older than this with their history, as workers do. Raises
    TooYoung where the role may not.
    """
    await require_age(database, age)
    clock = asyncio.get_running_loop().time
    about = json.dumps({"older_than_days": age / timedelta(days=1), "run": audit.new_run()})
    done, reached = Old(), None
    while True:
        begun = clock()
        ((retired, reached),) = await database.call(
            "retire_by_hand", age.total_seconds(), at_once(rate), reached, who, reason, about, aside=True
        )
        done = done._replace(gone=done.gone + retired)
        report(done)
        if reached is None:
            return done
        await asyncio.sleep(max(0, begun + retired / rate - clock()))


async def require_age(database: Database, age: timedelta) -> None:
    """Raise TooYoung unless the role may delete what is so old."""
    owner, role = await is_owner(database)
    ((least,),) = await database.call("kept_at_least", aside=True)
    if not owner and age.total_seconds() < least:
        raise TooYoung(
            f"{role} may delete nothing younger than {timedelta(seconds=least)}: only the owner of the "
            "tables may. Set DATABASE_URL to the role that runs `session-worker migrate`"
        )


def at_once(rate: float) -> int:
    return max(1, min(_AT_ONCE, round(rate)))


def rules_as_record(found: Status, settings: Settings) -> dict[str, Any]:
    """Say by which rules things are deleted."""
    return {
        "retention_days_of_workers": found.retention_days, "retention_days": settings.retention_days,
        "audit_days": settings.audit_days, "dead_letter_days": settings.dead_letter_days,
        "kept_at_least_seconds": found.kept_at_least,
    }  # fmt: skip
