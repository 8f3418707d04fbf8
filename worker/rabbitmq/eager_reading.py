"""Takes the frames that have arrived without a wait for each of them, and deliveries without their frames.

The client library waits three times for every frame and makes a task for every delivery. What is done here
instead relies on its inside, so it is done only with the version that the contract tests hold it against;
with any other the library's own way is taken, and a warning says so.
"""

import asyncio
from contextvars import ContextVar
from time import perf_counter
from typing import Any

import aiormq.connection
import pamqp.frame
from aiormq.channel import Channel
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat

from worker.rabbitmq.aiormq_version import inside_is_known
from worker.rabbitmq.arriving import DELIVER, HEAD, BodyFor, Deliveries, Receive
from worker.rabbitmq.confirms import ACK, Confirms

_CLOSED = "Server connection unexpectedly closed. Read 0 bytes but 1 bytes expected"  # as the library says
_SLICE_SECONDS = 0.001  # a flood of deliveries is read in pieces


def read_eagerly() -> bool:
    """Make the connections of this process take frames as they have arrived; return whether that is possible.

    A program calls it once, at its start: it changes the client library for the whole process.
    """
    if not inside_is_known("deliveries are taken one by one"):
        return False
    aiormq.connection.FrameReceiver = _EagerReceiver  # type: ignore[misc,assignment] # the library has no other way in
    return True


class _EagerReceiver(aiormq.connection.FrameReceiver):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401 — as the library has it
        super().__init__(*args)
        self.diverted: dict[int, Deliveries | Confirms] = {}

    async def get_frame(self) -> Any:  # noqa: ANN401 — as the library has it
        _reading.set(self)
        took, since = False, perf_counter()
        while True:
            if self.diverted and self._take_whole_ones(since + _SLICE_SECONDS):
                took = True
                since = await self._rested(since)
                continue
            if (frame := self._whole_frame()) is not None:
                taker = self.diverted.get(frame[1] << 8 | frame[2])
                if taker is not None and taker.take(frame):
                    took = True
                    since = await self._rested(since)
                    continue
                try:
                    return pamqp.frame.unmarshal(frame)
                except PAMQPException as error:
                    raise aiormq.exceptions.InvalidFrameError(str(error)) from error
            if took:  # the library is told that the other side lives
                return 0, 0, Heartbeat()
            if not self.started or not await self._more_comes():
                return await super().get_frame()

    async def _rested(self, since: float) -> float:
        """Let others go first if the last rest is long ago; return when the last one was."""
        if perf_counter() - since <= _SLICE_SECONDS:
            return since
        await asyncio.sleep(0)
        return perf_counter()

    def _take_whole_ones(self, until: float) -> bool:
        """Take the deliveries and confirms at the front of what has arrived, for so long; return whether
        there were any. One copy of the buffer serves all of them.
        """
        buffer: bytearray = self.reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 — see above
        if not self.started or buffer[HEAD : HEAD + 4] not in (DELIVER, ACK):
            return False
        data, at = bytes(buffer), 0
        while len(data) > at + HEAD and (taker := self.diverted.get(data[at + 1] << 8 | data[at + 2])):
            end = taker.take_whole(data, at)
            if end == at:
                break
            at = end
            if perf_counter() > until:
                break
        if at:
            self._taken(at)
        return at > 0

    def _whole_frame(self) -> bytes | None:
        """Take the next frame if all of it has arrived."""
        buffer: bytearray = self.reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 — see above
        if not self.started or len(buffer) <= HEAD:
            return None
        size = HEAD + int.from_bytes(buffer[3:HEAD], "big") + 1
        if len(buffer) < size:
            return None
        frame = bytes(buffer[:size])
        self._taken(size)
        return frame

    def _taken(self, size: int) -> None:
        """Take so many bytes out of the buffer."""
        del self.reader._buffer[:size]  # type: ignore[attr-defined]  # noqa: SLF001 — see above
        self.reader._maybe_resume_transport()  # type: ignore[attr-defined]  # noqa: SLF001

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


def divert_deliveries(
    channel: Channel, receivers: dict[bytes, Receive], body_for: BodyFor, kept: int
) -> None:
    """Hand the deliveries for these consumer tags straight to their receiver, also for those that are put in
    later; all else goes its usual way.
    What `body_for` returns takes the pieces of a body as they come; one of up to `kept` bytes is kept without
    asking. It is called before they are consumed.
    """
    _divert(channel, Deliveries(receivers, body_for, kept))


def divert_confirms(channel: Channel) -> None:
    """Settle what the broker confirms on this channel as soon as it is read."""
    _divert(channel, Confirms(channel))


def _divert(channel: Channel, taker: Deliveries | Confirms) -> None:
    usual = channel.frames.put

    async def put(item: tuple[int, Any]) -> None:
        # The task that reads the connection is here with each frame that goes the usual way. The first one is
        # the broker's word that a consumer has begun, before any delivery; or a confirm.
        if (reading := _reading.get(None)) is not None:
            reading.diverted[channel.number] = taker
        taker.passed_on()
        await usual(item)

    channel.frames.put = put  # type: ignore[method-assign]
