"""Reads the events that triggers write with the steps of requests, and deletes them once they are sent.

There is no cursor that moves past what is not committed yet: decision 0030.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import asyncpg

from schemas import EventKind, RequestEvent, RequestStatus
from worker.postgres.database import Database
from worker.postgres.sql import load_queries


class Unsent(NamedTuple):
    """Some events in the order in which they go out, and the statements that they are of."""

    events: list[RequestEvent]
    parts: list[int]
    oldest_seconds: float


class UnsentEvents:
    """Hands them to the elected worker, on the connection that it is elected by."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def after(self, sent: Sequence[int], most: int) -> Unsent:
        """Forget what was sent, and return the next ones, of at most so many statements."""
        rows = await self._connection.fetch(_queries()["next_events"], sent, most)
        return Unsent(
            [_event(row) for row in rows],
            list(dict.fromkeys(row["part_of"] for row in rows)),
            max((row["age"] for row in rows), default=0.0),
        )


async def forget(database: Database, older_than_seconds: float, most: int) -> int:
    """Delete some events that could not be sent for so long; return how many."""
    rows = await database.call("forget_events", older_than_seconds, most, aside=True)
    events: int = rows[0]["events"]
    return events


def _event(row: asyncpg.Record) -> RequestEvent:
    kind = EventKind(row["kind"])
    return RequestEvent.model_construct(  # Postgres has checked it
        request_id=row["request_id"],
        kind=kind,
        status=_status(kind, row["attempt"]),
        attempt=row["attempt"],
        number=row["number"],
        occurred_at=row["at"],
        org_id=row["org_id"],
        code=row["code"],
        reason=row["reason"],
        until=row["until"],
    )


def _status(kind: EventKind, attempt: int) -> RequestStatus:
    match kind:
        case EventKind.ACCEPTED:
            return RequestStatus.PENDING
        case EventKind.WAITING:  # also between two attempts
            return RequestStatus.PROCESSING if attempt else RequestStatus.PENDING
        case EventKind.PROCESSING | EventKind.RETRYING:
            return RequestStatus.PROCESSING
        case EventKind.COMPLETED:
            return RequestStatus.COMPLETED
        case EventKind.FAILED | EventKind.CANCELLED:
            return RequestStatus.FAILED


@cache
def _queries() -> dict[str, str]:
    return load_queries("events.sql")
