"""What a worker that did not begin a request knows of it: as read from a lease, or from what is due."""

import json
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from schemas import FailureCode
from worker.values import Failure, Refusal, Route, Tried

WORKER_LOST = Failure("worker_lost", "the worker stopped during this attempt")


class Held(NamedTuple):
    """A request that a lease holds and that is not answered yet."""

    request_id: UUID
    status: str
    attempt: int
    org_id: str | None
    user_id: str | None
    session_id: str
    body: str | None
    refusal: Refusal | None
    response: str | None
    error_code: str | None
    deadline_at: datetime | None
    route: Route
    lease: int
    received_at: datetime
    worker: UUID | None  # whose attempt it is
    tried: Tried
    attempt_over: bool  # it is on record what the current attempt failed of


class TakenOver(NamedTuple):
    """A lease that was due. Its requests get a new attempt, unless it was given back unharmed."""

    lease: int
    holder_silent: bool
    spends_attempt: bool


class Claim(NamedTuple):
    """The wish for a new attempt at a request. `lost`: the current one ended with its worker, `holder`."""

    request_id: UUID
    attempt: int
    holder: UUID | None
    lost: bool


def held_in(row: asyncpg.Record) -> Held:
    return Held(
        request_id=row["request_id"],
        status=row["status"],
        attempt=row["attempt"],
        org_id=row["org_id"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        body=row["body"],
        refusal=_refusal(row["refusal"]),
        response=row["response"],
        error_code=row["error_code"],
        deadline_at=row["deadline_at"],
        route=Route(row["reply_to"], row["correlation_id"], row["traceparent"]),
        lease=row["lease"],
        received_at=row["received_at"],
        worker=row["worker"],
        tried=Tried(row["errors"], row["put_offs"], row["crashes"], row["since"]),
        attempt_over=row["attempt_over"],
    )


def _refusal(text: str | None) -> Refusal | None:
    if text is None:
        return None
    stored = json.loads(text)
    return Refusal(FailureCode(stored["code"]), stored["reason"], stored["errors"])
