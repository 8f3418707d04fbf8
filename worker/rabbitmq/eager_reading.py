"""Takes the frames that have arrived without a wait for each of them.

The client library waits three times for every frame and makes a task for every delivery. What is done here
instead relies on its inside, so it is done only with the version that the contract tests hold it against;
with any other the library's own way is taken, and a warning says so.
"""

from collections.abc import Callable
from typing import Any

import aiormq.connection
import pamqp.frame
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from worker.messages.large_bodies import Body, Dropped
from worker.rabbitmq.aiormq_version import inside_is_known

_HEAD = 7  # type, channel, size; then the payload and one byte that ends it


def read_eagerly() -> bool:
    """Make the connections of this process take frames as they have arrived; return whether that is possible.

    A program calls it once, at its start: it changes the client library for the whole process.
    """
    if not inside_is_known("deliveries are taken one by one"):
        return False
    aiormq.connection.FrameReceiver = _EagerReceiver  # type: ignore[misc] # the library has no other way in
    return True


class _EagerReceiver(aiormq.connection.FrameReceiver):
    async def get_frame(self) -> Any:  # noqa: ANN401 — as the library has it
        buffer: bytearray = self.reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 — see above
        if self.started and len(buffer) > _HEAD:
            size = _HEAD + int.from_bytes(buffer[3:_HEAD]) + 1
            if len(buffer) >= size:
                data = bytes(buffer[:size])
                del buffer[:size]
                self.reader._maybe_resume_transport()  # type: ignore[attr-defined]  # noqa: SLF001
                try:
                    return pamqp.frame.unmarshal(data)
                except PAMQPException as error:
                    raise aiormq.exceptions.InvalidFrameError(str(error)) from error
        return await super().get_frame()


Receive = Callable[[DeliveredMessage, Dropped | None], None]


def divert_deliveries(
    channel: Channel, receivers: dict[str, Receive], body_for: Callable[[ContentHeader], Body]
) -> None:
    """Hand the deliveries for these consumer tags straight to their receiver; all else goes its usual way.
    What `body_for` returns takes the pieces of a body as they come.
    """
    usual = channel.frames.put
    deliver: spec.Basic.Deliver | None = None
    header: ContentHeader | None = None
    body: Body | None = None
    missing = 0

    async def put(item: tuple[int, Any]) -> None:
        nonlocal deliver, header, body, missing
        frame = item[1]
        match frame:
            case spec.Basic.Deliver() if frame.consumer_tag in receivers:
                deliver, header, body = frame, None, None
                return
            case ContentHeader() if deliver:
                header, missing, body = frame, frame.body_size, body_for(frame)
            case ContentBody() if header and body:
                body.add(frame.value)
                missing -= len(frame.value)
            case _:
                await usual(item)
                return
        if deliver and body and not missing:
            kept, dropped = body.end()
            message = DeliveredMessage(deliver, header, kept, channel)
            receive = receivers[deliver.consumer_tag or ""]
            deliver = header = body = None
            receive(message, dropped)

    channel.frames.put = put  # type: ignore[method-assign]
