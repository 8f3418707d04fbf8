"""Step 1 of a batch: what has arrived goes into the pipeline, in several lanes at once."""

import asyncio
from contextlib import suppress

import structlog

from worker.postgres.leases import Leases
from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake
from worker.steps.creating import Creation
from worker.steps.pipeline import Pipeline
from worker.steps.reading_apart import ReadingApart
from worker.steps.slots import Slots

CANCELS_AT_ONCE = 64
_PAUSE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Lanes:
    """Takes what has arrived, batch after batch. While all lanes are busy, the next batch grows."""

    def __init__(
        self,
        requests: Intake,
        cancels: Intake,
        beside: ReadingApart,
        pipeline: Pipeline,
        creation: Creation,
        leases: Leases,
        lanes: int,
        batch_size: int,
    ) -> None:
        self._requests = requests
        self._cancels = cancels
        self._beside = beside
        self._pipeline = pipeline
        self._creation = creation
        self._leases = leases
        self._batch_size = batch_size
        self._free = asyncio.Semaphore(lanes)
        self._in_hand = 0

    async def feed(self) -> None:
        """Feed the lanes until the intakes are stopped and every batch that was begun is done."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._feed_requests())
            both.create_task(self._feed_cancels())

    async def _feed_requests(self) -> None:
        async with asyncio.TaskGroup() as batches:
            while True:
                await self._free.acquire()
                arrived = await self._requests.arrivals()
                if not arrived:
                    return
                slots = await self._creation.reserve(min(arrived, self._batch_size))
                batch = self._beside.keep(self._requests.take(slots.count))
                batches.create_task(self._run(batch, slots))

    async def _feed_cancels(self) -> None:
        """Feed the lane of the cancellations: they are wanted most when all the other lanes are busy."""
        while await self._cancels.arrivals():
            batch = self._beside.keep(self._cancels.take(CANCELS_AT_ONCE))
            try:
                await self._pipeline.run_cancels(batch)
            except Exception:  # noqa: BLE001 — logged with its traceback; nothing of it is lost
                _log.exception("batch.failed", requests=len(batch))
                await asyncio.sleep(_PAUSE_SECONDS)
                await self._cancels.give_back(batch)

    async def _run(self, batch: list[Delivery], slots: Slots) -> None:
        self._in_hand += 1
        try:
            with slots:
                if batch:  # else its channel was lost in between, or all of it is read apart
                    await self._pipeline.run(batch, slots)
        except Exception:  # noqa: BLE001 — logged with its traceback; nothing of it is lost
            _log.exception("batch.failed", requests=len(batch))
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._requests.give_back(batch)
        finally:
            self._in_hand -= 1
            self._free.release()
        if not self._in_hand and not self._requests.buffered and self._leases.has_notes:
            # No request waits for this now; the next one would. The periodic service tells of an error.
            with suppress(Exception):
                await self._leases.flush_notes()
