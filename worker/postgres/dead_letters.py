"""Dead letters in custody: taken in, counted and, in the end, deleted."""

from collections.abc import Sequence
from typing import NamedTuple

from worker.messages.custody import Letter
from worker.postgres.database import Database

RESTORABLE_SECONDS = 7 * 86_400
_AT_ONCE = 500


class Retired(NamedTuple):
    """How many were deleted: of those that nobody had looked after, and of the others."""

    kept: int
    ended: int


class Custody:
    """Keeps dead letters. Each method is one committed statement, which may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, letters: Sequence[Letter]) -> int:
        """Store those that are new; return how many these are. Raises ValuesRefused for one of them."""
        columns = [list(column) for column in zip(*letters, strict=True)]
        return len(await self._database.call("keep_dead_letters", *columns, aside=True))

    async def count(self, most: int) -> int:
        """Count those that are kept, up to `most`."""
        kept: int = (await self._database.call("count_dead_letters", most, aside=True))[0]["kept"]
        return kept

    async def retire(self, seconds: float | None) -> Retired:
        """Delete those that are older than this; and those that were replayed or dropped, once they can be
        restored no more.
        """
        states: list[str] = []
        while True:
            rows = await self._database.call(
                "retire_dead_letters", seconds, RESTORABLE_SECONDS, _AT_ONCE, aside=True
            )
            states += [row["state"] for row in rows]
            if len(rows) < _AT_ONCE:
                kept = states.count("kept")
                return Retired(kept, len(states) - kept)
