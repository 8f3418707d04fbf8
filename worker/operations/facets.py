"""Tells what the requests that match have in common, and when they came, to narrow a filter down."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from worker.operations import listing
from worker.operations.filters import Filter, Page
from worker.operations.listing import Listing
from worker.postgres.database import Database

KINDS = ("org", "code", "reason", "build", "worker")
MOST_SHOWN = 8  # of each kind
COUNTED = 2_000  # requests that match, the last ones: what they have in common is told of these
PARTS = 60  # of the time, in the histogram
_ORGS_FOUND = 20
_MOST_TAKEN_AWAY = 4

Row = Mapping[str, Any]


class Facet(NamedTuple):
    """The most frequent values of one kind, and how many there are of it."""

    by: str
    groups: list[tuple[str, int]]
    kinds: int


class Histogram(NamedTuple):
    """How many were received in each part of a time, by where they stand."""

    first: datetime
    last: datetime
    states: dict[str, list[int]]


class Explored(NamedTuple):
    """A page of what matches, and what those that were looked at have in common."""

    listing: Listing
    facets: list[Facet]
    histogram: Histogram | None  # None: nothing matches
    counted: int  # requests that facets and histogram are of
    reasons_of: int  # and the reasons, of which fewer are asked for


class Without(NamedTuple):
    """How many would match if one filter were taken away."""

    name: str
    number: int
    exact: bool


async def explore(database: Database, wanted: Filter, shown: Page) -> Explored:
    """List what matches as `listing.page` does, and count what the last ones of it have in common."""
    found = await listing.matching(database, wanted, shown, at_least=COUNTED)
    page = await listing.page_of(database, wanted, shown, found)
    whole = not found.cut and shown.after is None and len(found.ids) == found.matching
    rows = await database.call(
        "facets", found.ids, MOST_SHOWN, wanted.since if whole else None, wanted.until if whole else None,
        PARTS, aside=True,
    )  # fmt: skip
    reasons = Facet("reason", page.reasons[:MOST_SHOWN], len(page.reasons))
    facets = [reasons if by == "reason" else _facet(by, rows) for by in KINDS]
    return Explored(
        listing=page,
        facets=[facet for facet in facets if facet.groups],
        histogram=_histogram(rows),
        counted=len(found.ids),
        reasons_of=min(len(found.ids), listing.GROUPED),
    )


async def without_each(database: Database, wanted: Filter) -> list[Without]:
    """Count what would match without each of the filters, of a few of them."""
    given = [name for name, value in wanted._asdict().items() if value is not None]
    found = []
    for name in given[:_MOST_TAKEN_AWAY]:
        page = await listing.page(database, wanted._replace(**{name: None}), Page(limit=1))
        found.append(Without(name, page.number, page.exact))
    return found


async def orgs_like(database: Database, text: str) -> list[tuple[str, int]]:
    """Find organisations by a part of their name, and how many requests of each are on record."""
    return [
        (name, number) for name, number in await database.call("orgs_like", text, _ORGS_FOUND, aside=True)
    ]


def _facet(by: str, rows: Sequence[Row]) -> Facet:
    mine = [row for row in rows if row["by"] == by]
    return Facet(by, [(row["name"], row["number"]) for row in mine], mine[0]["kinds"] if mine else 0)


def _histogram(rows: Sequence[Row]) -> Histogram | None:
    mine = [row for row in rows if row["by"] == "when"]
    if not mine:
        return None
    states = {row["name"]: [0] * PARTS for row in mine}
    for row in mine:
        states[row["name"]][row["part"]] = row["number"]
    return Histogram(mine[0]["first_at"], mine[0]["last_at"], states)
