"""Reads the deadline of a request from its properties."""

import re
from datetime import UTC, datetime, timedelta

from pamqp import commands as spec

_EPOCH_MS = re.compile(r"-?\d{1,15}(\.\d+)?")


class Misread(Exception):
    """The property or header `field` says nothing that a worker understands."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def deadline(properties: spec.Basic.Properties, now: datetime) -> datetime | None:
    """Returns the earlier of the `deadline` header and the message's expiration."""
    header = (properties.headers or {}).get("deadline")
    candidates = []
    if header is not None:
        candidates.append(_moment(header))
    if properties.expiration:
        candidates.append(_expires_at(properties.expiration, properties.timestamp or now, now))
    return min(candidates, default=None)


def _expires_at(expiration: str, sent: datetime, now: datetime) -> datetime:
    """Counts the expiration from when the message was sent; a producer's clock may be ahead."""
    sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)
    try:
        return min(sent, now) + timedelta(milliseconds=int(expiration))
    except (ValueError, OverflowError):
        raise Misread("expiration", "the expiration is not a number of milliseconds") from None


def _moment(value: object) -> datetime:
    """Reads ISO 8601, or milliseconds since 1970 as a number or its digits."""
    if isinstance(value, bytes | bytearray):
        value = value.decode("ascii", "replace")
    try:
        if isinstance(value, str) and not _EPOCH_MS.fullmatch(value.strip()):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime):
            # Converted here, where a failure is answered: at the edge of the calendar it may have no UTC.
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Misread("deadline", "the header `deadline` is neither ISO 8601 nor milliseconds since 1970")
