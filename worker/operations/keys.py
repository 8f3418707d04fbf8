"""Tells which rows are sealed with which key, and which workers have it.

No index says it: one would have to be kept on every request's way. So finished requests and sessions are read
through, some at a time, in an order that never changes: nothing that was there is passed by.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from worker.messages.sealing import SealKeys, keys_of
from worker.operations import audit
from worker.postgres.database import Database

Place = Literal["unfinished", "finished", "sessions", "custody", "repeats"]
PLACES: tuple[Place, ...] = get_args(Place)
"""unfinished: requests that a worker still has to open. finished: requests on record. custody: dead letters.
repeats: requests of which a repeat is known by this key alone; nothing of these is sealed.
"""
QUICK: tuple[Place, ...] = ("unfinished", "custody")
"""Those that are counted without reading everything."""

_AT_ONCE = 2_000
_ALL = sys.maxsize
_MOST_UNFINISHED = _MOST_RECENT_LETTERS = 100_000
_MOST_RECENT = 10_000
_FIRST, _FIRST_ID = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)
_Report = Callable[[Place, int], None]


class SealedRows(NamedTuple):
    """How many rows of one place need this key, and since when the oldest of them is there."""

    key: str
    place: Place
    rows: int
    oldest: datetime | None = None


class KeysOfWorker(NamedTuple):
    """The names of the keys that a live worker has, the first one seals."""

    worker: str  # host:pid
    keys: tuple[str, ...]


class _Found:
    """Adds up what is found, row by row or group by group."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, Place]] = Counter()
        self._oldest: dict[tuple[str, Place], datetime] = {}

    def add(self, key: str, place: Place, rows: int, oldest: datetime) -> None:
        what = key, place
        self.rows[what] += rows
        self._oldest[what] = min(oldest, self._oldest.get(what, oldest))

    def listed(self, places: Collection[Place]) -> list[SealedRows]:
        return [
            SealedRows(*what, rows, self._oldest[what])
            for what, rows in sorted(self.rows.items())
            if what[1] in places
        ]


def _nobody_asks(_place: Place, _looked: int) -> None:
    pass


async def rows_by_key(
    database: Database,
    places: Collection[Place] = PLACES,
    report: _Report = _nobody_asks,
    most_unfinished: int = _MOST_UNFINISHED,
) -> list[SealedRows]:
    """Count the rows of these places by the key that they need. `report` is told how many have been looked
    at. Of unfinished requests at most so many are counted each way that leads to them.
    """
    found = _Found()
    if "unfinished" in places:
        await _count_unfinished(database, found, most_unfinished)
    if "custody" in places:
        await _count_dead_letters(database, found, report)
    if "finished" in places or "repeats" in places:
        await _count_requests(database, found, report)
    if "sessions" in places:
        await _count_sessions(database, found, report)
    return found.listed(places)


async def recent_rows_by_key(database: Database) -> dict[str, int]:
    """Count the rows that need each key, within bounds: unfinished requests, dead letters in custody, and of
    the finished requests those among the newest 10,000.
    """
    found = _Found()
    await _count_unfinished(database, found, _MOST_UNFINISHED)
    await _count_dead_letters(database, found, _nobody_asks, _MOST_RECENT_LETTERS)
    ((since,),) = await database.call("since_newest", _MOST_RECENT, aside=True)
    if since is not None:
        await _count_requests(database, found, _nobody_asks, since, _MOST_RECENT)
    recent: Counter[str] = Counter()
    for (key, place), rows in found.rows.items():
        recent[key] += rows if place != "repeats" else 0
    return dict(+recent)


async def keys_of_workers(database: Database, lease_seconds: float) -> list[KeysOfWorker]:
    """List the live workers with the names of their keys."""
    rows = await database.call("keys_of_workers", lease_seconds, aside=True)
    return [KeysOfWorker(row["worker"], tuple(filter(None, row["keys"].split(",")))) for row in rows]


async def _count_unfinished(database: Database, found: _Found, most: int) -> None:
    for row in await database.call("keys_of_unfinished", most, aside=True):
        for key in _keys_of_body(row):
            found.add(key, "unfinished", row["number"], row["oldest"])


