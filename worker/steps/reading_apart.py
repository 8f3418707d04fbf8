"""Large and suspect deliveries are read in another process, so that no light one waits for them."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence

import structlog

from worker.errors import ReaderUnavailable
from worker.process import own_task
from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake
from worker.reading.reader import Reader
from worker.steps.creating import Creation
from worker.steps.pipeline import Pipeline
from worker.steps.slots import Slots, unlimited
from worker.values import Arrival, Read

_PAUSE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class ReadingApart:
    """Reads them one after the other; those that have been read meanwhile become a batch like any other."""

    def __init__(
        self, reader: Reader, pipeline: Pipeline, creation: Creation, intake: Intake, lanes: int, most: int
    ) -> None:
        self._reader = reader
        self._pipeline = pipeline
        self._creation = creation
        self._intake = intake
        self._lanes = lanes
        self._most = most
        self._waiting: deque[Delivery] = deque()
        self._read: deque[tuple[Delivery, Read]] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Take these deliveries out of a batch; returns the rest of it."""
        light = []
        for delivery in deliveries:
            if self._reader.is_for(delivery.message):
                self._waiting.append(delivery)
            else:
                light.append(delivery)
        if self._waiting and self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        return light

    async def drain(self) -> None:
        """Give back what has not been read, and wait for the rest."""
        unread, self._waiting = list(self._waiting), deque()
        await self._intake.give_back(unread)
        if self._reading:
            await asyncio.gather(self._reading, return_exceptions=True)
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def cancel(self) -> None:
        """Stop at once. The deliveries in hand come again when their channel has closed."""
        self._waiting.clear()
        self._read.clear()
        await own_task.end([*self._running, *([self._reading] if self._reading else [])])

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                delivery = self._waiting.popleft()
                if delivery.session.open:
                    await self._read_one(delivery)
        finally:
            self._reading = None

    async def _read_one(self, delivery: Delivery) -> None:
        try:
            read = await self._reader.read(delivery.message)
        except ReaderUnavailable as error:
            _log.error("reader.unavailable", reason=str(error), consequence="given back to the broker")
            await self._again_later([delivery])
        except Exception:  # noqa: BLE001 — logged with its traceback; nothing of it is lost
            _log.exception("reader.failed")
            await self._again_later([delivery])
        else:
            if isinstance(read, Arrival):
                self._read.append((delivery, read))
                self._begin()
            else:  # a cancellation, before all, waits for no slot
                self._start(self._run([(delivery, read)], unlimited(0)))

    def _begin(self) -> None:
        if self._read and len(self._running) < self._lanes:
            self._start(self._run_arrivals())

    def _start(self, run: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(run)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            self._begin()

    async def _run_arrivals(self) -> None:
        batch: list[tuple[Delivery, Read]] = []
        slots = await self._creation.reserve(min(len(self._read), self._most))
        while self._read and len(batch) < slots.count:
            batch.append(self._read.popleft())
        await self._run(batch, slots)

    async def _run(self, batch: Sequence[tuple[Delivery, Read]], slots: Slots) -> None:
        try:
            with slots:
                await self._pipeline.run_read(batch, slots)
        except Exception:  # noqa: BLE001 — logged with its traceback; nothing of it is lost
            _log.exception("batch.failed", requests=len(batch))
            await self._again_later([delivery for delivery, _ in batch])

    async def _again_later(self, deliveries: Sequence[Delivery]) -> None:
        await asyncio.sleep(_PAUSE_SECONDS)
        await self._intake.give_back(deliveries)
