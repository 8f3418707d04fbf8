"""Puts deliveries together from the bytes of their frames."""

import struct
from collections.abc import Callable
from typing import NamedTuple

from pamqp import commands as spec

from worker.messages.large_bodies import Body, Dropped
from worker.rabbitmq.header_frames import read_properties

METHOD, HEADER, BODY = 1, 2, 3
END = 0xCE
HEAD = 7  # type, channel, size; then the payload and one byte that ends it
_BASIC = b"\x00\x3c"
DELIVER = _BASIC + b"\x00\x3c"
_size_at = struct.Struct(">I").unpack_from
_long_at = struct.Struct(">Q").unpack_from


class Arrived(NamedTuple):
    """A delivery as it came: its properties are read when it is taken."""

    tag: int
    exchange: str
    routing_key: str
    properties: bytes | spec.Basic.Properties  # the payload of a header frame, or what was read from it
    body: bytes
    dropped: Dropped | None

    def properties_read(self) -> spec.Basic.Properties:
        return read_properties(self.properties) if isinstance(self.properties, bytes) else self.properties


Receive = Callable[[Arrived], None]
BodyFor = Callable[[int, Callable[[], spec.Basic.Properties]], Body]
"""Chooses what takes the pieces of a body of this size, if need be by the message's properties."""


class Deliveries:
    """Puts the deliveries of one channel together. A body of up to `kept` bytes is kept, whatever it is."""

    def __init__(self, receivers: dict[bytes, Receive], body_for: BodyFor, kept: int) -> None:
        self._receivers = receivers
        self._body_for = body_for
        self._kept = kept
        self._receive: Receive | None = None
        self._tag = 0
        self._address = b""  # of the last delivery, as it came: mostly that of the next one too
        self._exchange = self._routing_key = ""
        self._header = b""
        self._body: Body | None = None
        self._missing = 0

    def take_whole(self, data: bytes, at: int) -> int:
        """Take the delivery that begins here if its three frames have arrived; return where it ends. Returns
        `at` for all else, which is taken frame by frame: pieces, a large body, an empty one, what is wrong.

        Most come so. To look at each of the frames by itself takes three times as long.
        """
        if data[at + HEAD : at + HEAD + 4] != DELIVER or self._receive is not None:
            return at
        try:
            header = at + _size_at(data, at + 3)[0] + HEAD + 1
            body = header + _size_at(data, header + 3)[0] + HEAD + 1
            size = _size_at(data, body + 3)[0]
            end: int = body + size + HEAD + 1
            if not (
                end <= len(data)
                and data[at] == METHOD
                and data[header] == HEADER
                and data[body] == BODY
                and data[header - 1] == data[body - 1] == data[end - 1] == END
                and data[at + 1 : at + 3] == data[header + 1 : header + 3] == data[body + 1 : body + 3]
                and data[header + HEAD : header + HEAD + 2] == _BASIC
                and _long_at(data, header + HEAD + 4)[0] == size <= self._kept
            ):
                return at
        except (struct.error, IndexError):  # it has not arrived
            return at
        receive = self._begun(data[at:header])
        if receive is None:
            return at
        receive(
            Arrived(
                self._tag,
                self._exchange,
                self._routing_key,
                data[header + HEAD : body - 1],
                data[body + HEAD : end - 1],
                None,
            )
        )
        return end

    def take(self, frame: bytes) -> bool:
        """Take a whole frame if it is part of a delivery; return whether it is."""
        if frame[-1] != END:
            return False
        kind = frame[0]
        if kind == METHOD:
            return frame[7:11] == DELIVER and self._begin(frame)
        if self._receive is None:
            return False
        if kind == HEADER and frame[7:9] == _BASIC:
            header = self._header = frame[7:-1]
            self._missing = int.from_bytes(header[4:12], "big")
            self._body = self._body_for(self._missing, lambda: read_properties(header))
        elif kind == BODY and self._body is not None:
            self._body.add(frame[7:-1])
            self._missing -= len(frame) - 8
        else:
            return False
        if not self._missing:
            self._end()
        return True

    def passed_on(self) -> None:
        """Do nothing: another frame says nothing of deliveries."""

    def _begin(self, frame: bytes) -> bool:
        receive = self._begun(frame)
        if receive is None:
            return False
        self._receive, self._body = receive, None
        return True

    def _begun(self, frame: bytes) -> Receive | None:
        """Read the frame that begins a delivery; return who receives it."""
        end = 12 + frame[11]
        receive = self._receivers.get(frame[12:end])
        if receive is None:
            return None
        self._tag = int.from_bytes(frame[end : end + 8], "big")
        address = frame[end + 9 : -1]  # behind the bit that tells a redelivery
        if address != self._address:
            end = 1 + address[0]
            self._address = address
            self._exchange = address[1:end].decode("utf-8", "replace")
            self._routing_key = address[end + 1 : end + 1 + address[end]].decode("utf-8", "replace")
        return receive

    def _end(self) -> None:
        receive, body = self._receive, self._body
        self._receive = self._body = None
        if receive is not None and body is not None:
            kept, dropped = body.end()
            receive(Arrived(self._tag, self._exchange, self._routing_key, self._header, kept, dropped))
