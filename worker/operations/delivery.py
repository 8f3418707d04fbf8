"""Says in words whether a response has been delivered, and if not, why and what happens next."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple


class Delivery(NamedTuple):
    """The state of a response's delivery, and a sentence about it."""

    state: Literal["confirmed", "unconfirmed", "undelivered"]
    text: str


def delivery(request: Mapping[str, Any]) -> Delivery | None:
    """Tell how the response of a request on record fared; None while there is no response."""
    if request["finished_at"] is None:
        return None
    if request["published_at"] is not None:
        return Delivery("confirmed", "confirmed by the broker")
    reason, next_try = request["undelivered"], request["answer_at"]
    if reason is None:
        what_next = "" if next_try is None else f": {_what_next(request)}"
        return Delivery("unconfirmed", f"not confirmed yet{what_next}")
    since = f" ({_at(request['undelivered_at'])})" if request["undelivered_at"] else ""
    why = _why(reason, request["reply_to"])
    return Delivery("undelivered", f"NOT DELIVERED: {why}{since}; {_what_next(request)}")


def _why(reason: str, reply_to: str | None) -> str:
    match reason:
        case "unroutable":
            return f"the queue {reply_to} is not there" if reply_to else "no queue is bound for responses"
        case "refused":
            return f"the queue {reply_to or 'of the responses'} takes no more"
        case "unpublishable":
            return "the broker closes the connection over it: its address, or its size"
        case _:
            return reason


def _what_next(request: Mapping[str, Any]) -> str:
    next_try: datetime | None = request["answer_at"]
    if next_try is None:
        return "it is not sent again unless it is asked for again"
    if request["reply_to"] is None:
        return "it waits, and is sent when there is room"
    return f"it is sent again at {_at(next_try)}"


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
