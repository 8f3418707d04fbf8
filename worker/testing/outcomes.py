"""What a call of a handler came to, by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, NoReturn

from schemas import CreateSessionResponse, FailureCode
from worker.values import Failure


class NoResponse(AssertionError):
    """The requester has got no response yet, or gets none."""


class Told(NamedTuple):
    """What a call has told of its progress, as operators see it."""

    fraction: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The requester gets this response, which is completed or failed."""

    response: CreateSessionResponse
    body: str = field(repr=False)  # the response as it is published
    attempt: int
    code: FailureCode | None = None  # None: completed
    failure: Failure | None = None  # why the last attempt came to nothing
    error: BaseException | None = None  # what the handler raised, unless it is Rejected or RetryLater
    progress: tuple[Told, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TriedAgain:
    """There is no response yet: the request waits in Postgres, and is tried again.

    `again` makes the next attempt. It sets the clock of the call forward to the time of it.
    """

    after: timedelta
    reason: str  # as `session-worker status` shows it
    attempt: int  # the one that came to nothing
    failure: Failure | None = None
    error: BaseException | None = None  # what the handler raised, unless it is RetryLater
    progress: tuple[Told, ...] = ()
    again: "Callable[[], Awaitable[Outcome]]" = field(repr=False, compare=False)

    @property
    def response(self) -> NoReturn:
        place = f", at {self.failure.place}" if self.failure and self.failure.place else ""
        raise NoResponse(
            f"no response yet: attempt {self.attempt} came to nothing ({self.reason or 'it gave no reason'}"
            f"{place}), and the request would be tried again after {self.after.total_seconds():.3g} s"
        ) from self.error


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """The handler is not called, and nobody is answered: no request id was found in the message."""

    reason: str

    @property
    def response(self) -> NoReturn:
        raise NoResponse(f"no response: the message becomes a dead letter, since {self.reason}")


Outcome = Answered | TriedAgain | DeadLetter
