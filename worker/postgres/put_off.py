"""Requests are put off, and taken again when they are due."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from worker.postgres.alarm import Alarm
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.rows import Held, held_in
from worker.values import Failed, Failure, PutOff


class PutOffLine:
    """Keeps the line of the put-off requests, and the reason why each attempt came to nothing."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._worker = leases.worker
        self._lease_seconds = leases.seconds
        self.alarm = Alarm()  # rings when what this worker has put off is due

    async def retry_later(self, retries: Sequence[PutOff]) -> set[UUID]:
        """Put these off, with why; returns those whose attempt was the current one."""
        retries = sorted(retries, key=lambda retry: retry.work.request_id.int)
        rows = await self._database.call(
            "retry_later",
            [retry.work.request_id for retry in retries],
            [retry.work.attempt for retry in retries],
            [retry.delay_seconds for retry in retries],
            *self._failure_columns([retry.failure for retry in retries]),
            [retry.work.span for retry in retries],
        )
        moved = {row["request_id"] for row in rows}
        if soonest := [retry.delay_seconds for retry in retries if retry.work.request_id in moved]:
            self.alarm.set(min(soonest))
        return moved

    async def note_attempts(self, failed: Sequence[Failed]) -> None:
        """Note why the last attempts at requests that get no other one came to nothing."""
        await self._database.call(
            "note_attempts",
            [verdict.work.request_id for verdict in failed],
            [verdict.work.attempt for verdict in failed],
            *self._failure_columns([verdict.failure for verdict in failed]),
        )

    def _failure_columns(self, failures: Sequence[Failure | None]) -> tuple[list[Any], ...]:
        return (
            [why and (why.worker or self._worker) for why in failures],
            [why and why.kind for why in failures],
            [why and why.error_type for why in failures],
            [why and why.reason for why in failures],
            [why and why.place for why in failures],
        )

    async def next_in(self) -> float | None:
        """Return the seconds until a put-off request is due; below zero: for so long one has been due."""
        seconds: float | None = (await self._database.call("next_due"))[0]["seconds"]
        return seconds

    async def due_now(self, most: int) -> tuple[int, float]:
        """Return how many put-off requests are due, counted up to `most`, and for how long the oldest has
        been.
        """
        row = (await self._database.call("due_now", most, aside=True))[0]
        return row["due"], row["overdue"]

    async def take(self, lease: int, most: int, *, late_ones: bool = False) -> list[Held]:
        """Take requests whose next attempt is due, and those that wait past their deadline: they are under
        this lease now. `late_ones`: take only what is too late.
        """
        rows = await self._database.call(
            "take_due", lease, self._worker, self._lease_seconds, most, late_ones
        )
        return [held_in(row) for row in rows]
