"""Takes the frames that have arrived without a wait for each of them, and deliveries without their frames.

The client library waits three times for every frame and makes a task for every delivery. What is done here
instead relies on its inside, so it is done only with the version that the contract tests hold it against;
with any other the library's own way is taken, and a warning says so.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter
from typing import Any, NamedTuple

import aiormq.connection
import pamqp.frame
from aiormq.channel import Channel
from pamqp import commands as spec
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from worker.messages.large_bodies import Body, Dropped
from worker.rabbitmq.aiormq_version import inside_is_known

_HEAD = 7  # type, channel, size; then the payload and one byte that ends it
_END = 0xCE
_CLOSED = "Server connection unexpectedly closed. Read 0 bytes but 1 bytes expected"  # as the library says
_METHOD, _HEADER, _BODY = 1, 2, 3
_SLICE_SECONDS = 0.001  # a flood of deliveries is read in pieces
_BASIC = b"\x00\x3c"
_DELIVER = _BASIC + b"\x00\x3c"


def read_eagerly() -> bool:
    """Make the connections of this process take frames as they have arrived; return whether that is possible.

    A program calls it once, at its start: it changes the client library for the whole process.
    """
    if not inside_is_known("deliveries are taken one by one"):
        return False
    aiormq.connection.FrameReceiver = _EagerReceiver  # type: ignore[misc,assignment] # the library has no other way in
    return True


def _properties_in(header: bytes) -> spec.Basic.Properties:
    """Read the properties in the payload of a header frame."""
    frame = ContentHeader()
    frame.unmarshal(header)
    return frame.properties


class Arrived(NamedTuple):
    """A delivery as it came: its properties are read when it is taken."""

    tag: int
    exchange: str
    routing_key: str
    properties: bytes | spec.Basic.Properties  # the payload of a header frame, or what was read from it
    body: bytes
    dropped: Dropped | None

    def properties_read(self) -> spec.Basic.Properties:
        return _properties_in(self.properties) if isinstance(self.properties, bytes) else self.properties


Receive = Callable[[Arrived], None]
BodyFor = Callable[[int, Callable[[], spec.Basic.Properties]], Body]
"""Chooses what takes the pieces of a body of this size, if need be by the message's properties."""


class _Deliveries:
    """Puts the deliveries of one channel together from the bytes of their frames."""

    def __init__(self, receivers: dict[bytes, Receive], body_for: BodyFor) -> None:
        self._receivers = receivers
        self._body_for = body_for
        self._receive: Receive | None = None
        self._tag = 0
        self._exchange = self._routing_key = ""
        self._header = b""
        self._body: Body | None = None
        self._missing = 0

    def take(self, frame: bytes) -> bool:
        """Take a whole frame if it is part of a delivery; return whether it is."""
        if frame[-1] != _END:
            return False
        kind = frame[0]
        if kind == _METHOD:
            return frame[7:11] == _DELIVER and self._begin(frame)
        if self._receive is None:
            return False
        if kind == _HEADER and frame[7:9] == _BASIC:
            header = self._header = frame[7:-1]
            self._missing = int.from_bytes(header[4:12], "big")
            self._body = self._body_for(self._missing, lambda: _properties_in(header))
        elif kind == _BODY and self._body is not None:
            self._body.add(frame[7:-1])
            self._missing -= len(frame) - 8
        else:
            return False
        if not self._missing:
            self._end()
        return True

    def _begin(self, frame: bytes) -> bool:
        end = 12 + frame[11]
        receive = self._receivers.get(frame[12:end])
        if receive is None:
            return False
        self._tag = int.from_bytes(frame[end : end + 8], "big")
        at = end + 9  # behind the bit that tells a redelivery
        end = at + 1 + frame[at]
        self._exchange = frame[at + 1 : end].decode("utf-8", "replace")
        self._routing_key = frame[end + 1 : end + 1 + frame[end]].decode("utf-8", "replace")
        self._receive, self._body = receive, None
        return True

    def _end(self) -> None:
        receive, body = self._receive, self._body
        self._receive = self._body = None
        if receive is not None and body is not None:
            kept, dropped = body.end()
            receive(Arrived(self._tag, self._exchange, self._routing_key, self._header, kept, dropped))


class _EagerReceiver(aiormq.connection.FrameReceiver):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401 — as the library has it
        super().__init__(*args)
        self.diverted: dict[int, _Deliveries] = {}

    async def get_frame(self) -> Any:  # noqa: ANN401 — as the library has it
        _reading.set(self)
        took, since = False, perf_counter()
        while True:
            if (frame := self._whole_frame()) is not None:
                deliveries = self.diverted.get(frame[1] << 8 | frame[2])
                if deliveries is not None and deliveries.take(frame):
                    took = True
                    if perf_counter() - since > _SLICE_SECONDS:
                        await asyncio.sleep(0)
                        since = perf_counter()
                    continue
                try:
                    return pamqp.frame.unmarshal(frame)
                except PAMQPException as error:
                    raise aiormq.exceptions.InvalidFrameError(str(error)) from error
            if took:  # the library is told that the other side lives
                return 0, 0, Heartbeat()
            if not self.started or not await self._more_comes():
                return await super().get_frame()

    def _whole_frame(self) -> bytes | None:
        """Take the next frame if all of it has arrived."""
        buffer: bytearray = self.reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 — see above
        if not self.started or len(buffer) <= _HEAD:
            return None
        size = _HEAD + int.from_bytes(buffer[3:_HEAD], "big") + 1
        if len(buffer) < size:
            return None
        frame = bytes(buffer[:size])
        del buffer[:size]
        self.reader._maybe_resume_transport()  # type: ignore[attr-defined]  # noqa: SLF001
        return frame

    async def _more_comes(self) -> bool:
        """Wait for more bytes. Return False where the stream ends otherwise: of that the library tells."""
        reader: Any = self.reader
        if reader._eof or reader.exception():  # noqa: SLF001 — see above
            return False
        try:
            await reader._wait_for_data("get_frame")  # noqa: SLF001
        except OSError:
            return False
        if reader.at_eof():
            raise aiormq.exceptions.AMQPConnectionError(_CLOSED)
        return True


_reading: ContextVar[_EagerReceiver] = ContextVar("reading")


def divert_deliveries(channel: Channel, receivers: dict[str, Receive], body_for: BodyFor) -> None:
    """Hand the deliveries for these consumer tags straight to their receiver; all else goes its usual way.
    What `body_for` returns takes the pieces of a body as they come. It is called before they are consumed.
    """
    usual = channel.frames.put
    deliveries = _Deliveries({tag.encode(): receive for tag, receive in receivers.items()}, body_for)

    async def put(item: tuple[int, Any]) -> None:
        # The task that reads the connection is here with each frame that goes the usual way; the first one is
        # the broker's word that a consumer has begun, before any delivery.
        _reading.get().diverted[channel.number] = deliveries
        await usual(item)

    channel.frames.put = put  # type: ignore[method-assign]
