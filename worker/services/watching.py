"""Watches what belongs to no worker alone: queues, tables, and what waits in them. One worker does."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from uuid import UUID

from worker.monitoring.metrics import Metrics, value_of, values_of
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.election import Elected, Election, Measured
from worker.rabbitmq import intake
from worker.rabbitmq.depths import Depths
from worker.rabbitmq.topology import Names

LOOK_SECONDS = 5.0
_MEASURE_LOOKS = 2  # each so many looks it writes down what it has seen
_TABLES_SECONDS = 60.0
_COST = 50  # requests are looked at again after at least so many times what it took


class Watching:
    """Stands for election, and watches once it is elected."""

    def __init__(
        self,
        election: Election,
        depths: Depths,
        readiness: Readiness,
        metrics: Metrics,
        names: Names,
        shards: Callable[[], Sequence[str]],
    ) -> None:
        """`shards`: tells the queues of requests."""
        self._election = election
        self._depths = depths
        self._readiness = readiness
        self._metrics = metrics
        self._watched = metrics.watched
        self._names = names
        self._shards = shards
        self._looks = 0
        self._answered: dict[UUID, list[int]] | None = None
        self._clock = asyncio.get_running_loop().time
        self._requests_again = self._tables_again = 0.0
        self.elected = False

    async def run_once(self) -> None:
        """Stand for election; if this worker wins, watch until the lock is lost."""
        if self._readiness.are_up(database.PART):
            await self._election.hold(self._watch)

    async def _watch(self, elected: Elected) -> None:
        self._requests_again = self._tables_again = 0.0
        self._looks, self._answered = 0, None
        self.elected = True
        try:
            while True:
                await self._look(elected)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.elected = False
            self._watched.forget()
            await self._depths.close()

    async def _look(self, elected: Elected) -> None:
        """Look once. What takes long comes last."""
        self._watched.lock_wait.set(await elected.lock_wait())
        depths = await self._depths.ask() if self._readiness.are_up(intake.PART) else []
        self._watched.show_queues(depths)
        begun = self._clock()
        if begun >= self._requests_again:
            oldest = await elected.oldest_unfinished()
            if oldest is not None:
                self._watched.oldest_unfinished.set(oldest)
            self._requests_again = begun + _COST * (self._clock() - begun)
        if begun >= self._tables_again:
            self._watched.show_tables(await elected.table_bytes())
            self._tables_again = begun + _TABLES_SECONDS
        if self._looks % _MEASURE_LOOKS == 0:
            await self._measure(elected, {depth.queue: depth.ready for depth in depths})
        self._looks += 1

    async def _measure(self, elected: Elected, ready: Mapping[str, int]) -> None:
        """Write down what was seen. What there is of all workers together, each of them knows."""
        before, self._answered = self._answered, await elected.answered()
        metrics = self._metrics
        await elected.measure(
            Measured(
                answered=risen(before, self._answered),
                queued=self._queued(ready),
                unread=ready.get(self._names.responses),
                dead=ready.get(self._names.dead),
                oldest=value_of(self._watched.oldest_unfinished),
                due=int(value_of(metrics.retries_due)),
                overdue=value_of(metrics.retry_overdue),
                waiting={reason: int(number) for reason, number in values_of(metrics.waiting).items()},
                unanswered=int(sum(values_of(metrics.unanswered).values())),
            )
        )

    def _queued(self, ready: Mapping[str, int]) -> int | None:
        """Add up the requests that lie ready in all shards; None: the broker does not tell."""
        shards = [ready[queue] for queue in self._shards() if queue in ready]
        return sum(shards) if shards else None


def risen(before: Mapping[UUID, Sequence[int]] | None, now: Mapping[UUID, Sequence[int]]) -> list[int]:
    """Add up what all workers have answered since before. Who is new has answered all of it since then."""
    if before is None:
        return []
    rises = [
        [later - earlier for later, earlier in zip_longest(counts, before.get(worker, ()), fillvalue=0)]
        for worker, counts in now.items()
    ]
    return [max(0, sum(rise)) for rise in zip_longest(*rises, fillvalue=0)]
