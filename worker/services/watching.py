"""Watches what belongs to no worker alone: queues, tables, and what waits in them. One worker does."""

import asyncio

from worker.monitoring.readiness import Readiness
from worker.monitoring.watched import Watched
from worker.postgres import database
from worker.postgres.election import Elected, Election
from worker.rabbitmq import intake
from worker.rabbitmq.depths import Depths

LOOK_SECONDS = 5.0
_TABLES_SECONDS = 60.0
_COST = 50  # requests are looked at again after at least so many times what it took


class Watching:
    """Stands for election, and watches once it is elected."""

    def __init__(self, election: Election, depths: Depths, readiness: Readiness, watched: Watched) -> None:
        self._election = election
        self._depths = depths
        self._readiness = readiness
        self._watched = watched
        self._clock = asyncio.get_running_loop().time
        self._requests_again = self._tables_again = 0.0
        self.elected = False

    async def run_once(self) -> None:
        """Stand for election; if this worker wins, watch until the lock is lost."""
        if self._readiness.are_up(database.PART):
            await self._election.hold(self._watch)

    async def _watch(self, elected: Elected) -> None:
        self._requests_again = self._tables_again = 0.0
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
        self._watched.show_queues(await self._depths.ask() if self._readiness.are_up(intake.PART) else ())
        begun = self._clock()
        if begun >= self._requests_again:
            oldest = await elected.oldest_unfinished()
            if oldest is not None:
                self._watched.oldest_unfinished.set(oldest)
            self._requests_again = begun + _COST * (self._clock() - begun)
        if begun >= self._tables_again:
            self._watched.show_tables(await elected.table_bytes())
            self._tables_again = begun + _TABLES_SECONDS
