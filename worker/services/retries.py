"""Tries each put-off request again when it is due."""

import asyncio
import random
from contextlib import AsyncExitStack

import structlog

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.rows import Held
from worker.services.running import Running
from worker.steps.attempting import NEEDED, Attempting
from worker.steps.creating import Creation
from worker.steps.slots import Line, Slots

LOOK_SECONDS = 1.0  # at the latest: the retries of other workers ring no alarm here
MEASURE_SECONDS = 5.0
_PASSED_BY_SECONDS = 0.05  # another worker is taking the due ones
_COUNTED = 10_000
_log = structlog.get_logger(__name__)


class Retries:
    """Takes due requests in batches, as many as there are slots for, the longest overdue first. It goes on
    at once while there are more, and sleeps until the next one is due. All workers share the line: each
    passes by the requests that another one is taking.
    """

    def __init__(
        self,
        line: PutOffLine,
        leases: Leases,
        attempting: Attempting,
        creation: Creation,
        readiness: Readiness,
        metrics: Metrics,
        lanes: int,
        batch_size: int,
    ) -> None:
        self._line = line
        self._leases = leases
        self._attempting = attempting
        self._creation = creation
        self._readiness = readiness
        self._metrics = metrics
        self._lanes = asyncio.Semaphore(lanes)
        self._batch_size = batch_size
        self._suspects = asyncio.Lock()
        self._stopping = False
        self.running = Running()

    async def run(self) -> None:
        """Look again and again. A look that fails is logged, and the next one comes as ever."""
        while True:
            try:
                seconds = await self._look()
            except Exception:  # noqa: BLE001 — logged with its traceback; the service goes on
                _log.exception("service.failed", service="retries")
                seconds = LOOK_SECONDS
            await self._line.due_alarm.wait(seconds)

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True

    async def measure(self) -> None:
        """Show how many are due and not begun. Each worker shows the same number: it counts those of all."""
        due, overdue = await self._line.due_now(_COUNTED)
        self._metrics.retries_due.set(due)
        self._metrics.retry_overdue.set(overdue)

    async def _look(self) -> float:
        """Begin one batch of due requests. Returns for how many seconds there is nothing more to do."""
        most = LOOK_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 — spreads load, guards nothing
        if self._stopping or not self._readiness.are_up(*NEEDED):
            return most
        due_in = await self._line.next_due()
        if due_in is None or due_in > 0:
            return most if due_in is None else min(due_in, most)
        async with AsyncExitStack() as batch:  # the batch's task gets all of it, or else it is given back
            await batch.enter_async_context(self._lanes)
            slots = batch.enter_context(await self._creation.reserve(self._batch_size, Line.AGAIN))
            lease = batch.enter_context(self._leases.take())
            held = [] if self._stopping else await self._line.take_due(lease, slots.count)
            if not held:
                return _PASSED_BY_SECONDS
            slots.keep(len(held))  # at once: others may have a use for the rest
            self.running.begin(self._try_again(held, lease, slots, batch.pop_all()))
        return 0

    async def _try_again(self, held: list[Held], lease: int, slots: Slots, batch: AsyncExitStack) -> None:
        try:
            async with batch:
                await self._work(held, lease, slots)
        except Exception:  # noqa: BLE001 — logged with its traceback; the lease runs out
            _log.exception("retries.failed", lease=lease, requests=len(held))

    async def _work(self, held: list[Held], lease: int, slots: Slots) -> None:
        await self._attempting.answer_again([row for row in held if row.response is not None])
        opened = await self._attempting.open(
            [row for row in held if row.response is None], lease, "retried", lost=False, spent=False
        )
        harmless = [one for one in opened if not one.crashes]
        tried = await self._attempting.work(harmless, lease, slots)
        suspects = [one for one in opened if one.crashes]
        if suspects:
            async with (
                self._suspects
            ):  # one group at a time: a request that kills its worker takes few with it
                tried += await self._attempting.in_groups(suspects, lease, Line.AGAIN)
        self._metrics.retried.inc(tried)
