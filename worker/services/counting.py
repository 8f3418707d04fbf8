"""Adds to the kept counts of requests what the batches have appended, so that few rows wait to be added."""

from worker.postgres.database import Database

INTERVAL_SECONDS = 5
_AT_ONCE = 1_000


class Counting:
    """Adds it, some at a time. Of all workers one does it at a time; the others find nothing to do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> None:
        folded = _AT_ONCE
        while folded == _AT_ONCE:
            ((folded,),) = await self._database.call("fold_counts", _AT_ONCE, aside=True)
