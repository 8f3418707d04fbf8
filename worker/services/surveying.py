"""Finds out now and then, for all workers, what takes longer to find out. The elected one does."""

import time
from collections.abc import Callable

from worker.monitoring.watched import Watched
from worker.operations import dead_letters, keys
from worker.postgres.database import Database
from worker.rabbitmq.volumes import Volumes

VOLUMES_SECONDS = 15.0  # the broker itself looks every five
CUSTODY_SECONDS = 15.0
SEALED_SECONDS = 600.0
MOST_LETTERS = 100_000  # are counted, where there is no bound to how many are kept
_COST = 50  # what takes long to count is counted again after at least so many times what it took


class Surveying:
    """Asks about volumes, dead letters and keys while this worker is elected. It holds nobody up, nor the
    other looks of the elected one.
    """

    def __init__(
        self,
        is_elected: Callable[[], bool],
        volumes: Volumes,
        database: Database,
        most_letters: int,
        watched: Watched,
    ) -> None:
        self._is_elected = is_elected
        self._volumes = volumes
        self._database = database
        self._most_letters = most_letters
        self._letters_again = 0.0
        self._watched = watched

    async def measure_queues(self) -> None:
        """Ask for the bytes of the queues, and for the messages that are not acknowledged."""
        if self._is_elected():
            found = await self._volumes.ask()
            if self._is_elected():  # still: another one shows it otherwise
                self._watched.show_volumes(found)

    async def count_custody(self) -> None:
        """Count the dead letters in custody."""
        begun = time.monotonic()
        if self._is_elected() and begun >= self._letters_again:
            found = await dead_letters.count(self._database, self._most_letters)
            self._letters_again = begun + _COST * (time.monotonic() - begun)
            if self._is_elected():
                self._watched.dead_letters.set(found)

    async def count_sealed(self) -> None:
        """Count, within bounds, the rows that need each key."""
        if self._is_elected():
            found = await keys.recent_rows_by_key(self._database)
            if self._is_elected():
                self._watched.show_sealed(found)
