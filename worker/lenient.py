"""Reading properties that are not as AMQP wants them.

RabbitMQ does not look into the properties of a message; the client library does, and gives up the whole
connection over a string that is no UTF-8 or a timestamp past the year 9999. One such message would come again
with the next connection, and on each return cost its neighbours one of their deliveries.
"""

from datetime import datetime

from pamqp import common, decode


def read_leniently() -> None:
    """From now on this process reads what can be read of a message's properties, and leaves out the rest."""
    decode.METHODS.update(shortstr=_short_string, timestamp=_timestamp, table=_table)


def _short_string(value: bytes) -> tuple[int, str]:
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        end = value[0] + 1
        # Never longer than it came: it has to fit into the same property of the response.
        return end, value[1:end].decode("utf-8", "replace").replace("\ufffd", "?")


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _table(value: bytes) -> tuple[int, common.FieldTable]:
    try:
        return decode.field_table(value)
    except (ValueError, OverflowError, OSError, RecursionError):
        return 4 + int.from_bytes(value[:4], "big"), {}
