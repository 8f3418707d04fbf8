"""Takes stored requests that may begin: put-off ones that are due, and waiting ones whose turn it is."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple, Protocol

import structlog

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres.alarm import Alarm
from worker.postgres.leases import Leases
from worker.postgres.rows import Held
from worker.process.failpoint import FailPoint, Gap
from worker.services.running import Running
from worker.steps.attempting import NEEDED, Attempting
from worker.steps.creating import Creation
from worker.steps.slots import Line, Slots, unlimited
from worker.values import Path

LOOK_SECONDS = 0.5  # at the latest: what other workers store rings no alarm here
_PASSED_BY_SECONDS = 0.02  # more each time: another worker is taking what may begin, or a limit is reached
_log = structlog.get_logger(__name__)


class Source(Protocol):
    """Requests in Postgres of which some may begin at a time."""

    alarm: Alarm

    async def next_in(self) -> float | None:
        """Return the seconds until one may begin; 0 or below: one may now. None: there is none."""

    async def take(self, lease: int, most: int, *, late_ones: bool) -> list[Held]:
        """Take some that may begin, under this lease. `late_ones`: only those past their deadline."""


class Kind(NamedTuple):
    """The kind of requests that is taken: the line in which they wait for a slot, and the way of their
    answers.
    """

    name: str
    failed: str  # the event that tells of an error
    line: Line
    path: Path


PUT_OFF = Kind("retries", "retries.failed", Line.AGAIN, "retried")
WAITING = Kind("waiting", "waiting.failed", Line.WAITED, "waited")


class Taking:
    """Takes them in batches, as many as there are slots for. It goes on at once while there are more, and
    sleeps until the next one may begin. All workers share the source: each passes by the requests that
    another one is taking.
    """

    def __init__(
        self,
        kind: Kind,
        source: Source,
        leases: Leases,
        attempting: Attempting,
        creation: Creation,
        readiness: Readiness,
        metrics: Metrics,
        fail_point: FailPoint,
        lanes: int,
        batch_size: int,
        is_paused: Callable[[], bool],
    ) -> None:
        self._kind = kind
        self._source = source
        self._leases = leases
        self._attempting = attempting
        self._creation = creation
        self._readiness = readiness
        self._metrics = metrics
        self._fail_point = fail_point
        self._lanes = asyncio.Semaphore(lanes)
        self._batch_size = batch_size
        self._is_paused = is_paused
        self._suspects = asyncio.Lock()
        self._stopping = False
        self._in_vain = 0
        self.running = Running()

    async def run(self) -> None:
        """Look again and again. A look that fails is logged, and the next one comes as ever."""
        while True:
            try:
                seconds = await self._look()
            except Exception:  # noqa: BLE001 — logged with its traceback; the service goes on
                _log.exception("service.failed", service=self._kind.name)
                seconds = LOOK_SECONDS
            await self._source.alarm.wait(seconds)

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True

    async def _look(self) -> float:
        """Begin one batch of them. Returns for how many seconds there is nothing more to do."""
        most = LOOK_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 — spreads load, guards nothing
        if self._stopping or not self._readiness.are_up(*NEEDED):
            return most
        next_in = await self._source.next_in()
        if next_in is None or next_in > 0:
            return most if next_in is None else min(next_in, most)
        paused = self._is_paused()
        slots = unlimited(self._batch_size) if paused else self._creation.reserve_now(self._batch_size)
        if paused or not slots.count:  # what is too late needs no slot, and waits for none
            if await self._take(unlimited(self._batch_size), late_ones=True):
                return 0
            if paused:
                return most
            slots = await self._creation.reserve(self._batch_size, self._kind.line)
        if not await self._take(slots, late_ones=False):
            self._in_vain += 1
            return min(most, _PASSED_BY_SECONDS * self._in_vain)
        self._in_vain = 0
        return 0

    async def _take(self, slots: Slots, *, late_ones: bool) -> bool:
        """Take a batch, and begin it; return whether there was anything to take."""
        async with AsyncExitStack() as batch:  # the batch's task gets all of it, or else it is given back
            batch.enter_context(slots)
            if not late_ones:
                await batch.enter_async_context(self._lanes)
            lease = batch.enter_context(self._leases.take())
            async with self.running.taking:
                if self._stopping:
                    return False
                held = await self._source.take(lease, slots.count, late_ones=late_ones)
                if not held:
                    return False
                slots.keep(min(slots.count, len(held)))  # at once: others may have a use for the rest
                await self._fail_point.reach(Gap.AFTER_CLAIM)
                self.running.begin(self._begin(held, lease, slots, batch.pop_all()))
        return True

    async def _begin(self, held: list[Held], lease: int, slots: Slots, batch: AsyncExitStack) -> None:
        try:
            async with batch:
                await self._work(held, lease, slots)
        except Exception:  # noqa: BLE001 — logged with its traceback; the lease runs out
            _log.exception(self._kind.failed, lease=lease, requests=len(held))

    async def _work(self, held: list[Held], lease: int, slots: Slots) -> None:
        await self._attempting.answer_again([row for row in held if row.response is not None])
        opened = await self._attempting.open(
            [row for row in held if row.response is None], lease, self._kind.path, lost=False, spent=False
        )
        harmless = [one for one in opened if not one.crashes]
        tried = await self._attempting.work(harmless, lease, slots, self._source.alarm)
        suspects = [one for one in opened if one.crashes]
        if suspects:
            async with (
                self._suspects
            ):  # one group at a time: a request that kills its worker takes few with it
                tried += await self._attempting.in_groups(suspects, lease, self._kind.line)
        if self._kind is PUT_OFF:
            self._metrics.retried.inc(tried)
