"""Limits and pauses are kept in Postgres, for all workers."""

from collections.abc import Sequence
from typing import NamedTuple

from worker.postgres.database import Database
from worker.rules import Limit, Pause, Rules, rules_of


class Edition(NamedTuple):
    """Tells whether anything has changed: with each change, and when a pause ends by itself."""

    version: int
    pauses: int


class RuleBook:
    """Reads what is in force."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def edition(self) -> tuple[Edition, bool]:
        """Return the edition that is in force, and whether any line has something that may begin."""
        row = (await self._database.call("rules_edition", aside=True))[0]
        return Edition(row["version"], row["pauses"]), row["any_in_line"]

    async def read(self) -> Rules:
        rows = await self._database.call("rules", aside=True)
        return rules_of(
            [
                Limit(
                    scope=row["scope"],
                    name=row["name"],
                    running=row["running"],
                    rate=row["rate"],
                    burst=row["burst"],
                    weight=row["weight"],
                )
                for row in rows
                if row["kind"] == "limit"
            ],
            [
                Pause(
                    scope=row["scope"],
                    name=row["name"],
                    reason=row["reason"],
                    paused_by=row["paused_by"],
                    paused_at=row["paused_at"],
                    ends_at=row["ends_at"],
                )
                for row in rows
                if row["kind"] == "pause"
            ],
        )

    async def settle(self, limits: Sequence[Limit]) -> None:
        """Put the limits of a worker's settings in the place of those that were there as settings before."""
        await self._database.call(
            "settle_limits",
            [limit.scope for limit in limits],
            [limit.name for limit in limits],
            [limit.running for limit in limits],
            [limit.rate for limit in limits],
            [limit.burst for limit in limits],
            [limit.weight for limit in limits],
        )
