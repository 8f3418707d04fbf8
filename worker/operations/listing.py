"""Finds the requests that a filter means: by an index, and looking at some at most, however many match."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from worker.operations import counts
from worker.operations.filters import Filter, Page
from worker.postgres.database import Database

LOOKED_AT = 5_000  # requests for one page: enough for most, and soon done
_FOR_A_REASON = 4  # times as long it takes to look at one, where the reason of its failure counts
GROUPED = 1_000  # of those that match: why they failed
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_LAST_ID = UUID(int=(1 << 128) - 1)
_UNORDERED = ("waiting", "waiting_of_org", "retrying", "processing")


class GoneError(LookupError):
    """The request that a page was to follow is not on record any more."""


class Listed(NamedTuple):
    """A request as a list shows it."""

    request_id: UUID
    org_id: str | None
    user_id: str | None
    status: str
    code: str | None
    attempt: int
    reason: str | None
    received_at: datetime
    finished_at: datetime | None
    took_seconds: float | None
    response: str
    session_id: str
    correlation_id: str | None
    reply_to: str | None
    worker: str | None
    build: str | None


class Found(NamedTuple):
    """Ids of requests that match, and how far it was looked for them."""

    ids: list[UUID]
    matching: int  # of those looked at
    looked: int
    cut: bool  # there may be more behind those
    more: UUID | None  # to go on after; None: there are no more
    tried: list[UUID]  # of the first ids, as many as are grouped: something of these may have failed
    workers: list[UUID]  # that had these first ones


class Listing(NamedTuple):
    """A page of what matches, and what there is besides."""

    requests: list[Listed]
    number: int  # of all that match
    exact: bool  # else there are as many at least
    reasons: list[tuple[str, int]]  # of those looked at, up to some number: why they failed
    builds: list[tuple[str, int]]
    looked: int
    cut: bool  # there may be more behind those
    more: UUID | None


async def page(database: Database, wanted: Filter, shown: Page) -> Listing:
    """List what matches, and count it: by the kept counts where they tell it, else among those looked at."""
    return await page_of(database, wanted, shown, await matching(database, wanted, shown, grouped=GROUPED))


async def page_of(database: Database, wanted: Filter, shown: Page, found: Found) -> Listing:
    """Make the page of what was found, as above."""
    groups: dict[str, list[tuple[str, int]]] = {"reason": [], "build": []}
    for by, name, number in await database.call("grouped", found.tried, found.workers, aside=True):
        groups[by].append((name, number))
    kept = await _kept(database, wanted)
    return Listing(
        requests=await listed(database, found.ids[: shown.limit]),
        number=found.matching if kept is None else kept,
        exact=kept is not None or (not found.cut and shown.after is None),
        reasons=groups["reason"],
        builds=groups["build"],
        looked=found.looked,
        cut=found.cut,
        more=found.more,
    )


async def listed(database: Database, ids: Sequence[UUID]) -> list[Listed]:
    """Read these requests as a list shows them, in this order; one that is gone meanwhile is left out."""
    return [Listed(**row) for row in await database.call("listed", ids, aside=True)]


async def matching(
    database: Database, wanted: Filter, shown: Page, *, at_least: int = 0, grouped: int = 0
) -> Found:
    """Find a page of what matches, and return `at_least` as many ids, as long as there are so many; of the
    first ones, so many as are `grouped`, also what that takes.
    """
    last, last_id, place = _until(wanted), _LAST_ID, None
    if shown.after is not None:
        rows = await database.call("place_of", shown.after, aside=True)
        if not rows:
            raise GoneError(f"request {shown.after}, after which the page begins, is not on record any more")
        received_at, finished, took = rows[0]
        if shown.sort == "received":
            last, last_id = min((last, last_id), (received_at, shown.after))
        else:
            place = finished if shown.sort == "finished" else took
            place = float("-inf") if place is None else place
    number = max(shown.limit + 1, at_least, grouped)
    bound = LOOKED_AT if wanted.reason is None else max(1, LOOKED_AT // _FOR_A_REASON)
    for way, key in _ways(wanted):
        for most in _looks(wanted, shown, number, bound):
            rows = await database.call(
                "matching", way, wanted.org, wanted.since or _FIRST, last, last_id, key, most,
                *_conditions(wanted), place, shown.after, number, shown.sort, grouped, aside=True,
            )  # fmt: skip
            looked, reached, count, ids, tried, workers = rows[0]
            if looked < most or len(ids) == number:
                break
        if 0 < looked < bound or way not in _UNORDERED:
            break
    more = None
    if len(ids) > shown.limit:
        more = ids[shown.limit - 1]
    elif looked >= bound and shown.sort == "received":
        more = reached  # nothing more among those looked at: it goes on behind them
    return Found(
        ids=ids[: max(shown.limit, at_least)],
        matching=count,
        looked=looked,
        cut=looked >= bound,
        more=more,
        tried=tried,
        workers=workers,
    )


def _ways(wanted: Filter) -> Sequence[tuple[str, str | None]]:
    """Choose the index that leads to the fewest. The next one is taken where that leads to too many, in no
    order, or to none: what is stuck may have no lease.
    """
    of_org = wanted.org is not None
    by_time: list[tuple[str, str | None]] = [("org" if of_org else "newest", None)]
    if wanted.session is not None:
        return [("session", wanted.session)]
    if wanted.correlation is not None:
        return [("correlation", wanted.correlation)]
    if wanted.status == "waiting":
        return [("waiting_of_org" if of_org else "waiting", None), *by_time]
    if wanted.status in ("retrying", "processing"):
        return [(wanted.status, None), *by_time]
    if wanted.status == "failed" or wanted.code is not None:
        way = "failed_of_org" if of_org else "failed" if wanted.code is None else "code"
        return [(way, wanted.code)]
    return by_time


def _looks(wanted: Filter, shown: Page, number: int, bound: int) -> Sequence[int]:
    """Choose at how many to look: where the kept counts tell how many match, first whether few are enough."""
    few = 2 * number
    if _is_kept(wanted) and shown.sort == "received" and few < bound:
        return (few, bound)
    return (bound,)


def _conditions(wanted: Filter) -> tuple[Any, ...]:
    return (
        wanted.user, wanted.status, wanted.code, wanted.worker, wanted.build, wanted.session,
        wanted.correlation, wanted.reply_to, wanted.response, wanted.attempt, wanted.reason,
    )  # fmt: skip


def _until(wanted: Filter) -> datetime:
    """Return the last time at which a request may have been received."""
    if wanted.until is None:
        return _LAST
    return _FIRST if wanted.until <= _FIRST else wanted.until - timedelta(microseconds=1)


async def _kept(database: Database, wanted: Filter) -> int | None:
    """Count what matches by the kept counts; None where they do not tell it."""
    if not _is_kept(wanted):
        return None
    return sum(
        each.number
        for each in await counts.kept(database, wanted.org)
        if (wanted.status in (None, each.status)) and (wanted.code in (None, each.code))
    )


def _is_kept(wanted: Filter) -> bool:
    others = wanted._replace(org=None, status=None, code=None)
    unfinished = wanted.status in ("waiting", "processing", "retrying")
    return others == Filter() and wanted.org != "" and not unfinished


def as_record(found: Listing) -> dict[str, Any]:
    """Say what a list is of; its requests are records of their own."""
    return {
        "matching": found.number, "exact": found.exact, "looked_at": found.looked, "more": found.more,
        "reasons": dict(found.reasons), "builds": dict(found.builds),
    }  # fmt: skip
