"""Names the servers, database and queues of a fault test, and tells worker processes of them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import aio_pika
import asyncpg
from support.harness import eventually, ready_and_readers

from worker.rabbitmq.topology import names_for

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Scene:
    amqp_url: str
    database_url: str
    prefix: str
    patience_seconds: float = 60
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """Returns a worker process's settings. Times are short: a lease ends within a test's
        patience. Calls of handlers are not: another worker, or a server, may take long to start.
        """
        return {
            "AMQP_URL": self.amqp_url,
            "DATABASE_URL": self.database_url,
            "WORKER_PREFIX": self.prefix,
            "WORKER_LEASE_SECONDS": "2",
            "WORKER_CONFIRM_TIMEOUT_SECONDS": "3",
            "WORKER_GRACE_SECONDS": "10",
            "WORKER_HANDLER_TIMEOUT_SECONDS": "600",
            "WORKER_MAX_DEAD_LETTERS": "0",
            "MANAGEMENT_URL": "",  # else each worker would ask it
            **self.more,
        }

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until the condition holds; for what sends no event when it changes."""
        try:
            async with asyncio.timeout(self.patience_seconds):
                while not condition():  # noqa: ASYNC110 — a process's state and a row send no event
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not within {self.patience_seconds:g} s: {what}") from None

    async def until_rows(self, db: asyncpg.Connection, query: str) -> None:
        """Waits until this query returns true."""
        try:
            async with asyncio.timeout(self.patience_seconds):
                while not await db.fetchval(query):  # noqa: ASYNC110 — as above
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not within {self.patience_seconds:g} s: {query}") from None

    async def purge_requests(self, count: int) -> None:
        """Empties the request queue, as an operator might by hand, once so many messages have come back."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            name = names_for(self.prefix).requests

            async def all_are_back() -> bool:
                ready, _ = await ready_and_readers(channel, name)
                return ready >= count

            await eventually(all_are_back, self.patience_seconds)
            queue = await channel.get_queue(name, ensure=False)
            await queue.purge()
