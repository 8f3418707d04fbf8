"""Requests wait in the lines of their organisations, and are claimed in the order of fair shares."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from worker.postgres.alarm import Alarm
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.rows import Held, held_in
from worker.postgres.store import columns_of
from worker.rules import WaitReason
from worker.values import Waiting

_AWAKE_AT_MOST = 10_000


class Count(NamedTuple):
    """How many wait for a reason, and for how long the oldest of them could have begun."""

    reason: WaitReason
    waiting: int
    oldest_seconds: float


class WaitingLine:
    """Keeps the lines. Each method is one committed statement."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._worker = leases.worker
        self._lease_seconds = leases.seconds
        self.alarm = Alarm()  # rings when something of what this worker has put in line may begin

    async def put(self, waiting: Sequence[Waiting]) -> set[UUID]:
        """Insert those that are new, in the order of their ids; returns which those are. Their ids must be
        distinct.
        """
        rows = sorted(waiting, key=lambda one: one.arrival.request_id.int)
        arrivals = [row.arrival for row in rows]
        answer = await self._database.call(
            "wait",
            *columns_of(arrivals),
            [row.reason for row in rows],
            [one.not_before for one in arrivals],
        )
        joined = set(answer[0]["waiting"])
        now = datetime.now(UTC)
        begins = [
            (row.arrival.not_before - now).total_seconds() if row.arrival.not_before else 0.0
            for row in rows
            if row.reason != "paused" and row.arrival.request_id in joined
        ]
        if begins:
            self.alarm.set(max(0.0, min(begins)))
        return joined

    async def take(self, lease: int, most: int, *, late_ones: bool = False) -> list[Held]:
        """Claim requests that may begin: they are this worker's first attempts, or its next ones, under this
        lease now. `late_ones`: none, since those past their deadline are found among the due ones.
        """
        if late_ones:
            return []
        rows = await self._database.call("claim_waiting", lease, self._worker, self._lease_seconds, most)
        return [held_in(row) for row in rows]

    async def next_in(self) -> float | None:
        """Return the seconds until something may begin; 0: something may now. None: nothing waits."""
        seconds: float | None = (await self._database.call("next_in_line", aside=True))[0]["seconds"]
        return seconds

    async def awake(self) -> frozenset[str]:
        """Return the organisations that have something waiting which may begin."""
        rows = await self._database.call("lines_awake", _AWAKE_AT_MOST, aside=True)
        return frozenset(row["org_id"] for row in rows)

    async def count(self, most: int) -> list[Count]:
        """Count what waits, by reason, up to `most` of all."""
        return [Count(**row) for row in await self._database.call("count_waiting", most, aside=True)]
