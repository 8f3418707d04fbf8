"""The line of put-off requests: each is tried again when it is due."""

import asyncio
import random

import structlog

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres.rows import Held
from worker.postgres.store import Store
from worker.steps.attempting import NEEDED, Attempting
from worker.steps.creating import Creation
from worker.steps.turns import Line

LOOK_SECONDS = 1.0  # at the latest: what others have put off rings no alarm here
MEASURE_SECONDS = 5.0
_PASSED_BY_SECONDS = 0.05  # another worker is taking what is due
_COUNTED = 10_000
_log = structlog.get_logger(__name__)


class Retries:
    """Takes what is due in batches, as many as there is room for, the longest overdue first; goes on at once
    while there is more, and sleeps until the next one is due. All workers share the line: each passes by what
    another is taking.
    """

    def __init__(
        self,
        store: Store,
        attempting: Attempting,
        creation: Creation,
        readiness: Readiness,
        metrics: Metrics,
        lanes: int,
        batch_size: int,
    ) -> None:
        self._store = store
        self._attempting = attempting
        self._creation = creation
        self._readiness = readiness
        self._metrics = metrics
        self._lanes = asyncio.Semaphore(lanes)
        self._batch_size = batch_size
        self._suspects = asyncio.Lock()
        self._stopping = False
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Looks again and again. A look that fails is logged and the next one comes as ever."""
        while True:
            try:
                seconds = await self._look()
            except Exception:  # noqa: BLE001 — logged with its traceback; the service goes on
                _log.exception("service.failed", service="retries")
                seconds = LOOK_SECONDS
            await self._store.due_alarm.wait(seconds)

    def stop(self) -> None:
        """Takes nothing more."""
        self._stopping = True

    async def drain(self) -> None:
        """Wait for what is being worked on."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def measure(self) -> None:
        """Shows how much is due and not begun: of all workers together, so each of them shows the same."""
        due, overdue = await self._store.due_now(_COUNTED)
        self._metrics.retries_due.set(due)
        self._metrics.retry_overdue.set(overdue)

    async def _look(self) -> float:
        """Begins one batch of what is due. Returns for how many seconds there is nothing more to do."""
        most = LOOK_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 — spreads load, guards nothing
        if self._stopping or not self._readiness.are_up(*NEEDED):
            return most
        due_in = await self._store.next_due()
        if due_in is None or due_in > 0:
            return most if due_in is None else min(due_in, most)
        await self._lanes.acquire()
        room, lease, held = 0, self._store.new_lease(), list[Held]()
        try:
            room = await self._creation.room(self._batch_size, Line.AGAIN)
            if not self._stopping:
                held = await self._store.take_due(lease, room)
        finally:
            if not held:
                self._store.abandon(lease)
                self._creation.give_back(room)
                self._lanes.release()
        if not held:
            return _PASSED_BY_SECONDS
        # At once: to open what is due may take long, and others may have a use for the rest of the room.
        self._creation.give_back(room - len(held))
        task = asyncio.create_task(self._try_again(held, lease, len(held)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return 0

    async def _try_again(self, held: list[Held], lease: int, room: int) -> None:
        try:
            await self._work(held, lease, room)
        except Exception:  # noqa: BLE001 — logged with its traceback; the lease runs out
            _log.exception("retries.failed", lease=lease, requests=len(held))
            self._store.abandon(lease)
        except BaseException:
            self._store.abandon(lease)
            raise
        else:
            self._store.note_done(lease)
        finally:
            self._lanes.release()

    async def _work(self, held: list[Held], lease: int, room: int) -> None:
        reserved = room
        try:
            await self._attempting.answer_again([row for row in held if row.response is not None])
            opened = await self._attempting.open(
                [row for row in held if row.response is None], lease, "retried", lost=False, spent=False
            )
            harmless = [one for one in opened if not one.crashes]
            reserved = 0
        finally:
            self._creation.give_back(reserved)
        tried = await self._attempting.work(harmless, lease, room)
        suspects = [one for one in opened if one.crashes]
        if suspects:
            async with (
                self._suspects
            ):  # what has ended with its worker before takes few along if it does so again
                tried += await self._attempting.in_groups(suspects, lease, Line.AGAIN)
        self._metrics.retried.inc(tried)
