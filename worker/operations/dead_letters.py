"""Looks into the custody of dead letters, and drops or restores some."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from worker.messages.custody import open_body
from worker.messages.sealing import SealKeys
from worker.postgres.database import Database
from worker.postgres.dead_letters import RESTORABLE_SECONDS, Custody

State = Literal["kept", "replayed", "dropped"]
Grouping = Literal["reason", "app", "field", "hour"]


class Filter(NamedTuple):
    """Says which dead letters are meant; None leaves a question open."""

    state: State = "kept"
    ids: tuple[UUID, ...] | None = None
    app: str | None = None  # '' for those without one
    user: str | None = None
    kind: str | None = None
    part: str | None = None  # of the reason
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether it leaves all questions open."""
        return self[1:] == Filter()[1:]

    @property
    def told(self) -> dict[str, Any]:
        """What was asked for, as the audit keeps it."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        del given["state"]
        if self.ids is not None:
            given["ids"] = [str(each) for each in self.ids]
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()
        }


class Group(NamedTuple):
    """Dead letters that have something in common."""

    name: str
    messages: int
    first_at: datetime
    last_at: datetime
    apps: tuple[str, ...]
    example: UUID


class Listed(NamedTuple):
    """What is known of a dead letter, without its body."""

    id: UUID
    size: int
    reason: str
    kind: str
    app_id: str | None
    user_id: str | None
    exchange: str | None
    routing_key: str | None
    request_id: UUID | None
    died_at: datetime
    kept_at: datetime
    state: State
    ended_at: datetime | None
    ended_by: str | None
    ended_reason: str | None
    sent_to: str | None


class Whole(NamedTuple):
    """A dead letter with its message; the body is open."""

    about: Listed
    properties: dict[str, Any]
    headers: dict[str, Any]
    body: bytes


class Page(NamedTuple):
    """The newest dead letters that a filter finds, and how many it finds."""

    letters: list[Listed]
    found: int


async def groups(database: Database, which: Filter, by: Grouping) -> list[Group]:
    """Group the dead letters that the filter finds, the largest group first."""
    rows = await database.call("dead_letter_groups", *_given(which), by, aside=True)
    return [Group(**{**row, "apps": tuple(row["apps"] or ())}) for row in rows]


async def page(database: Database, which: Filter, most: int, after: UUID | None = None) -> Page:
    """List the newest that the filter finds, those that follow `after`."""
    rows = await database.call("dead_letter_list", *_given(which), most, after, aside=True)
    return Page([_listed(row) for row in rows], rows[0]["found"] if rows else 0)


async def select(database: Database, which: Filter) -> list[UUID]:
    """Freeze a selection: the ids of those that the filter finds now, the oldest first."""
    return [row["id"] for row in await database.call("dead_letter_ids", *_given(which), aside=True)]


async def read(database: Database, ids: Sequence[UUID], keys: SealKeys) -> list[Whole]:
    """Read these with their bodies; raises SealError where a key is missing."""
    return [
        Whole(
            about=_listed(row),
            properties=json.loads(row["properties"]),
            headers=json.loads(row["headers"]),
            body=open_body(row["body"], row["sealed_by"], row["id"], keys),
        )
        for row in await database.call("dead_letters", list(ids), aside=True)
    ]


async def drop(
    database: Database, ids: Sequence[UUID], *, reason: str, by: str, about: Mapping[str, Any]
) -> list[UUID]:
    """Drop these; for a week they can be restored. Return those that were still kept. `about`: how they were
    chosen, for the audit.
    """
    rows = await database.call("drop_dead_letters", list(ids), by, reason, json.dumps(about), aside=True)
    return [row["id"] for row in rows]


async def restore(
    database: Database, ids: Sequence[UUID], *, reason: str | None, by: str, about: Mapping[str, Any]
) -> list[UUID]:
    """Put back what was dropped, and return those that were restored."""
    rows = await database.call(
        "restore_dead_letters", list(ids), by, reason, json.dumps(about), RESTORABLE_SECONDS, aside=True
    )
    return [row["id"] for row in rows]


async def count(database: Database, most: int) -> int:
    """Count those in custody, up to `most`."""
    return await Custody(database).count(most)


def _given(which: Filter) -> tuple[object, ...]:
    return which._replace(ids=None if which.ids is None else list(which.ids))  # type: ignore[arg-type]  # Postgres wants a list


def _listed(row: Any) -> Listed:  # noqa: ANN401 — a row of the driver
    return Listed(**{name: row[name] for name in Listed._fields})
