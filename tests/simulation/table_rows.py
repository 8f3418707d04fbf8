"""The rows of the stand-in for Postgres, and what several of its statements do with them."""

import random
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from simulation.rows import Lease, OtherAnswer, Request

Rows = list[dict[str, Any]]
LOOKED_AT_LATER = timedelta(minutes=1)
ALL = "(all)"
UNSTORABLE = "(unstorable)"
"""A row with this in its body is refused, as Postgres does with some texts, and with it its batch."""


class TableRows:
    """Holds all rows, and does what several statements do."""

    def __init__(self, now: Callable[[], datetime], chance: random.Random) -> None:
        self._clock = now
        self._chance = chance
        self.now = now()
        self.requests: dict[UUID, Request] = {}
        self.leases: dict[int, Lease] = {}
        self.confirmed: set[int] = set()  # leases
        self.workers: dict[UUID, int] = {}
        self.numbers = 0
        self.other_answers: dict[str, OtherAnswer] = {}
        self.sessions: dict[str, UUID] = {}
        self.paused: set[str] = set()  # organisations, or ALL
        self.edition = 0

    def _in(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def _publish(self, request_ids: Iterable[UUID]) -> None:
        for request_id in request_ids:
            if (row := self.requests.get(request_id)) is not None:
                row.deliver(self.now, by_its_batch=row.lease in self.confirmed)

    def _release(self, done: Iterable[int], confirmed: Iterable[int], me: UUID) -> list[int]:
        """Remove leases, and return those that were there. The confirmed ones say when all was published."""
        released = [
            one for one in (*done, *confirmed) if one in self.leases and self.leases[one].worker == me
        ]
        for one in released:
            del self.leases[one]
        under = {row.lease for row in self.requests.values()}
        self.confirmed |= {*released} & {*confirmed} & under
        return released

    def _hold(self, lease: int, me: UUID, seconds: float) -> bool:
        """Hold a lease, if it is new or this worker's."""
        held = self.leases.setdefault(lease, Lease(me, self.now))
        if held.worker != me:
            return False
        held.until = self._in(seconds)
        return True

    def _under(self, lease: int) -> list[Request]:
        """Return what a lease holds and is not answered yet."""
        return [row for row in self.requests.values() if row.lease == lease and row.published_at is None]

    def _current(self, request_id: UUID, attempt: int) -> Request | None:
        """Return a request if this attempt at it is the one that goes on."""
        row = self.requests.get(request_id)
        return row if row and row.status == "processing" and row.attempt == attempt else None

    def _is_paused(self, org: str | None) -> bool:
        return bool(self.paused & {org or "", ALL})

    def _may_begin(self) -> list[Request]:
        rows = [
            row
            for row in self.requests.values()
            if row.waits_in is not None and row.begins_at and row.begins_at <= self.now
        ]
        return sorted(rows, key=lambda row: str(row.begins_at))

    def _refuse_unstorable(self, bodies: list[str | None]) -> None:
        if any(body and UNSTORABLE in body for body in bodies):
            raise asyncpg.CharacterNotInRepertoireError("a text that cannot be stored")
