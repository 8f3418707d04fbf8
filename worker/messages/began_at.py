"""Finds the moment from which the end-to-end time of a request is measured."""

from datetime import datetime

_OLDEST_SECONDS = 86_400.0  # a clock that is wrong by more is easier to believe in than a wait that long


def began_at(stamp: str | None, header: object, arrived: float) -> float:
    """Returns when the requester asked, in seconds since 1970: the first of these that is finer than a second
    and may be true: the `timestamp` in the body; the header `timestamp_in_ms`, which RabbitMQ sets if it is
    told to; the arrival in the worker.

    AMQP's own timestamp is in whole seconds, which is longer than most requests take.
    """
    oldest = arrived - _OLDEST_SECONDS
    if stamp and oldest < (sent := _fine(stamp)) <= arrived:
        return sent
    if isinstance(header, int) and oldest < (published := header / 1000) <= arrived:
        return published
    return arrived


def _fine(stamp: str) -> float:
    """Reads a moment in ISO 8601; returns 0 unless it has an offset and a fraction of a second. Some
    languages write zeros where they know no fraction.
    """
    try:
        moment = datetime.fromisoformat(stamp.upper())
        return moment.timestamp() if moment.microsecond and moment.tzinfo else 0
    except (ValueError, OverflowError):
        return 0
