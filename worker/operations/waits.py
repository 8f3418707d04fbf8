"""Says in words what a request on record waits for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

COLUMNS = ("waits_for", "waits_until", "pause_reason", "paused_by")


def waits(request: Mapping[str, Any]) -> str | None:
    """Tell what a request waits for, and until when, as far as that is known; None: it does not wait."""
    until: datetime | None = request["waits_until"]
    match request["waits_for"]:
        case "paused":
            end = f", until {_at(until)}" if until else ""
            return f"paused ({request['pause_reason']}, by {request['paused_by']}{end})"
        case "not_before":
            return f"not before {_at(until)}" if until else "not_before"
        case "rate":
            return f"rate, may begin at {_at(until)}" if until else "rate, for its turn"
        case "over_share":
            return "over_share, for its turn: others have a share, too, or as many run as may"
        case "breaker":
            return "breaker, until the handler succeeds again"
        case _:
            return None


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
