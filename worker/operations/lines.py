"""Tells what waits: what is due for another attempt, and what is held back, by reason and by organisation."""

from datetime import datetime
from typing import Literal, NamedTuple

from worker.postgres.database import Database
from worker.rules import Limit, WaitReason

MOST_COUNTED = 50_000  # of what waits, and of what is due
_OF_AN_ORG = 5_000

LimitedBy = Literal[
    "no_worker", "paused", "not_before", "rate", "running", "rate_of_all", "running_of_all", "breaker",
    "handler", "share",
]  # fmt: skip


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


class Overall(NamedTuple):
    """What may hold back all that waits."""

    held_by: Literal["paused", "rate", "running"] | None  # a pause, or a limit, of all together
    workers: int  # that live and are not paused
    calls: int  # of their handlers, that ran when they told of it last
    most_calls: int  # that may run; 0 without a handler
    full_up: bool  # all of them run

    @property
    def limited_by(self) -> LimitedBy | None:
        """Return what limits all alike; None: nothing does."""
        match self.held_by:
            case "paused":
                return "paused"
            case _ if not self.workers:
                return "no_worker"
            case "rate":
                return "rate_of_all"
            case "running":
                return "running_of_all"
            case None:
                return "handler" if self.full_up else None

    def in_words(self, limit: LimitedBy) -> str:
        """Write what limits something; the handler with its calls."""
        calls = f" {self.calls:,}/{self.most_calls:,}" if limit == "handler" else ""
        return limit.replace("_", " ") + calls


class Line(NamedTuple):
    """An organisation that has something in line."""

    org: str  # '' for requests without one
    waiting: int  # at least
    running: int  # unfinished, but not in line
    oldest_seconds: float  # since the first of them could have begun; below zero: until it may
    share: float
    limited_by: LimitedBy
    asleep_until: datetime | None  # nothing of it may begin before this, for that reason
    paused: bool
    limit: Limit  # in force for it: its own, and for what that leaves open those of each


class Waiting(NamedTuple):
    """All that waits now."""

    due: Due
    reasons: list[Reason]
    overall: Overall
    lines: list[Line]  # those in which the most waits
    number: int  # of all lines


async def look(database: Database, most: int, lease_seconds: float) -> Waiting:
    """Look what waits; of `most` organisations by themselves."""
    (due,) = await database.call("put_off", MOST_COUNTED, aside=True)
    reasons = await database.call("count_waiting", MOST_COUNTED, aside=True)
    whole = await overall(database, lease_seconds)
    rows = await database.call("longest_lines", most, _OF_AN_ORG, aside=True)
    return Waiting(
        due=Due(**due),
        reasons=sorted((Reason(**row) for row in reasons), key=lambda each: -each.waiting),
        overall=whole,
        lines=[_line(whole, **row) for row in rows],
        number=rows[0]["number"] if rows else 0,
    )


async def overall(database: Database, lease_seconds: float) -> Overall:
    """Look what may hold back all that waits. A worker lives if it was heard of within half of its lease."""
    (row,) = await database.call("overall", lease_seconds, aside=True)
    return Overall(**row)


def limited_by(
    whole: Overall, *, paused: bool, asleep_for: LimitedBy | None, waits_for: WaitReason | None
) -> LimitedBy:
    """Say what a line waits for: what comes first of all that holds it back, by itself or with all others.

    `asleep_for`: why it was laid to rest; `waits_for`: why its first request was put in line.
    """
    of_all = whole.limited_by
    if paused:
        return "paused"
    if of_all in ("paused", "no_worker"):
        return of_all
    if asleep_for is not None:
        return asleep_for
    if of_all in ("rate_of_all", "running_of_all"):
        return of_all
    if waits_for == "breaker":
        return "breaker"
    return of_all or "share"


def _line(
    whole: Overall,
    *,
    org: str,
    number: int,  # noqa: ARG001 — of all lines
    asleep_for: LimitedBy | None,
    waits_for: WaitReason | None,
    asleep_until: datetime | None,
    paused: bool,
    **row: object,
) -> Line:
    values = {name: row.pop(name) for name in ("running_limit", "rate", "burst", "weight")}
    limit = Limit("org", org, values.pop("running_limit"), **values)  # type: ignore[arg-type]  # as the row has them
    held = limited_by(whole, paused=paused, asleep_for=asleep_for, waits_for=waits_for)
    return Line(
        org=org, limit=limit, limited_by=held, asleep_until=asleep_until if held == asleep_for else None,
        paused=paused, **row,  # type: ignore[arg-type]  # as above
    )  # fmt: skip