async def _count_requests(
    database: Database, found: _Found, report: _Report, since: datetime = _FIRST, most: int = _ALL
) -> None:
    received_at, request_id, looked = since, _FIRST_ID, 0
    while looked < most and (
        rows := await database.call("keys_of_requests", received_at, request_id, _AT_ONCE, aside=True)
    ):
        received_at, request_id = rows[0]["received_at"], rows[0]["request_id"]
        looked += rows[0]["looked"]
        for row in rows:
            if row["number"] is None:
                continue
            if row["marked_by"]:
                found.add(row["marked_by"], "repeats", row["number"], row["oldest"])
            if row["finished"]:
                for key in _keys_of_body(row):
                    found.add(key, "finished", row["number"], row["oldest"])
        report("finished", looked)


async def _count_sessions(database: Database, found: _Found, report: _Report) -> None:
    reached, looked = "", 0
    while rows := await database.call("keys_of_sessions", reached, _AT_ONCE, aside=True):
        reached = rows[0]["reached"]
        looked += rows[0]["looked"]
        for row in rows:
            if row["text"] is not None:
                for key in keys_of(json.loads(row["text"])):
                    found.add(key, "sessions", 1, row["created_at"])
        report("sessions", looked)


async def _count_dead_letters(database: Database, found: _Found, report: _Report, most: int = _ALL) -> None:
    reached, looked = _FIRST_ID, 0
    while looked < most and (
        rows := await database.call("keys_of_dead_letters", reached, _AT_ONCE, aside=True)
    ):
        reached = rows[0]["reached"]
        looked += rows[0]["looked"]
        for row in rows:
            if row["key"] is not None:
                found.add(row["key"], "custody", row["number"], row["oldest"])
        report("custody", looked)


def _keys_of_body(row: dict[str, object]) -> Collection[str]:
    """Tell which keys a request's secrets need: what looks sealed is not, where no secret may stand."""
    text, keys = row["text"], row["keys"]
    assert isinstance(keys, list)  # noqa: S101 — an array of Postgres
    return keys_of(json.loads(text)["payload"]) if isinstance(text, str) else keys


class Lacking(NamedTuple):
    """Rows need this key, and somebody has it not."""

    key: str
    place: Place
    rows: int
    here: bool  # it is not set here
    workers: tuple[str, ...]  # these live workers lack it


def lacking(
    rows: Sequence[SealedRows], here: Collection[str], workers: Sequence[KeysOfWorker]
) -> list[Lacking]:
    """Find the keys that somebody lacks. What is set here counts if anything is, or if no worker tells."""
    counts_here = bool(here) or not workers
    found = [
        Lacking(
            each.key, each.place, each.rows, here=counts_here and each.key not in here,
            workers=tuple(one.worker for one in workers if each.key not in one.keys),
        )
        for each in rows
    ]  # fmt: skip
    return [each for each in found if each.here or each.workers]


async def opened(
    database: Database, request_id: UUID, keys: SealKeys, *, who: str, reason: str
) -> dict[str, Any] | None:
    """Open the document of a request's session; None: there is none. It is a row of the audit first."""
    rows = await database.call("session_of", request_id, aside=True)
    if not rows:
        return None
    document = keys.open_document(json.loads(rows[0]["document"]), request_id)
    about = {"session": rows[0]["id"], "org": rows[0]["org_id"]}
    await audit.append(database, "keys.open", who=who, reason=reason, about=about)
    return document


def with_unused(
    rows: Sequence[SealedRows], here: Sequence[str], workers: Sequence[KeysOfWorker]
) -> list[SealedRows]:
    """Add the keys that nothing needs."""
    used = {each.key for each in rows}
    known = [*here, *(key for worker in workers for key in worker.keys)]
    unused = [SealedRows(key, "unfinished", 0) for key in dict.fromkeys(known) if key not in used]
    return sorted([*rows, *unused])


def workers_with(workers: Sequence[KeysOfWorker], key: str) -> int:
    return sum(key in worker.keys for worker in workers)


def as_record(
    one: SealedRows,
    here: Sequence[str],
    workers: Sequence[KeysOfWorker],
    retired: Collection[str],
) -> dict[str, Any]:
    return {
        **one._asdict(), "retired": one.key in retired, "here": one.key in here,
        "seals": tuple(here[:1]) == (one.key,), "workers": len(workers),
        "workers_with": workers_with(workers, one.key),
    }  # fmt: skip


def as_json(row: SealedRows) -> list[Any]:
    """Write a row as JSON knows it."""
    return [row.key, row.place, row.rows, row.oldest and row.oldest.isoformat()]


def from_json(row: Sequence[Any]) -> SealedRows:
    """Read such a row again."""
    key, place, rows, oldest = row
    return SealedRows(key, place, rows, oldest and datetime.fromisoformat(oldest))
