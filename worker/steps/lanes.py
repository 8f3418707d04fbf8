"""Step 1 of a batch: what has arrived goes into the pipeline, in several lanes at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress

import structlog

from worker.postgres.leases import Leases
from worker.process import own_task
from worker.process.pace import paced
from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake
from worker.steps.creating import Creation
from worker.steps.gate import Gate
from worker.steps.pipeline import Pipeline
from worker.steps.reading_apart import ReadingApart
from worker.steps.slots import Slots, unlimited

CANCELS_AT_ONCE = 64
_BESIDE = 2  # small batches beside the lanes
_LINING_UP = 2  # batches that only get in line: more would take the connections from those that begin
_PIECE = 32  # deliveries that are taken at once
_LARGE = 16  # a batch with more in it is paced: it holds the loop in slices
_GATHER_SECONDS = 0.005  # at most, until a batch begins beside others
_PAUSE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Lanes:
    """Takes what has arrived, batch after batch. While all lanes are busy, the next batch grows. `gathers`:
    also for a moment while some of them are. Many small batches would slow each other down.
    """

    def __init__(
        self,
        requests: Intake,
        cancels: Intake,
        beside: ReadingApart,
        pipeline: Pipeline,
        gate: Gate,
        creation: Creation,
        leases: Leases,
        lanes: int,
        batch_size: int,
        *,
        gathers: bool,
    ) -> None:
        self._requests = requests
        self._cancels = cancels
        self._beside = beside
        self._pipeline = pipeline
        self._gate = gate
        self._creation = creation
        self._leases = leases
        self._batch_size = batch_size
        self._gathers = gathers
        self._free = asyncio.Semaphore(lanes)
        self._free_beside = asyncio.Semaphore(_BESIDE)
        self._free_to_line_up = asyncio.Semaphore(_LINING_UP)
        self._in_hand = 0

    async def feed(self) -> None:
        """Feed the lanes until the intakes are stopped and every batch that was begun is done."""
        async with own_task.Group() as all_three:
            all_three.begin(self._feed_passers_by())
            all_three.begin(self._feed_requests())
            all_three.begin(self._feed_cancels())

    async def _feed_requests(self) -> None:
        async with own_task.Group() as batches:
            while True:
                await self._free.acquire()
                arrived = await self._requests.arrivals()
                if self._gathers and self._in_hand:
                    await self._gather()
                    arrived = await self._requests.arrivals()
                if not arrived:
                    return
                if self._requests.passes_by:
                    await self._begin_passers_by(batches, self._free)
                    continue
                most = min(arrived, self._batch_size)
                slots = self._creation.reserve_now(most)
                if not slots.count and not self._gate.takes_without_slots:
                    slots = await self._wait_for_slots(most)
                held = [self._free]
                if not slots.count:
                    await self._free_to_line_up.acquire()
                    held.append(self._free_to_line_up)
                # Those without a slot go into the lines: whose turn it is, is found out there.
                most = self._batch_size if self._gate.takes_without_slots else slots.count
                batch = self._beside.keep(await self._take(most))
                batches.begin(self._run(batch, slots, self._pipeline.run, *held))

    async def _gather(self) -> None:
        """Wait until enough have arrived for a batch that is worth it, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                while len(self._requests.hand) < (enough := self._enough()):
                    await self._requests.hand.until(enough)

    def _enough(self) -> int:
        """Return how many are worth a batch: beside another a quarter of a full one, else a full one."""
        if not self._in_hand:
            return 1
        return self._batch_size if self._in_hand > 1 else self._batch_size // 4

    async def _feed_passers_by(self) -> None:
        """Begin those whose turn it is before a flood at once, in small batches beside the lanes: in a lane
        they would take as long as the flood's batches do.
        """
        async with own_task.Group() as batches:
            while await self._requests.passers_by():
                await self._free_beside.acquire()
                if self._requests.passes_by:
                    await self._begin_passers_by(batches, self._free_beside)
                else:
                    self._free_beside.release()

    async def _begin_passers_by(self, batches: own_task.Group, lane: asyncio.Semaphore) -> None:
        """Those for which no call is free get in line, where they have turns as well, if there is room."""
        slots = self._creation.reserve_now(self._batch_size)
        if not slots.count and self._gate.full:
            slots = await self._wait_for_slots(self._batch_size)
        most = slots.count if self._gate.full else self._batch_size
        batch = self._beside.keep(self._requests.take(most, passing=True))
        batches.begin(self._run(batch, slots, self._pipeline.run_small, lane))

    async def _take(self, most: int) -> list[Delivery]:
        """Take what has arrived, in pieces: whoever is in a hurry goes between them."""
        batch: list[Delivery] = []
        while some := self._requests.take(piece := min(_PIECE, most - len(batch)), passing=False):
            batch += some
            if len(some) < piece or len(batch) == most:
                break
            await asyncio.sleep(0)
        return batch

    async def _wait_for_slots(self, most: int) -> Slots:
        """Wait for slots, but only until there is something behind these deliveries to be looked at."""
        reserving = asyncio.ensure_future(self._creation.reserve(most))
        while not reserving.done() and not self._gate.takes_without_slots:
            signs = [asyncio.ensure_future(self._gate.change())]
            if not self._requests.hand.is_backlogged:
                signs.append(asyncio.ensure_future(self._requests.hand.until_backlogged()))
            try:
                await asyncio.wait([reserving, *signs], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for sign in signs:
                    sign.cancel()
        if reserving.done():
            return reserving.result()
        reserving.cancel()
        return unlimited(0)

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

    async def look_at_held(self) -> None:
        """Take what is held for want of room through the gate again. A paused worker gives it back."""
        if not self._pipeline.held:
            return
        if self._gate.worker_paused:
            await self.give_back_held()
            return
        with self._creation.reserve_now(min(self._pipeline.held, self._batch_size)) as slots:
            held = self._pipeline.take_held()
            try:
                await self._pipeline.run_read(held, slots)
            except Exception:  # noqa: BLE001 — logged with its traceback; nothing of it is lost
                _log.exception("batch.failed", requests=len(held))
                await self._requests.give_back([delivery for delivery, _ in held])

    async def give_back_held(self) -> None:
        """Give back what is held: another worker may have room for it later, or this one when it is back."""
        await self._requests.give_back([delivery for delivery, _ in self._pipeline.take_held()])

    async def _run(
        self,
        batch: list[Delivery],
        slots: Slots,
        run: Callable[[list[Delivery], Slots], Awaitable[None]],
        *held: asyncio.Semaphore,
    ) -> None:
        self._in_hand += 1
        try:
            with slots, paced() if len(batch) > _LARGE else nullcontext():
                if batch:  # else its channel was lost in between, or all of it is read apart
                    await run(batch, slots)
        except Exception:  # noqa: BLE001 — logged with its traceback; nothing of it is lost
            _log.exception("batch.failed", requests=len(batch))
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._requests.give_back(batch)
        finally:
            self._in_hand -= 1
            self._requests.hand.look()
            for free in held:
                free.release()
        if not self._in_hand and not self._requests.hand:
            # No request waits for this now; the next one would. The periodic service tells of an error.
            with suppress(Exception):
                await self._leases.flush_notes()
