"""Names the requests that somebody means: the same filters for lists, searches and whatever acts on many."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args
from uuid import UUID

from schemas import FailureCode
from worker.messages import moments

State = Literal["waiting", "processing", "retrying", "completed", "failed"]
Delivered = Literal["none", "confirmed", "unroutable", "refused", "unpublishable"]
Sort = Literal["received", "finished", "took"]

STATES: tuple[State, ...] = get_args(State)
DELIVERED: tuple[Delivered, ...] = get_args(Delivered)
SORTS: tuple[Sort, ...] = get_args(Sort)
CODES = tuple(code.value for code in FailureCode)
MOST_LISTED = 10_000
_AGO = re.compile(r"(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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


def moment_or_time_ago(text: str, now: datetime | None = None) -> datetime:
    """Read a time as the headers of a request have it, or how long ago it is, as 30m, 2h or 1d. Raises
    ValueError.
    """
    if found := _AGO.fullmatch(text.strip()):
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        return moments.moment(text)
    except ValueError as error:
        raise ValueError(f"is {error}, nor how long ago, such as 30m, 2h or 1d") from None
