"""The heartbeat shows that this worker lives, and keeps its leases."""

import asyncio
from collections.abc import Callable, Sequence

from worker.monitoring.strain import Strain
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.process.identity import Identity

_FORGET_AFTER_SECONDS = 86_400
_MOST_ENDED = 10_000  # workers that are kept to name those of old requests
# In intervals. Other workers beat at most 1.2 intervals apart, so an outage of less ends none of their
# leases.
_LATE = 1.8


class Heartbeat:
    """Beats three times in a lease. A worker that cannot trust its own clock or database must not take others
    for dead: it is `steady` only after a whole lease in which every beat came in time.
    """

    def __init__(
        self,
        leases: Leases,
        database: Database,
        me: Identity,
        answered: Callable[[], Sequence[int]],
        strain: Strain,
        *,
        keeps_seconds: float | None,
    ) -> None:
        """`keeps_seconds`: how long requests are kept; None: for ever."""
        self._leases = leases
        self._answered = answered
        self._database = database
        self._me = me
        self._strain = strain
        self._keeps_seconds = keeps_seconds
        self._lease_seconds = leases.seconds
        self.interval = leases.seconds / 3
        self._last = self._steady_from = asyncio.get_running_loop().time() + leases.seconds

    @property
    def steady(self) -> bool:
        return asyncio.get_running_loop().time() >= self._steady_from

    async def beat(self) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        me = self._me
        told = self._answered(), self._strain.tell()
        await self._leases.heartbeat(me.host, me.pid, me.version, *told)
        now = clock()
        if now - begun > self.interval or now - self._last > _LATE * self.interval:
            # Postgres or this process was away. The other workers' leases ran out meanwhile; they get the
            # time of one lease to show that they live.
            self._steady_from = now + self._lease_seconds
        self._last = now

    async def forget_the_silent(self) -> None:
        """Take those for ended that were silent for a day, and forget those that no request can be of."""
        await self._database.call(
            "forget_workers", _FORGET_AFTER_SECONDS, self._keeps_seconds, _MOST_ENDED, aside=True
        )
