"""Tells what waits: what is due for another attempt, and what is held back, by reason and by organisation."""

from datetime import datetime
from typing import NamedTuple

from worker.postgres.database import Database
from worker.rules import Limit, WaitReason

MOST_COUNTED = 50_000  # of what waits, and of what is due
_OF_AN_ORG = 5_000


class Due(NamedTuple):
    """Requests that wait for their time: for another attempt or, in line, for their deadline. Each number is
    counted up to a bound.
    """

    due: int
    overdue_seconds: float  # of the oldest one that is due
    next_minute: int
    put_off: int  # for another attempt, due or not


class Reason(NamedTuple):
    """How many wait for the same reason; the oldest could have begun so long ago."""

    reason: WaitReason
    waiting: int
    oldest_seconds: float


class Line(NamedTuple):
    """An organisation that has something in line."""

    org: str  # '' for requests without one
    waiting: int  # at least
    running: int  # unfinished, but not in line
    oldest_seconds: float  # since the first of them could have begun; below zero: until it may
    share: float
    asleep_for: str | None  # why nothing of it may begin now
    asleep_until: datetime | None
    paused: bool
    limit: Limit  # in force for it: its own, and for what that leaves open those of each


class Waiting(NamedTuple):
    """All that waits now."""

    due: Due
    reasons: list[Reason]
    lines: list[Line]  # those in which the most waits
    number: int  # of all lines


async def look(database: Database, most: int) -> Waiting:
    """Look what waits; of `most` organisations by themselves."""
    (due,) = await database.call("put_off", MOST_COUNTED, aside=True)
    reasons = await database.call("count_waiting", MOST_COUNTED, aside=True)
    rows = await database.call("longest_lines", most, _OF_AN_ORG, aside=True)
    return Waiting(
        due=Due(**due),
        reasons=sorted((Reason(**row) for row in reasons), key=lambda each: -each.waiting),
        lines=[_line(**row) for row in rows],
        number=rows[0]["number"] if rows else 0,
    )


def _line(*, org: str, number: int, **row: object) -> Line:  # noqa: ARG001 — the number is of all lines
    values = {name: row.pop(name) for name in ("running_limit", "rate", "burst", "weight")}
    limit = Limit("org", org, values.pop("running_limit"), **values)  # type: ignore[arg-type]  # as the row has them
    return Line(org=org, limit=limit, **row)  # type: ignore[arg-type]  # as above
