"""Until when a request is worth working on, as its properties say it."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH_MS = re.compile(r"-?\d{1,15}(\.\d+)?")


class Misread(Exception):
    """A property or header, named by `field`, that says nothing a worker understands."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def deadline(header: object, expiration: str | None, sent: datetime | None, now: datetime) -> datetime | None:
    """The earlier of the `deadline` header and the message's expiration."""
    candidates = []
    if header is not None:
        candidates.append(_moment(header))
    if expiration:
        sent = sent or now
        sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)
        try:
            candidates.append(min(sent, now) + timedelta(milliseconds=int(expiration)))
        except (ValueError, OverflowError):
            raise Misread("expiration", "the expiration is not a number of milliseconds") from None
    return min(candidates, default=None)


def _moment(value: object) -> datetime:
    """ISO 8601, or milliseconds since 1970 as a number or its digits."""
    if isinstance(value, bytes | bytearray):
        value = value.decode("ascii", "replace")
    try:
        if isinstance(value, str) and not _EPOCH_MS.fullmatch(value.strip()):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime):
            # Not where it is stored: at the edge of the calendar another zone's time is none in UTC.
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Misread("deadline", "the header `deadline` is neither ISO 8601 nor milliseconds since 1970")
