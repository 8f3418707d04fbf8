"""A worker's way to the stand-in for Postgres: late, at times in vain, at times with the answer lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from simulation.loop import ACTOR, SimulatedLoop
from simulation.table_rows import Rows
from simulation.tables import Tables

from worker.monitoring.readiness import Readiness
from worker.postgres.database import PART, Around, Database, _unchanged

_MOST_SECONDS = 15.0  # that a worker waits for an answer
_STATEMENT_SECONDS = 14.0  # of the server: a statement that takes longer is ended
_CHANGES_NOTHING = {
    "all_is_safe", "known", "to_cancel", "next_due", "due_now", "next_in_line", "lines_awake",
    "count_waiting", "rules_edition", "rules", "register", "heartbeat", "held",
}  # fmt: skip


class Postgres:
    """The server's end. It carries out what it has received, whatever becomes of the worker meanwhile."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, tables: Tables) -> None:
        self.loop = loop
        self.chance = chance
        self.tables = tables
        self.is_up = True
        self.lost_before = self.lost_after = self.slow = 0.0  # how often
        self.on_commit: Callable[[int], bool] = lambda _: (
            False
        )  # whose it is; returns whether its answer is lost

    def _latency(self) -> float:
        if self.slow and self.chance.random() < self.slow:
            return self.chance.uniform(0.2, 8.0)
        return self.chance.uniform(0.0001, 0.003)

    def ask(self, query: str, args: tuple[Any, ...]) -> Awaitable[Rows]:
        """Send a statement. Its answer may come late or not at all, and so may the statement."""
        answer: asyncio.Future[Rows] = self.loop.create_future()
        there, back = self._latency(), self._latency()
        actor = ACTOR.get()
        lost = self.chance.random()

        def reply(rows: Rows | BaseException) -> None:
            if not answer.done():
                answer.set_exception(rows) if isinstance(rows, BaseException) else answer.set_result(rows)

        def carry_out() -> None:
            found: Rows | BaseException
            if not self.is_up or lost < self.lost_before or there > _STATEMENT_SECONDS:
                found = asyncpg.ConnectionDoesNotExistError("the connection was lost")
            else:
                try:
                    found = self.tables.run(query, args)
                except asyncpg.PostgresError as error:
                    found = error
                else:
                    struck = bool(found) and query not in _CHANGES_NOTHING and self.on_commit(actor)
                    if struck or lost > 1 - self.lost_after:
                        found = asyncpg.ConnectionDoesNotExistError("the answer was lost")
            self.loop.later(back, lambda: reply(found))

        self.loop.later(there, carry_out)
        if there + back > _MOST_SECONDS:
            self.loop.later(_MOST_SECONDS, lambda: reply(TimeoutError()))
        return answer


class SimulatedDatabase(Database):
    """Repeats a statement as the real one does. What is different is who answers."""

    def __init__(self, postgres: Postgres, readiness: Readiness) -> None:
        super().__init__("postgresql://simulated", 4, None, readiness)
        self._postgres = postgres

    async def open(self, schema: str | None = None) -> None:
        self._schema = schema
        self._readiness.up(PART)

    async def once(self, query: str, *args: Any, around: Around = _unchanged) -> Rows:
        return list(await around(self._postgres.ask(query, args)))
