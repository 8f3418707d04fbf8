"""Settles what the broker has confirmed on a channel, without the library's way for each frame and publish.

The library reads each frame, puts it into the channel's queue, wakes a task for it, looks through all that is
in flight, and gives each publish that is confirmed a turn of the loop.
"""

import struct
from itertools import takewhile

from aiormq.channel import Channel
from pamqp import commands as spec

from worker.rabbitmq.arriving import END, HEAD, METHOD

ACK = b"\x00\x3c\x00\x50"
_SIZE = HEAD + 14  # class and method, the number, the bit, and the byte that ends it
_long_at = struct.Struct(">Q").unpack_from


class Confirms:
    """Takes the acknowledgements that come on one channel in confirm mode."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._until: int | None = None  # up to this publish the library says what became of each

    def take_whole(self, data: bytes, at: int) -> int:
        """Take the acknowledgement that begins here; return where it ends. Returns `at` for all that is left
        to the library.
        """
        end = at + _SIZE
        if (
            end > len(data)
            or data[at] != METHOD
            or data[at + HEAD : at + HEAD + 4] != ACK
            or data[end - 1] != END
            or not self._in_order()
        ):
            return at
        confirmations = self._channel.confirmations
        number, multiple = _long_at(data, at + HEAD + 4)[0], bool(data[end - 2] & 1)
        if number not in confirmations:
            return at
        frame = spec.Basic.Ack(number, multiple)
        for confirmed in list(takewhile(number.__ge__, confirmations)) if multiple else (number,):
            self._channel._confirm_delivery(confirmed, frame)  # noqa: SLF001 — as the library does in the end
        return end

    def take(self, _frame: bytes) -> bool:
        """Leave every other frame to the library."""
        return False

    def passed_on(self) -> None:
        """Note that the library has been left a frame. It may be a return or a refusal: what is acknowledged
        next must not overtake it.
        """
        self._until = self._channel.delivery_tag

    def _in_order(self) -> bool:
        """Tell whether the library has dealt with all that it was left."""
        until = self._until
        if until is not None and all(number > until for number in self._channel.confirmations):
            self._until = until = None
        return until is None
