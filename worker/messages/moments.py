"""Reads from the properties of a request when it may begin and when it is too late for it."""

import re
from datetime import UTC, datetime, timedelta

from pamqp import commands as spec

_EPOCH_MS = re.compile(r"-?\d{1,15}(\.\d+)?")
_FURTHEST = timedelta(days=366)


class Misread(Exception):
    """The property or header `field` says nothing that a worker understands or can keep to."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def deadline(properties: spec.Basic.Properties, now: datetime) -> datetime | None:
    """Returns the earlier of the `deadline` header and the message's expiration."""
    header = _header(properties, "deadline")
    candidates = [] if header is None else [header]
    if properties.expiration:
        candidates.append(_expires_at(properties.expiration, properties.timestamp or now, now))
    return min(candidates, default=None)


def not_before(
    properties: spec.Basic.Properties, deadline_at: datetime | None, now: datetime
) -> datetime | None:
    """Returns the `not_before` header; None where that is in the past, so that the request may begin now."""
    begins_at = _header(properties, "not_before")
    if begins_at is None or begins_at <= now:
        return None
    if begins_at > now + _FURTHEST:
        raise Misread("not_before", f"the header `not_before` is more than {_FURTHEST.days} days ahead")
    if deadline_at is not None and begins_at >= deadline_at:
        raise Misread(
            "not_before",
            "the header `not_before` is not earlier than the deadline, which is the header `deadline` or the "
            "expiration: the request could never begin in time",
        )
    return begins_at


def moment(value: object) -> datetime:
    """Reads ISO 8601, or milliseconds since 1970 as a number or its digits. Raises ValueError."""
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
    raise ValueError("neither ISO 8601 nor milliseconds since 1970")


def _header(properties: spec.Basic.Properties, name: str) -> datetime | None:
    value = (properties.headers or {}).get(name)
    if value is None:
        return None
    try:
        return moment(value)
    except ValueError as error:
        raise Misread(name, f"the header `{name}` is {error}") from None


def _expires_at(expiration: str, sent: datetime, now: datetime) -> datetime:
    """Counts the expiration from when the message was sent; a producer's clock may be ahead."""
    sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)
    try:
        return min(sent, now) + timedelta(milliseconds=int(expiration))
    except (ValueError, OverflowError):
        raise Misread("expiration", "the expiration is not a number of milliseconds") from None
