"""Groups failures by code, reason, place and build: when they came, how many, and of whom."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from worker.operations import counts
from worker.postgres.database import Database

LOOKED_AT = 5_000  # failures for one page
PARTS = 24  # of the time, in the line of a group
MOST_GROUPS = 50
_LAST = datetime.max.replace(tzinfo=UTC)


class Group(NamedTuple):
    """Failures that are alike, of those that were looked at."""

    code: str
    reason: str | None
    place: str | None  # as in `muting.Alike`
    build: str | None
    number: int
    first_at: datetime
    last_at: datetime
    orgs: int
    example: UUID  # the last one
    parts: list[int]  # how many of them in each part of the time
    mute: UUID | None  # of the group, while it is muted


class Failures(NamedTuple):
    """The groups of the failures in a time, the largest first, and how far it was looked for them."""

    groups: list[Group]  # also those that are muted
    kinds: int  # groups there are that are not, of which the largest are here
    looked: int
    cut: Mapping[str, datetime]  # by code ('': all): before this nothing was looked at, there may be more


async def failures(
    database: Database,
    since: datetime,
    until: datetime | None,
    *,
    org: str | None = None,
    code: str | None = None,
    now: datetime | None = None,
) -> Failures:
    """Group what was received in this time and failed: the last ones of each code, at most so many of all.

    Of a code that fails often only the last ones are looked at; so it hides no other. Without an end the time
    goes up to `now`; what has come later by the clock of Postgres is of its last part.
    """
    known = sorted({each.code for each in await counts.kept(database) if each.code is not None})
    codes = [each for each in known if code in (None, each)]
    most = LOOKED_AT if org is not None else LOOKED_AT // max(1, len(codes))
    rows = await database.call(
        "failures", codes, org, since, until or _LAST, most, PARTS, MOST_GROUPS,
        until or now or datetime.now(UTC), aside=True,
    )  # fmt: skip
    found = [row for row in rows if row["code"] is not None]
    return Failures(
        groups=[_group(row) for row in found],
        kinds=found[0]["kinds"] if found else 0,
        looked=rows[0]["looked"] if rows else 0,
        cut=_cut(rows, most, of_org=org is not None),
    )


def _group(row: Mapping[str, Any]) -> Group:
    parts = [0] * PARTS
    for part in row["parts"]:
        parts[min(max(part, 0), PARTS - 1)] += 1
    return Group(**{name: row[name] for name in Group._fields if name != "parts"}, parts=parts)


def _cut(rows: list[Any], most: int, *, of_org: bool) -> dict[str, datetime]:
    if of_org:
        return {"": rows[0]["reached"]} if rows and rows[0]["looked"] >= most else {}
    return {row["code"]: row["code_reached"] for row in rows if row["code"] and row["of_code"] >= most}
