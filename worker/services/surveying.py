"""Finds out now and then, for all workers, what takes longer to find out. The elected one does."""

from collections.abc import Callable

from worker.monitoring.watched import Watched
from worker.operations import keys
from worker.postgres.database import Database
from worker.rabbitmq.volumes import Volumes

VOLUMES_SECONDS = 15.0  # the broker itself looks every five
SEALED_SECONDS = 600.0


class Surveying:
    """Asks about volumes and keys while this worker is elected. It holds nobody up: not the other looks of
    the elected one either.
    """

    def __init__(
        self, is_elected: Callable[[], bool], volumes: Volumes, database: Database, watched: Watched
    ) -> None:
        self._is_elected = is_elected
        self._volumes = volumes
        self._database = database
        self._watched = watched

    async def measure_queues(self) -> None:
        """Ask for the bytes of the queues, and for the messages that are not acknowledged."""
        if self._is_elected():
            found = await self._volumes.ask()
            if self._is_elected():  # still: another one shows it otherwise
                self._watched.show_volumes(found)

    async def count_sealed(self) -> None:
        """Count, within bounds, the rows that need each key."""
        if self._is_elected():
            found = await keys.recent_rows_by_key(self._database)
            if self._is_elected():
                self._watched.show_sealed(found)
