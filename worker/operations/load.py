"""Tells what is at work now: how many come and go in a second, of whom, and what fails."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from worker.operations import counts, listing, overview
from worker.operations.filters import Filter, Page
from worker.operations.overview import LiveWorker, Org
from worker.postgres.database import Database

_RECENT = timedelta(minutes=10)
_SHOWN = 5


class Counts(NamedTuple):
    """How many requests there are on record."""

    unfinished: int
    completed: int
    failed: int


class Load(NamedTuple):
    """What there is at some time; organisations and reasons are of the last ten minutes."""

    at: datetime
    counts: Counts
    orgs: list[Org]
    workers: list[LiveWorker]
    reasons: list[tuple[str, int]]


class Rates(NamedTuple):
    """So many requests a second came and ended. Where some were deleted as old, too few."""

    received: float
    completed: float
    failed: float


async def look(database: Database, lease_seconds: float) -> Load:
    """Look what there is now."""
    at = datetime.now(UTC)
    kept = await counts.kept(database)
    of = {
        status: sum(each.number for each in kept if each.status == status)
        for status in ("pending", "processing", "completed", "failed")
    }
    failed = await listing.page(database, Filter(status="failed", since=at - _RECENT), Page(limit=1))
    return Load(
        at=at,
        counts=Counts(of["pending"] + of["processing"], of["completed"], of["failed"]),
        orgs=await overview.orgs(database, at - _RECENT, _SHOWN),
        workers=await overview.workers(database, lease_seconds),
        reasons=failed.reasons[:_SHOWN],
    )


def rates(before: Load, now: Load) -> Rates:
    """Compare two looks."""
    seconds = (now.at - before.at).total_seconds()
    unfinished, completed, failed = (
        (later - earlier) / seconds for later, earlier in zip(now.counts, before.counts, strict=True)
    )
    return Rates(max(0.0, unfinished + completed + failed), max(0.0, completed), max(0.0, failed))
