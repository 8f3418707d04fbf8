"""What the author of a handler imports. `docs/handlers.md` says how to write one."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from schemas import CreateSessionRequest
from worker.errors import WorkerError


class Context(NamedTuple):
    """What a handler is told beside the request."""

    session_id: str
    attempt: int
    deadline_at: datetime | None
    traceparent: str | None = None  # for those that it calls; None: the request belongs to no trace


# A handler creates whatever a session needs elsewhere. It may be called again for the same request, after a
# crash or a time-out: `session_id` is the same each time. What it returns is added to the response's
# metadata.
Handler = Callable[[CreateSessionRequest, Context], Awaitable[Mapping[str, Any] | None]]


class Rejected(WorkerError):
    """Raised by a handler: this request will never succeed. The reason reaches the requester."""

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = _readable(reason)


class RetryLater(WorkerError):
    """Raised by a handler: try this request again, after `after` or after a growing delay."""

    def __init__(self, after: timedelta | float | None = None, reason: object = "") -> None:
        super().__init__(reason)
        if not isinstance(after, timedelta | int | float | None):
            raise TypeError(f"after: {after!r} is neither a timedelta nor a number of seconds")
        self.after = timedelta(seconds=after) if isinstance(after, int | float) else after
        self.reason = _readable(reason)


def _readable(reason: object) -> str:
    """As it can be sent: a file's name, for one, may hold halves of surrogate pairs."""
    return str(reason).encode("utf-8", "replace").decode()
