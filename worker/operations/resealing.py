"""Seals what one key has sealed anew with another: the old key may be known to somebody, or is to go.

It is the owner's work: the guard lets nobody else touch a finished request, and the owner only its sealed
texts. What is done is done: whoever stops it, or says the same again, loses nothing.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from worker.errors import SealError
from worker.messages.custody import reseal_body
from worker.messages.sealing import SealKeys
from worker.operations.keys import KeysOfWorker, Place
from worker.operations.ownership import require_owner
from worker.postgres.database import Database

LOOKED_AT_ONCE = 200
_PAUSES = (0.1, 0.4)  # before what somebody was at work on is tried again
_FIRST, _FIRST_ID = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)
_SHOWN = 5
_Text = str | bytes


class Resealed(NamedTuple):
    """How far it is, or what came of it."""

    place: Place = "finished"  # where it is at work
    looked: int = 0  # rows there
    sealed: int = 0  # in all places
    left: int = 0  # somebody was at work on these, or they changed meanwhile
    unopened: int = 0  # the old key does not open these, though it is named in them
    examples: tuple[UUID, ...] = ()  # of those


def cannot_open(workers: Sequence[KeysOfWorker], new: str) -> list[str]:
    """List the workers that could not open what is sealed with the new key."""
    return [each.worker for each in workers if new not in each.keys]


def still_seal(workers: Sequence[KeysOfWorker], old: str) -> list[str]:
    """List the workers that still seal with the old key."""
    return [each.worker for each in workers if each.keys[:1] == (old,)]


class _Page(NamedTuple):
    place: Place
    looked: int
    rows: Sequence[tuple[UUID, _Text]]


class Resealing:
    """Works through requests, sessions and dead letters, some at a time; each time is a row of the audit."""

    def __init__(
        self, database: Database, keys: SealKeys, *, old: str, new: str, who: str, reason: str, rate: float
    ) -> None:
        self._database = database
        self._keys = keys
        self._old = old
        self._new = new
        self._who = who
        self._reason = reason
        self._rate = rate
        self._so_far = Resealed()

    async def run(self, report: Callable[[Resealed], None]) -> Resealed:
        """Seal anew all that there is now, and return what came of it. `report` is told after each step.
        Raises NotOwner before anything is done.
        """
        await require_owner(self._database, "seal stored secrets anew")
        clock = asyncio.get_running_loop().time
        at_once = max(1, min(LOOKED_AT_ONCE, round(self._rate)))
        for pages in (self._requests, self._sessions, self._dead_letters):
            looked = 0
            async for page in pages():
                looked += page.looked
                self._so_far = self._so_far._replace(place=page.place, looked=looked)
                for start in range(0, len(page.rows), at_once):
                    begun = clock()
                    part = page.rows[start : start + at_once]
                    await self._seal(page.place, part)
                    report(self._so_far)
                    await asyncio.sleep(max(0, begun + len(part) / self._rate - clock()))
                report(self._so_far)
        return self._so_far

    async def _requests(self) -> AsyncGenerator[_Page, None]:
        received_at, request_id = _FIRST, _FIRST_ID
        while rows := await self._database.call(
            "requests_sealed_with", received_at, request_id, LOOKED_AT_ONCE, self._old, aside=True
        ):
            received_at, request_id = rows[0]["received_at"], rows[0]["request_id"]
            yield _Page("finished", rows[0]["looked"], _texts(rows))

    async def _sessions(self) -> AsyncGenerator[_Page, None]:
        reached = ""
        while rows := await self._database.call(
            "sessions_sealed_with", reached, LOOKED_AT_ONCE, self._old, aside=True
        ):
            reached = rows[0]["reached"]
            yield _Page("sessions", rows[0]["looked"], _texts(rows))

    async def _dead_letters(self) -> AsyncGenerator[_Page, None]:
        reached = _FIRST_ID
        while rows := await self._database.call(
            "dead_letters_sealed_with", reached, LOOKED_AT_ONCE, self._old, aside=True
        ):
            reached = rows[0]["reached"]
            found = [(row["id"], row["body"]) for row in rows if row["id"] is not None]
            yield _Page("custody", rows[0]["looked"], found)

    async def _seal(self, place: Place, rows: Sequence[tuple[UUID, _Text]]) -> None:
        """Seal these anew; those that do not open stay as they are."""
        now = self._so_far
        changes: dict[UUID, tuple[_Text, _Text]] = {}
        for row_id, before in rows:
            try:
                anew = self._anew(place, row_id, before)
            except SealError:
                now = now._replace(unopened=now.unopened + 1, examples=(*now.examples, row_id)[:_SHOWN])
            else:
                if anew != before:  # else it only looks so, in a place where no secret stands
                    changes[row_id] = before, anew
        wanted = len(changes)
        for pause in (*_PAUSES, 0):
            for row_id in await self._put(place, changes) if changes else ():
                del changes[row_id]
            if not changes:
                break
            await asyncio.sleep(pause)
        self._so_far = now._replace(sealed=now.sealed + wanted - len(changes), left=now.left + len(changes))

    def _anew(self, place: Place, row_id: UUID, before: Any) -> _Text:  # noqa: ANN401 — as the place has it
        if place == "custody":
            return reseal_body(before, row_id, self._keys, old=self._old, new=self._new)
        document = json.loads(before)
        if place != "sessions":
            document = document["payload"]
        return self._keys.reseal_text(before, document, row_id, old=self._old, new=self._new)

    async def _put(self, place: Place, changes: dict[UUID, tuple[_Text, _Text]]) -> list[UUID]:
        """Put them in the place of what was read, and return those for which that was still there."""
        before, anew = [each[0] for each in changes.values()], [each[1] for each in changes.values()]
        about = json.dumps({"from": self._old, "to": self._new, "place": _NAMES[place]})
        given = (list(changes), before, anew, self._who, self._reason, about)
        match place:
            case "sessions":
                rows = await self._database.call("reseal_sessions", *given, aside=True)
            case "custody":
                rows = await self._database.call("reseal_dead_letters", *given, self._new, aside=True)
            case _:
                rows = await self._database.call("reseal_requests", *given, aside=True)
        return [row["id"] for row in rows]


_NAMES = {"finished": "requests", "sessions": "sessions", "custody": "custody"}


def _texts(rows: Sequence[Any]) -> list[tuple[UUID, _Text]]:
    return [(row["id"], row["text"]) for row in rows if row["id"] is not None]
