"""Names the requests that somebody means: the same filters for lists, searches and whatever acts on many."""

from datetime import datetime
from typing import Literal, NamedTuple, get_args
from uuid import UUID

from schemas import FailureCode

State = Literal["waiting", "processing", "retrying", "completed", "failed"]
Delivered = Literal["none", "confirmed", "unroutable", "refused", "unpublishable"]
Sort = Literal["received", "finished", "took"]

STATES: tuple[State, ...] = get_args(State)
DELIVERED: tuple[Delivered, ...] = get_args(Delivered)
SORTS: tuple[Sort, ...] = get_args(Sort)
CODES = tuple(code.value for code in FailureCode)
MOST_LISTED = 10_000


class Filter(NamedTuple):
    """Which requests are meant. What is None does not matter; all of the rest has to be true of a request."""

    org: str | None = None
    user: str | None = None
    status: State | None = None
    code: str | None = None
    reason: str | None = None  # a part of the reason why its last attempt, or it itself, failed
    worker: str | None = None  # that had it last: its id, or HOST:PID
    build: str | None = None  # of the handler of that worker
    session: str | None = None
    correlation: str | None = None
    reply_to: str | None = None
    response: Delivered | None = None  # where its response is; none: with nobody yet, or there is none
    attempt: int | None = None  # it has had so many attempts, or more
    since: datetime | None = None  # received then or later
    until: datetime | None = None  # received before


class Page(NamedTuple):
    """Which part of what a filter matches is shown, and in which order: always the last ones first."""

    sort: Sort = "received"
    limit: int = 50
    after: UUID | None = None  # the last one of the page before
