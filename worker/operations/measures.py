"""Tells how it went in the last hours, from what the elected worker has written down."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from worker.monitoring.handler_calls import SECONDS
from worker.postgres.database import Database

FRESH_SECONDS = 30.0  # a row that is older says nothing of now: no worker measures


class Measure(NamedTuple):
    """What there was at a time."""

    at: datetime
    unfinished: int  # requests on record
    completed: int
    failed: int
    answered: Sequence[int]  # since the row before, by how long they took
    queued: int | None  # messages in the request queue; None: the broker did not tell
    unread: int | None  # in the response queue
    dead: int | None  # in the queue of dead letters
    oldest: float  # seconds
    due: int
    overdue: float
    waiting: dict[str, int]  # by reason
    unanswered: int
    builds: Sequence[str]


class Step(NamedTuple):
    """What came and went in a part of the course. None: nothing was measured then."""

    at: datetime  # its end
    seconds: float  # for how long it was measured
    received: float | None  # a second
    completed: float | None
    failed: float | None
    p50: float | None  # seconds, of all answers, also of those that were tried again
    p99: float | None
    last: Measure | None


class Deploy(NamedTuple):
    """A build that lived from then on and had not before."""

    at: datetime
    build: str


async def measures(database: Database, since: datetime) -> list[Measure]:
    """Read the rows since then, the oldest first."""
    return [_measure(row) for row in await database.call("measures", since, aside=True)]


async def newest(database: Database) -> Measure | None:
    """Read the newest row; None: nobody has ever measured."""
    rows = await database.call("newest_measure", aside=True)
    return _measure(rows[0]) if rows else None


def _measure(row: Mapping[str, Any]) -> Measure:
    return Measure(**{**row, "waiting": json.loads(row["waiting"])})


def steps(rows: Sequence[Measure], begin: datetime, end: datetime, number: int) -> list[Step]:
    """Divide the course into so many steps. What was deleted as old counts as never received."""
    length = (end - begin) / number
    found: list[list[tuple[Measure, Measure]]] = [[] for _ in range(number)]
    for before, row in pairwise(rows):
        if begin < row.at <= end:
            found[min(number, math.ceil((row.at - begin) / length)) - 1].append((before, row))
    return [_step(begin + length * (index + 1), pairs) for index, pairs in enumerate(found)]


def _step(at: datetime, pairs: Sequence[tuple[Measure, Measure]]) -> Step:
    if not pairs:
        return Step(at, 0.0, None, None, None, None, None, None)
    first, last = pairs[0][0], pairs[-1][1]
    seconds = (last.at - first.at).total_seconds()
    unfinished, completed, failed = (
        getattr(last, name) - getattr(first, name) for name in ("unfinished", "completed", "failed")
    )
    answered = [
        sum(row.answered[bucket] for _, row in pairs if bucket < len(row.answered))
        for bucket in range(len(SECONDS) + 1)
    ]
    return Step(
        at=at,
        seconds=seconds,
        received=max(0, unfinished + completed + failed) / seconds,
        completed=max(0, completed) / seconds,
        failed=max(0, failed) / seconds,
        p50=quantile(answered, 0.5),
        p99=quantile(answered, 0.99),
        last=last,
    )


def quantile(answered: Sequence[int], share: float) -> float | None:
    """Return how long the answers took at most but for this share of them: within its bucket, evenly."""
    wanted = sum(answered) * share
    below, lower = 0, 0.0
    for number, upper in zip(answered, (*SECONDS, SECONDS[-1]), strict=False):
        if number and below + number >= wanted:
            return lower + (upper - lower) * (wanted - below) / number
        below, lower = below + number, upper
    return None


def deploys(rows: Sequence[Measure]) -> list[Deploy]:
    """Tell when a build came that had not been there before."""
    known = set(rows[0].builds) if rows else set()
    found = []
    for row in rows:
        found += [Deploy(row.at, build) for build in row.builds if build not in known]
        known |= set(row.builds)
    return found
