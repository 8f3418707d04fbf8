"""Publishes messages and waits for the broker's receipt of each."""

import asyncio
from collections.abc import Sequence

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from pamqp import commands as spec
from pamqp.header import ContentHeader

from worker.errors import PublishInterrupted
from worker.monitoring.readiness import Readiness
from worker.process import own_task
from worker.process.failpoint import FailPoint, Gap
from worker.rabbitmq.aiormq_version import inside_is_known
from worker.rabbitmq.eager_reading import divert_confirms
from worker.rabbitmq.line import Line
from worker.rabbitmq.writing import OVER_CONTENT, Outgoing, open_proven_line, write_batch, write_one
from worker.values import Receipt

PART = "responses"
DIRECT_PART = "direct_replies"
WINDOW = 256  # publishes in flight on the channel at once
_SMALL_FRAME = 4088


class Publisher:
    """Publishes on one channel in confirm mode, on a connection of its own: a broker that is short of memory
    blocks the connections that publish, and acknowledgements must not wait with them.
    """

    def __init__(
        self, readiness: Readiness, confirm_timeout_seconds: float, fail_point: FailPoint, part: str = PART
    ) -> None:
        self.part = part
        self.lost_over_content = False
        """True when the broker closed the last connection because of what was published on it."""
        self._fail_point = fail_point
        self._readiness = readiness
        self._timeout = confirm_timeout_seconds
        self._line: Line | None = None
        self._in_flight: set[str | None] = set()
        self._landed = asyncio.Event()
        self._batch_write = inside_is_known("responses go out one by one")

    async def serve(self, connection: AbstractConnection) -> None:
        """Open a line on this connection and let publishes go through it, until it is lost."""
        line = await open_proven_line(connection, self._timeout)
        if self._batch_write:
            divert_confirms(line.channel)
        self._line = line
        self._readiness.up(self.part)
        try:
            error = await line.end()
            self.lost_over_content = isinstance(error, OVER_CONTENT)
            if error:
                raise error
        finally:
            self._line = None
            self._readiness.down(self.part, "not connected")

    async def until_up(self) -> None:
        await self._readiness.until_up(self.part)

    def carries(self, properties: spec.Basic.Properties) -> bool:
        """Return whether these properties fit into a frame: the broker closes the connection over larger
        ones.
        """
        if self._line is None:
            return True  # it is found out when there is one
        most: int = getattr(self._line.channel, "max_content_size", _SMALL_FRAME)
        return len(ContentHeader(properties=properties).marshal()) <= most

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """Publish the messages and return their receipts. Raises PublishInterrupted when the broker gave
        none: it is then unknown whether those messages were published, and they have to be published again.
        """
        receipts: list[Receipt] = []
        for start in range(0, len(messages), WINDOW):
            window = messages[start : start + WINDOW]
            ids = {message.properties.message_id for message in window}
            while not self._in_flight.isdisjoint(ids):
                self._landed.clear()
                await self._landed.wait()  # another copy of one of these: the client tells them apart by id
            self._in_flight |= ids
            try:
                receipts += await self._publish_window(window)
            finally:
                self._in_flight -= ids
                self._landed.set()
        return receipts

    async def _publish_window(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        line = self._line
        if line is None or line.channel.is_closed:
            self._readiness.down(self.part, "not connected")
            raise PublishInterrupted("not connected to the broker")
        try:
            async with asyncio.timeout(self._timeout):
                if self._batch_write:
                    return await write_batch(line.channel, messages, self._written)
                return list(await asyncio.gather(*(write_one(line.channel, message) for message in messages)))
        except TimeoutError:
            line.give_up(PublishStalled())
            raise PublishInterrupted(f"no confirm within {self._timeout:g} s") from None
        except Exception as error:  # what waits on a lost channel is rejected with any of them
            raise PublishInterrupted(f"{error!r}"[:300]) from error
        except asyncio.CancelledError as error:
            if own_task.is_being_cancelled():
                raise
            raise PublishInterrupted("the channel was closed") from error

    async def _written(self) -> None:
        await self._fail_point.reach(Gap.DURING_PUBLISH)


class PublishStalled(AMQPError):
    """A publish was not confirmed in time: the connection is given up and a new one made."""

    reason = "the broker did not confirm in time"
