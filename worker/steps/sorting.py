"""Step 2 of a batch: messages are decoded, and sorted by what they are."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from worker.messages.began_at import began_at
from worker.messages.decoding import Limits, decode
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.process.failpoint import FailPoint
from worker.process.pace import rest
from worker.rabbitmq.channel_session import Delivery
from worker.steps.verdicts import unrecorded_answer
from worker.values import Answer, Arrival, Beginning, Cancellation, Read, Unreadable, Unrecorded


class Sorted(NamedTuple):
    """A decoded batch. If a request id occurs twice, the later deliveries are `repeated`: they are answered
    after the batch.
    """

    arrivals: dict[UUID, Arrival]
    deliveries: dict[UUID, Delivery]
    repeated: list[tuple[Delivery, Arrival]]
    unreadable: list[tuple[Delivery, Unreadable]]
    unrecorded: list[tuple[Delivery, Answer]]
    cancellations: list[tuple[Delivery, Cancellation]]


class Decoding:
    """Decodes one batch at a time, with turns for everybody else in between."""

    def __init__(self, limits: Limits, keys: SealKeys, metrics: Metrics, fail_point: FailPoint) -> None:
        self._limits = limits
        self._keys = keys
        self._metrics = metrics
        self._fail_point = fail_point
        self._one_at_a_time = asyncio.Lock()

    async def decode(self, batch: Sequence[Delivery]) -> list[tuple[Delivery, Read]]:
        async with self._one_at_a_time:
            with self._metrics.timed("decode"):
                return await self.decode_now(batch)

    async def decode_now(self, batch: Sequence[Delivery]) -> list[tuple[Delivery, Read]]:
        """Decode without waiting for the batches before: those that are few, and in a hurry."""
        reads: list[tuple[Delivery, Read]] = []
        now = datetime.now(UTC)
        for delivery in batch:
            await rest()
            self._fail_point.read(delivery.message.body)
            reads.append((delivery, decode(delivery.message, self._limits, self._keys, now)))
        return reads


def sort(reads: Sequence[tuple[Delivery, Read]]) -> Sorted:
    """Sort a decoded batch."""
    batch = Sorted(arrivals={}, deliveries={}, repeated=[], unreadable=[], unrecorded=[], cancellations=[])
    by_the_clock = time.time() - asyncio.get_running_loop().time()
    for delivery, read in reads:
        match read:
            case Unreadable():
                batch.unreadable.append((delivery, read))
            case Cancellation():
                batch.cancellations.append((delivery, read))
            case Unrecorded():
                batch.unrecorded.append((delivery, unrecorded_answer(read)))
            case Arrival():
                arrival = read._replace(since=_beginning(read, delivery, by_the_clock + delivery.received))
                if read.request_id in batch.arrivals:
                    batch.repeated.append((delivery, arrival))
                else:
                    batch.arrivals[read.request_id] = arrival
                    batch.deliveries[read.request_id] = delivery
    return batch


def _beginning(arrival: Arrival, delivery: Delivery, arrived: float) -> Beginning:
    stamp = arrival.request.timestamp if arrival.request else None
    headers = delivery.message.properties.headers or {}
    return Beginning(began_at(stamp, headers.get("timestamp_in_ms"), arrived), "direct")
