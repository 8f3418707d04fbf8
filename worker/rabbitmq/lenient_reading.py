"""Reads properties that are not as AMQP wants them.

RabbitMQ does not look into the properties of a message; the client library does, and gives up the whole
connection over a string that is no UTF-8 or a timestamp past the year 9999. One such message would come again
with the next connection, and on each return cost its neighbours one of their deliveries.
"""

from contextlib import suppress
from datetime import datetime

from pamqp import common, decode

_SMALL_TABLE = 1024
_MOST_ENTRIES = 500
_LONGEST_VALUE = 1024
_CONTAINERS_BYTES = 4096  # of arrays and tables in a large table, all together
_WANTED = {
    *(b"deadline", b"not_before", b"traceparent"),
    *(b"timestamp_in_ms", b"x-delivery-count", b"x-first-death-reason"),
}
_CONTAINERS = {b"A", b"F"}
_COUNTED = {b"S", b"x", *_CONTAINERS}  # four bytes say how many follow
_SIZES = {
    b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8, b"f": 4, b"d": 8,
    b"D": 5, b"T": 8, b"V": 0, b"\x00": 0,
}  # fmt: skip


def read_leniently() -> None:
    """Make this process read what can be read of a message's properties, and leave out the rest.

    A program calls it at its start, and as often as it likes: it changes the decoders for the whole process.
    """
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
    end = 4 + int.from_bytes(value[:4], "big")
    if end <= _SMALL_TABLE:
        try:
            return decode.field_table(value)
        except (ValueError, OverflowError, OSError, RecursionError):
            pass  # one entry cannot be read: the others are, below
    return end, _entries(value, min(end, len(value)))


def _entries(value: bytes, end: int) -> common.FieldTable:
    """Read the entries one by one, and leave out those that cannot be read or are too large to be of use to a
    worker. The library would take tenths of a second for a full frame of them.
    """
    entries: common.FieldTable = {}
    tried = {True: 0, False: 0}  # those that a worker wants, and the others
    containers = _CONTAINERS_BYTES
    offset = 4
    while offset < end:
        key_end = offset + 1 + value[offset]
        kind = value[key_end : key_end + 1]
        fixed = _SIZES.get(kind)
        if fixed is None and kind not in _COUNTED:
            break  # nothing says where the next entry begins
        size = fixed if fixed is not None else 4 + int.from_bytes(value[key_end + 1 : key_end + 5], "big")
        next_entry = key_end + 1 + size
        if next_entry > end:
            break
        name = value[offset + 1 : key_end]
        is_wanted = name in _WANTED
        if size <= _LONGEST_VALUE and tried[is_wanted] < _MOST_ENTRIES:
            tried[is_wanted] += 1
            if kind in _CONTAINERS:
                containers -= size
            if kind not in _CONTAINERS or containers >= 0:
                with suppress(ValueError, OverflowError, OSError, RecursionError):
                    entries[name.decode()] = decode.embedded_value(value[key_end:next_entry])[1]
        offset = next_entry
    return entries
