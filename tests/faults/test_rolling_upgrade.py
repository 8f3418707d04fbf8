"""The last release and this one work side by side, on the new tables, whichever is replaced by the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from support import last_release
from support.faults.load import Books, Producers, keep_sending, keeping_books
from support.faults.processes import WorkerProcess
from support.faults.scene import Scene
from support.last_release import ReleasedProcess

from worker.operations.promises import verify
from worker.postgres.migrate import inspect, migrate
from worker.settings import Settings

MORE = 40  # answers from each state
TO_STOP_WITH = 200


@asynccontextmanager
async def ended(*workers: WorkerProcess) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for worker in workers:
            await worker.end()


async def replaced(worker: WorkerProcess) -> None:
    """Stops a worker as a rollout does."""
    worker.terminate()
    assert await worker.wait() == 0


@pytest.mark.timeout(400)
async def test_a_rollout_forward_and_back_loses_nothing_and_doubles_nothing(
    settings: Settings, empty_url: str
) -> None:
    scene = Scene(settings.amqp_url.get_secret_value(), empty_url, settings.prefix)
    await last_release.migrate(scene.environ)
    old, old_again = ReleasedProcess(scene.environ), ReleasedProcess(scene.environ)
    new, new_again = WorkerProcess(scene.environ), WorkerProcess(scene.environ)
    async with ended(old, new, old_again, new_again), keeping_books(scene.amqp_url, scene.prefix) as books:
        await old.start()
        producers, enough = Producers(scene.amqp_url, scene.prefix, books, TO_STOP_WITH), asyncio.Event()
        producers.per_second = 100.0
        sending = asyncio.create_task(keep_sending(producers, enough))
        try:
            await goes_on(books, "with the last release")
            applied = await migrate(empty_url, prefix=scene.prefix)
            assert len(applied) > 1
            await goes_on(books, "with the last release on new tables")
            await new.start()
            await goes_on(books, "side by side")
            await replaced(old)
            await goes_on(books, "with this version alone")
            await old_again.start()
            await replaced(new)
            await goes_on(books, "with the last release again")
            await new_again.start()
            await replaced(old_again)
            enough.set()
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await books.until_all_answered(90)
    assert await verify(empty_url, books.confirmed, books.received) == []
    assert (await inspect(empty_url)).pending == []
    db = await asyncpg.connect(empty_url)
    assert await db.fetchval("select count(distinct worker) from requests") >= 3, "each has done some of them"
    await db.close()


async def goes_on(books: Books, what: str) -> None:
    answered = len(books.answered)
    await books.until(lambda: len(books.answered) > answered + MORE, 90, f"going on {what}")
