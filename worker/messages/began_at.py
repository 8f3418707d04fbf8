"""When a request began for whoever asked: where the end-to-end time starts."""

from datetime import datetime

_OLDEST_SECONDS = 86_400.0  # a clock that is wrong by more is easier to believe in than a wait that long


def began_at(stamp: str | None, header: object, arrived: float) -> float:
    """The first of these that says the time to less than a second and may be true: the `timestamp` in the
    body; the header `timestamp_in_ms`, which RabbitMQ sets if it is told to; the arrival in the worker.

    AMQP's own timestamp is in whole seconds, which is longer than most requests take.
    """
    oldest = arrived - _OLDEST_SECONDS
    if stamp and oldest < (told := _fine(stamp)) <= arrived:
        return told
    if isinstance(header, int) and oldest < (told := header / 1000) <= arrived:
        return told
    return arrived


def _fine(stamp: str) -> float:
    """The moment that ISO 8601 says, or 1970 unless it says parts of a second and its offset. Some languages
    write zeros where they know of no parts.
    """
    try:
        moment = datetime.fromisoformat(stamp.upper())
        return moment.timestamp() if moment.microsecond and moment.tzinfo else 0
    except (ValueError, OverflowError):
        return 0
