"""The place of a worker among those that read the shards: it holds one for a few seconds, again and again."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from worker.postgres.database import Database

HELD_SECONDS = 5.0


class ShardReader(NamedTuple):
    """A worker that reads shards."""

    worker: UUID
    spread: int  # over so many shards go the requests, as it was told
    serves: frozenset[int]


class ShardReaders(NamedTuple):
    """Those that read, in the order of their start, and how many shards there are to read."""

    readers: list[ShardReader]
    known: int


class ShardPlaces:
    """Keeps the place of one worker."""

    def __init__(self, database: Database, me: UUID) -> None:
        self._database = database
        self._me = me

    def is_own(self, reader: ShardReader) -> bool:
        return reader.worker == self._me

    async def known(self) -> int:
        """Return how many shards there are."""
        rows = await self._database.call("known_shards", aside=True)
        known: int = rows[0]["known"]
        return known

    async def add(self, shards: int) -> None:
        """Enter so many shards: from now on somebody reads them."""
        await self._database.call("add_shards", shards, aside=True)

    async def hold(self, spread: int, serves: Collection[int]) -> ShardReaders:
        """Hold the place for some seconds more, and say what is read; return who else does."""
        rows = await self._database.call(
            "hold_shards", self._me, spread, sorted(serves), HELD_SECONDS, aside=True
        )
        readers = [ShardReader(row["worker"], row["spread"], frozenset(row["serves"])) for row in rows]
        return ShardReaders(readers, rows[0]["known"])

    async def leave(self) -> None:
        """Give the place up."""
        await self._database.call("leave_shards", self._me, aside=True)
