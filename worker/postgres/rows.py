"""Requests as they are read from the record."""

import json
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from schemas import FailureCode
from worker.values import Answer, Beginning, Failure, Refusal, Route, Tried

WORKER_LOST = Failure("worker_lost", "the worker stopped during this attempt")


class Known(NamedTuple):
    """A request that is on record."""

    request_id: UUID
    status: str
    attempt: int
    org_id: str | None
    fingerprint: bytes
    session_id: str
    response: str | None
    error_code: str | None
    route: Route
    worker: UUID | None
    lease: int | None
    received_at: datetime
    published: bool

    @property
    def finished(self) -> bool:
        return self.response is not None


class ToCancel(NamedTuple):
    """A request that is on record and to be cancelled."""

    request_id: UUID
    status: str
    attempt: int
    org_id: str | None
    session_id: str
    casefile_id: str | None
    response: str | None
    error_code: str | None
    published: bool
    route: Route
    received_at: datetime


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
    late: bool  # its deadline has passed, by the clock of Postgres
    route: Route
    lease: int
    received_at: datetime
    worker: UUID | None  # the one that made the current attempt
    tried: Tried
    attempt_over: bool  # the reason why the current attempt failed is on record


class TakenOver(NamedTuple):
    """A lease that was due. Its requests get a new attempt, unless it was given back unharmed."""

    lease: int
    holder_silent: bool
    spends_attempt: bool


class Claim(NamedTuple):
    """A wish to begin a new attempt at a request. `lost`: the current one ended with its worker, `holder`."""

    request_id: UUID
    attempt: int
    holder: UUID | None
    lost: bool


def known_in(row: asyncpg.Record) -> Known:
    return Known(
        request_id=row["request_id"],
        status=row["status"],
        attempt=row["attempt"],
        org_id=row["org_id"],
        fingerprint=row["fingerprint"],
        session_id=row["session_id"],
        response=row["response"],
        error_code=row["error_code"],
        route=route_in(row),
        worker=row["worker"],
        lease=row["lease"],
        received_at=row["received_at"],
        published=row["published"],
    )


def to_cancel_in(row: asyncpg.Record) -> ToCancel:
    return ToCancel(
        request_id=row["request_id"],
        status=row["status"],
        attempt=row["attempt"],
        org_id=row["org_id"],
        session_id=row["session_id"],
        casefile_id=row["casefile_id"],
        response=row["response"],
        error_code=row["error_code"],
        published=row["published"],
        route=route_in(row),
        received_at=row["received_at"],
    )


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
        late=row["late"],
        route=route_in(row),
        lease=row["lease"],
        received_at=row["received_at"],
        worker=row["worker"],
        tried=Tried(
            errors=row["errors"], put_offs=row["put_offs"], crashes=row["crashes"], since=row["since"]
        ),
        attempt_over=row["attempt_over"],
    )


def route_in(row: asyncpg.Record) -> Route:
    return Route(row["reply_to"], row["correlation_id"], row["traceparent"])


def stored_answer(
    row: Known | ToCancel | Held, *, route: Route | None = None, since: Beginning | None
) -> Answer:
    """Say the stored response once more: the same bytes, the same message id. `route`: to another than its
    requester. It is timed where nobody is known to have got it before.
    """
    assert row.response is not None  # noqa: S101 — asked of finished rows only
    published = False if isinstance(row, Held) else row.published
    return Answer(
        request_id=row.request_id,
        status=row.status,
        code=row.error_code,
        body=row.response,
        message_id=str(row.request_id),
        route=route or row.route,
        since=None if published or since is None else since._replace(path="recovered"),
        lease=None if isinstance(row, ToCancel) else row.lease,
    )


def _refusal(text: str | None) -> Refusal | None:
    if text is None:
        return None
    stored = json.loads(text)
    return Refusal(FailureCode(stored["code"]), stored["reason"], stored["errors"])
