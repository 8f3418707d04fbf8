"""Sends each message over the connection on which it can hold up and hurt the fewest others."""

import asyncio
from collections.abc import Sequence

import structlog

from worker.backoff import delays
from worker.errors import PublishInterrupted
from worker.monitoring.metrics import Metrics
from worker.rabbitmq.direct_reply import can_be_decoded, is_direct_reply
from worker.rabbitmq.known_queues import KnownQueues
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Publishes messages until the broker has given a receipt for each. A second copy of one does no harm."""

    def __init__(
        self,
        usual: Publisher,
        direct: Publisher,
        one_by_one: OneByOne,
        known_queues: KnownQueues,
        metrics: Metrics,
    ) -> None:
        self._usual = usual
        self._direct = direct
        self._one_by_one = one_by_one
        self._known_queues = known_queues
        self._metrics = metrics

    async def publish(self, messages: Sequence[Outgoing], *, ask: bool = False) -> list[Receipt | None]:
        """Publish the messages and return their receipts. A message is not sent when its receipt is known,
        unless `ask` is set. None stands for a direct reply that has to go apart, for the sake of the others.
        """
        receipts: list[Receipt | None] = [None] * len(messages)
        usual, direct = [], []
        for index, message in enumerate(messages):
            if not ask and (known := self._known_queues.known(message)):
                receipts[index] = known
            elif message.exchange or not is_direct_reply(message.routing_key):
                usual.append(index)
            elif can_be_decoded(message.routing_key):
                direct.append(index)
        found: Sequence[Receipt | None]
        if direct:
            of_usual, of_direct = await asyncio.gather(
                self._publish_usual([messages[index] for index in usual]),
                self._publish_direct([messages[index] for index in direct]),
            )
            found = [*of_usual, *of_direct]
        else:
            found = await self._publish_usual([messages[index] for index in usual])
        for index, receipt in zip([*usual, *direct], found, strict=True):
            receipts[index] = receipt
        return receipts

    async def publish_apart(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """Publish the messages one after the other, on connections of their own."""
        waits = delays(0.1, 5)
        while True:
            try:
                receipts = await self._one_by_one.publish(messages)
            except PublishInterrupted as error:
                await self._interrupted(self._usual, len(messages), error, next(waits))
            else:
                self._learn(messages, receipts)
                return receipts

    async def _publish_usual(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """Publish the messages together. When the broker has closed the connection over one of them, all go
        apart: together they would be lost with it again.
        """
        waits = delays(0.1, 5)
        while messages:
            try:
                receipts = await self._usual.publish(messages)
            except PublishInterrupted as error:
                await self._interrupted(self._usual, len(messages), error, next(waits))
                if self._usual.lost_over_content:
                    return await self.publish_apart(messages)
            else:
                self._learn(messages, receipts)
                return receipts
        return []

    async def _publish_direct(self, messages: Sequence[Outgoing]) -> list[Receipt | None]:
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
            self._known_queues.learn(message, receipt)
        for receipt, count in counts.items():
            self._metrics.responses.labels(receipt.value).inc(count)
