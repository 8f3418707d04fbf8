"""The ways to the broker: each message takes the one on which it can hold up and hurt the fewest others."""

import asyncio
from collections.abc import Sequence

import structlog

from worker.backoff import delays
from worker.errors import PublishInterrupted
from worker.monitoring.metrics import Metrics
from worker.rabbitmq.full_queues import Room, can_be_decoded, is_direct
from worker.rabbitmq.one_by_one import Apart
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

_log = structlog.get_logger(__name__)


class Ways:
    """Publishes until the broker has said something of each message. A second copy does no harm."""

    def __init__(
        self, publisher: Publisher, direct: Publisher, apart: Apart, room: Room, metrics: Metrics
    ) -> None:
        self._publisher = publisher
        self._direct = direct
        self._apart = apart
        self._room = room
        self._metrics = metrics

    async def publish(self, messages: Sequence[Outgoing], *, ask: bool = False) -> list[Receipt | None]:
        """What the broker said of each, or, unless it is to be asked all the same, would say. None: this is a
        direct reply that has to go apart, for the sake of the others.
        """
        receipts: list[Receipt | None] = [None] * len(messages)
        usual, direct = [], []
        for index, message in enumerate(messages):
            if not ask and (known := self._room.known(message)):
                receipts[index] = known
            elif not is_direct(message):
                usual.append(index)
            elif can_be_decoded(message.routing_key):
                direct.append(index)
        if direct:
            said = await asyncio.gather(
                self._usual([messages[index] for index in usual]),
                self._directly([messages[index] for index in direct]),
            )
            found: Sequence[Receipt | None] = [*said[0], *said[1]]
        else:
            found = await self._usual([messages[index] for index in usual])
        for index, receipt in zip([*usual, *direct], found, strict=True):
            receipts[index] = receipt
        return receipts

    async def apart(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """Publishes one after the other, on connections of their own."""
        waits = delays(0.1, 5)
        while True:
            try:
                receipts = await self._apart.publish(messages)
            except PublishInterrupted as error:
                await self._interrupted(self._publisher, len(messages), error, next(waits))
            else:
                self._learn(messages, receipts)
                return receipts

    async def _usual(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """When the broker closed the connection over one of these, all go apart: they would be lost with it
        again.
        """
        waits = delays(0.1, 5)
        while messages:
            try:
                receipts = await self._publisher.publish(messages)
            except PublishInterrupted as error:
                await self._interrupted(self._publisher, len(messages), error, next(waits))
                if self._publisher.lost_over_content:
                    return await self.apart(messages)
            else:
                self._learn(messages, receipts)
                return receipts
        return []

    async def _directly(self, messages: Sequence[Outgoing]) -> list[Receipt | None]:
        waits = delays(0.1, 5)
        while True:
            try:
                receipts = await self._direct.publish(messages)
            except PublishInterrupted as error:
                await self._interrupted(self._direct, len(messages), error, next(waits))
                if self._direct.lost_over_content:
                    return [None] * len(messages)
            else:
                self._learn(messages, receipts)
                return [*receipts]

    async def _interrupted(
        self, publisher: Publisher, messages: int, error: PublishInterrupted, delay: float
    ) -> None:
        _log.warning("publish.interrupted", messages=messages, part=publisher.part, reason=str(error))
        await asyncio.sleep(delay)
        await publisher.until_up()

    def _learn(self, messages: Sequence[Outgoing], receipts: Sequence[Receipt]) -> None:
        counts: dict[Receipt, int] = {}
        for message, receipt in zip(messages, receipts, strict=True):
            counts[receipt] = counts.get(receipt, 0) + 1
            self._room.learn(message, receipt)
        for receipt, count in counts.items():
            self._metrics.responses.labels(receipt.value).inc(count)
