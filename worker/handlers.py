"""What the author of a handler imports. `docs/handlers.md` says how to write one."""

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from schemas import CreateSessionRequest
from worker.errors import WorkerError

__all__ = ["Context", "Handler", "Lifespan", "PlainHandler", "Rejected", "RetryLater", "Returned", "handler"]

LONGEST_TEXT = 200  # characters of what a call says of its progress
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")

OnProgress = Callable[[float | None, str], None]


def _unheard(_fraction: float | None, _text: str) -> None:
    """Let nobody know: outside a worker nobody asks."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler is told beside the request."""

    session_id: str
    attempt: int
    deadline_at: datetime | None
    traceparent: str | None = None  # for those that it calls; None: the request belongs to no trace
    state: Any = None  # what its lifespan has yielded; None: it has none
    on_progress: OnProgress = field(default=_unheard, repr=False, compare=False)

    def progress(self, fraction: float | None = None, text: object = "") -> None:
        """Say how far this call is, for the operators who look: a share from 0 to 1, where it is known, and a
        few words, with no secret in them. It costs next to nothing, and may be called from any thread.
        """
        known = fraction is not None and not math.isnan(fraction)
        share = min(1.0, max(0.0, float(fraction))) if fraction is not None and known else None
        self.on_progress(share, _readable(text).replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST_TEXT])


Returned = Mapping[str, Any] | None

# A handler creates whatever a session needs elsewhere. It may be called again for the same request, after a
# crash or a time-out: `session_id` is the same each time. What it returns is added to the response's
# metadata.
Handler = Callable[[CreateSessionRequest, Context], Awaitable[Returned]]

# A plain function does the same in a thread: its worker goes on meanwhile.
PlainHandler = Callable[[CreateSessionRequest, Context], Returned]

# What a handler needs for as long as its worker lives: opened before the first call, closed after the last.
# What it yields is `context.state`.
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]

F = TypeVar("F", bound=Callable[..., Any])


def handler(*, lifespan: Lifespan) -> Callable[[F], F]:
    """Give a handler its lifespan: an async context manager around the life of its worker. An object that is
    a handler may have a method of that name in its place.
    """

    def with_lifespan(function: F) -> F:
        function.lifespan = lifespan  # type: ignore[attr-defined]  # a function takes any attribute
        return function

    return with_lifespan


class Rejected(WorkerError):
    """Raised by a handler: this request will never succeed. The reason reaches the requester; so do the code
    and the details, which are for programs: in `metadata.reason_code` and `metadata.details`.
    """

    def __init__(
        self, reason: object, *, code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """`code`: such as `no_seats`. `details`: JSON, no secret."""
        super().__init__(reason)
        if code is not None and not _CODE.fullmatch(code):
            raise ValueError(f"code: {code!r} is not 1 to 64 of a-z, 0-9 and _, a letter first")
        self.reason = _readable(reason)
        self.code = code
        self.details = details

    @property
    def told(self) -> dict[str, Any]:
        """Return what it adds to the `metadata` of the response."""
        told = {"reason_code": self.code, "details": self.details}
        return {name: value for name, value in told.items() if value is not None}


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
