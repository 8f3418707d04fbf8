"""Whether a response has been delivered, and if not, why and what happens next: in words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.text import Text


def delivery(request: Mapping[str, Any]) -> Text | None:
    """What became of the response of a request on record; None while there is none."""
    if request["finished_at"] is None:
        return None
    if request["published_at"] is not None:
        return Text("confirmed by the broker", "green")
    again = request["answer_at"]
    if (why := request["undelivered"]) is None:
        return Text(
            "not confirmed yet" if again is None else f"not confirmed yet: {_next(request)}", "yellow"
        )
    since = f" ({_at(request['undelivered_at'])})" if request["undelivered_at"] else ""
    return Text(f"NOT DELIVERED: {_reason(why, request['reply_to'])}{since}; {_next(request)}", "bold red")


def _reason(why: str, reply_to: str | None) -> str:
    if why == "unroutable":
        return f"the queue {reply_to} is not there" if reply_to else "no queue is bound for responses"
    if why == "refused":
        return f"the queue {reply_to or 'of the responses'} takes no more"
    if why == "unpublishable":
        return "the broker closes the connection over it: its address, or its size"
    return why


def _next(request: Mapping[str, Any]) -> str:
    again: datetime | None = request["answer_at"]
    if again is None:
        return "it is not sent again unless it is asked for again"
    if request["reply_to"] is None:
        return "it waits, and is sent when there is room"
    return f"it is sent again at {_at(again)}"


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
