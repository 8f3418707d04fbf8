"""Watches an outage: whether workers say that they are ready, and where messages went."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
import aiohttp
import asyncpg
from aio_pika.abc import AbstractChannel
from support.faults.load import Books
from support.faults.processes import WorkerProcess
from support.harness import ready_and_readers

from worker.operations.promises import verify
from worker.rabbitmq.topology import names_for

_LOOK_SECONDS = 0.05


async def readyz(worker: WorkerProcess) -> dict[str, str]:
    """Returns why the worker is not ready, as /readyz says: one reason for each part; nothing when it is."""
    port = (await worker.event("worker.starting"))["http_port"]
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}/readyz") as response,
    ):
        page = await response.json()
        assert (response.status, page["status"]) in ((200, "ready"), (503, "not ready"))
        reasons: dict[str, str] = page.get("reasons", {})
        assert bool(reasons) == (response.status == 503)
        return reasons


async def until_down(
    part: str, workers: Sequence[WorkerProcess], saying: str = "", seconds: float = 90
) -> None:
    """Waits until each worker says that this part is down, and why."""
    for worker in workers:
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds):
                while saying not in found.get(part, "") or part not in found:
                    await asyncio.sleep(_LOOK_SECONDS)
                    found = await readyz(worker)
        except TimeoutError:
            raise AssertionError(f"it does not say that {part} is down ({saying!r}): {found}") from None


async def until_up(workers: Sequence[WorkerProcess], seconds: float = 90) -> None:
    """Waits until each worker is ready again."""
    for worker in workers:
        async with asyncio.timeout(seconds):
            while await readyz(worker):  # noqa: ASYNC110 — as above
                await asyncio.sleep(_LOOK_SECONDS)


@dataclass(frozen=True)
class Witness:
    """Keeps a copy of each message that leaves the request queue other than by being worked on."""

    amqp_url: str
    prefix: str

    async def seen(self) -> dict[str, int]:
        async with self._channel() as channel:
            counts = {name: await _count(channel, f"{name}.witness") for name in self._watched}
        return {name: count for name, count in counts.items() if count}

    async def until_held_at_most(self, books: Books, most: int, seconds: float = 90) -> None:
        """Waits until workers hold at most so many deliveries: the other open requests lie in the queue."""
        async with asyncio.timeout(seconds), self._channel() as channel:
            while books.open - await self._ready(channel) > most:  # noqa: ASYNC110 — a queue sends no event
                await asyncio.sleep(_LOOK_SECONDS)

    async def ready(self) -> int:
        """Counts the messages in the request queue that no worker holds."""
        async with self._channel() as channel:
            return await self._ready(channel)

    async def ready_and_consumers(self) -> tuple[int, int]:
        """Counts the messages in the request queue that no worker holds, and those who read the queue."""
        async with self._channel() as channel:
            return await ready_and_readers(channel, names_for(self.prefix).requests)

    async def count(self, queue: str) -> int:
        """Counts the messages in a queue that no consumer holds."""
        async with self._channel() as channel:
            return await _count(channel, queue)

    async def watch(self) -> None:
        async with self._channel() as channel:
            for name in self._watched:
                queue = await channel.declare_queue(f"{name}.witness", durable=True)
                await queue.bind(name)

    async def forget(self) -> None:
        async with self._channel() as channel:
            for name in self._watched:
                await channel.queue_delete(f"{name}.witness")

    @property
    def _watched(self) -> tuple[str, str]:
        names = names_for(self.prefix)
        return names.undelivered, names.dead

    async def _ready(self, channel: AbstractChannel) -> int:
        return await _count(channel, names_for(self.prefix).requests)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        async with await aio_pika.connect(self.amqp_url) as connection:
            yield await connection.channel()


async def _count(channel: AbstractChannel, queue: str) -> int:
    ready, _ = await ready_and_readers(channel, queue)
    return ready


@asynccontextmanager
async def witness(amqp_url: str, prefix: str) -> AsyncIterator[Witness]:
    """Yields a witness. The exchanges must exist, and the broker must be back at the end."""
    watching = Witness(amqp_url, prefix)
    await watching.watch()
    try:
        yield watching
    finally:
        await watching.forget()


async def assert_unharmed(database_url: str, books: Books) -> None:
    """Asserts that every promise is kept, and every request completed at its first attempt."""
    assert await verify(database_url, books.confirmed, books.received) == []
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("select status, attempt, count(*) from requests group by 1, 2")
    finally:
        await connection.close()
    found = [tuple(row) for row in rows]
    assert found == [("completed", 1, len(books.confirmed))], found


async def until_no_more(count: Callable[[], int], seconds: float) -> int:
    """Waits until no more is counted for so long: what was promised before a fault may arrive late. Returns
    the number.
    """
    seen = -1
    async with asyncio.timeout(60):
        while (now := count()) > seen:
            seen = now
            await asyncio.sleep(seconds)  # that nothing comes sets no event
    return seen
