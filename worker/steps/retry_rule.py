"""The rule that says when a request is tried again, and when it is given up. Pure."""

from datetime import datetime
from typing import NamedTuple, Self

from worker.backoff import jittered
from worker.settings import Settings
from worker.values import Tried

_LONGEST_DELAY_SECONDS = 365 * 86_400.0  # what Postgres' calendar has room for
_SPARED_SECONDS = 86_400.0  # longer than most outages; but not for ever, since each request is answered


class RetryRule(NamedTuple):
    """How often, for how long and with which delays a request is tried again.

    An outage of a service that the handler calls must not use up the attempts: errors end a request only
    after enough of them and after enough time. A RetryLater of the handler is no error, and is counted apart;
    so are the attempts that ended with their worker.
    """

    max_attempts: int
    base_seconds: float
    cap_seconds: float
    retry_seconds: float = 0
    max_put_offs: int = 1000

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the rule that the settings make."""
        return cls(
            max_attempts=settings.max_attempts,
            base_seconds=settings.retry_base_seconds,
            cap_seconds=settings.retry_cap_seconds,
            retry_seconds=settings.retry_seconds,
            max_put_offs=settings.max_put_offs,
        )

    def gives_up(self, tried: Tried, now: datetime) -> bool:
        """Return whether a request with these attempts gets no other one."""
        if tried.crashes >= self.max_attempts or tried.put_offs >= self.max_put_offs:
            return True
        enough = tried.since is not None and (now - tried.since).total_seconds() >= self.retry_seconds
        return enough and tried.errors >= self.max_attempts

    def spares(self, tried: Tried, now: datetime) -> bool:
        """Return whether a further failure, for which the handler is to blame, spends no attempt."""
        return tried.since is not None and (now - tried.since).total_seconds() < _SPARED_SECONDS

    def spared_delay(self, tried: Tried, now: datetime) -> float:
        """Return the seconds until the next call after such a failure. Since no attempts are counted, it is
        the time since the first error that makes it longer.
        """
        since = 0.0 if tried.since is None else (now - tried.since).total_seconds()
        return jittered(1, max(self.base_seconds, since), self.cap_seconds)

    def delay(self, kind: str, tried: Tried, after: float | None) -> float:
        """Return the seconds until the next attempt: those that the handler asked for, else more with each
        attempt.
        """
        if after is None:
            so_far = tried.put_offs if kind == "retry_later" else tried.errors
            after = jittered(so_far, self.base_seconds, self.cap_seconds)
        return min(max(0.0, after), _LONGEST_DELAY_SECONDS)


def in_words(attempts: int, tried: Tried) -> str:
    """Tell the requester what the attempts came to."""
    said = f"no success in {attempts} attempt{'s' if attempts > 1 else ''}"
    counts = [
        f"{count} {what}"
        for count, what in (
            (tried.errors, "failed"),
            (tried.put_offs, "put off by the handler"),
            (tried.crashes, "ended with their worker"),
        )
        if count
    ]
    if not counts or counts == [f"{tried.errors} failed"]:
        return said
    return f"{said} ({', '.join(counts)})"
