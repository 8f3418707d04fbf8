"""Publishes messages over one of which the broker closed the connection, so that no other is lost with it."""

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


class OneByOne:
    """Publishes one message after the other, on connections of their own."""

    def __init__(self, broker: Broker, confirm_timeout_seconds: float) -> None:
        self._broker = broker
        self._timeout = confirm_timeout_seconds

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """Publish the messages and return their receipts. A message is unpublishable when the broker closes
        each new connection over it. Raises PublishInterrupted when a connection is lost in another way.
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
        """Return the receipts of all, or of those before the one that cost the connection."""
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
