"""Messages over one of which the broker closed the connection: apart, nothing else is lost with them."""

import asyncio
from collections.abc import Sequence

from aio_pika.abc import AbstractConnection

from worker.errors import PublishInterrupted
from worker.process import own_task
from worker.rabbitmq.connection import Broker
from worker.rabbitmq.line import Line
from worker.rabbitmq.reconnecting import serve_once
from worker.rabbitmq.writing import OVER_CONTENT, Outgoing, open_proven_line, write_one
from worker.values import Receipt

_TRIES = 3
_CLOSE_SECONDS = 2


class Apart:
    """Publishes one after the other, on connections of their own."""

    def __init__(self, broker: Broker, confirm_timeout_seconds: float) -> None:
        self._broker = broker
        self._timeout = confirm_timeout_seconds

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """What the broker said of each. One that it closes each new connection over is unpublishable. Raises
        PublishInterrupted when a connection is lost in another way.
        """
        receipts: list[Receipt] = []
        tries = 0
        while len(receipts) < len(messages):
            confirmed = await self._publish_some(messages[len(receipts) :])
            receipts += confirmed
            tries = 1 if confirmed else tries + 1
            if tries == _TRIES:
                receipts.append(Receipt.UNPUBLISHABLE)
                tries = 0
        return receipts

    async def _publish_some(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """What was said until the end, or until the broker closed the connection over the next one."""
        receipts: list[Receipt] = []
        line: Line | None = None

        async def serve(connection: AbstractConnection) -> None:
            nonlocal line
            line = await open_proven_line(connection, self._timeout)
            for message in messages:
                async with asyncio.timeout(self._timeout):
                    receipts.append(await write_one(line.channel, message))

        try:
            await serve_once(self._broker, serve)
        except (Exception, asyncio.CancelledError) as error:
            if own_task.is_being_cancelled():
                raise
            if line is None or not await _ended_over_content(line):
                raise PublishInterrupted(f"{error!r}"[:300]) from error
        return receipts


async def _ended_over_content(line: Line) -> bool:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            return isinstance(await line.end(), OVER_CONTENT)
    except TimeoutError:
        return False
