"""A worker that reads shards dies, and a broker has no exchange for them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.faults.load import Producers, keeping_books
from support.faults.processes import worker_processes
from support.faults.scene import Scene
from support.harness import delete_topology, eventually, run_in_process
from support.servers import FaultyRabbit

from worker.errors import TopologyError
from worker.operations.promises import verify
from worker.rabbitmq.shards import PLUGIN
from worker.settings import Settings
from worker.stack.commands import run

READ = """
select (select coalesce(array_agg(distinct number order by number), '{}')
  from shard_readers, unnest(serves) as number where holds_until > now())
"""


@pytest_asyncio.fixture
async def on_broken(broker: FaultyRabbit, settings: Settings) -> AsyncIterator[Settings]:
    """Settings for the broker that may be broken; at the end its queues are gone and the plugin is there."""
    yield settings.model_copy(update={"amqp_url": SecretStr(broker.url)})
    await plugin(broker, "enable")
    await delete_topology(broker.url, settings.prefix)


async def plugin(broker: FaultyRabbit, change: str) -> None:
    command, env = broker.tool("rabbitmq-plugins")
    ended = await run(*command, "-q", change, PLUGIN, env=env or os.environ, limit=60)
    assert ended.code == 0, ended.words


@pytest.mark.timeout(400)
async def test_without_the_plugin_the_error_says_what_to_do_and_nothing_is_on_record_of_shards(
    broker: FaultyRabbit, on_broken: Settings, db: asyncpg.Connection
) -> None:
    await plugin(broker, "disable")
    async with run_in_process(on_broken) as start:
        without = await start()
        with pytest.raises(TopologyError, match=f"rabbitmq-plugins enable {PLUGIN}"):
            await start(shards=2)
        code, words = await topology_apply(on_broken)
        assert code == 1
        assert f"`rabbitmq-plugins enable {PLUGIN}`" in words
        assert await db.fetchval("select count(*) from shards") == 0
        assert without.readiness.ready, "a worker without shards goes on"

        await plugin(broker, "enable")
        await start(shards=2)

        async def both_are_read() -> bool:
            return bool(await db.fetchval(READ) == [1, 2])

        await eventually(both_are_read)


async def topology_apply(settings: Settings) -> tuple[int, str]:
    env = {
        "AMQP_URL": settings.amqp_url.get_secret_value(),
        "WORKER_PREFIX": settings.prefix,
        "WORKER_SHARDS": "2",
    }
    command = (sys.executable, "-m", "worker", "topology", "apply")
    return await run(*command, env={**os.environ, **env}, limit=60)


@pytest.mark.timeout(400)
async def test_of_a_worker_that_is_killed_others_read_the_shards_within_seconds(
    scene: Scene, db: asyncpg.Connection
) -> None:
    """It dies under load, and nothing is lost or doubled. Afterwards the only other one is frozen: a third
    one reads all shards.
    """
    environ = {**scene.environ, "WORKER_SHARDS": "3"}
    async with (
        worker_processes(2, environ) as workers,
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        await all_read(db, 3)
        producers = Producers(scene.amqp_url, scene.prefix, books, 300)
        producers.per_second = 200.0
        sending = asyncio.create_task(producers.send(2000))
        await books.until(lambda: len(books.answered) > 300, 90, "under way")
        await workers[0].kill()
        await all_read(db, 3, readers=1)
        await sending
        await books.until_all_answered(90)

        workers[1].freeze()
        async with worker_processes(1, environ):
            await all_read(db, 3, readers=1)
            await producers.send(100)
            await books.until_all_answered(90)
        workers[1].thaw()
        await all_read(db, 3, readers=1)
    assert await verify(scene.database_url, books.confirmed, books.received) == []


async def all_read(db: asyncpg.Connection, shards: int, readers: int | None = None) -> None:
    """Waits until so many workers read all the shards."""

    async def look() -> bool:
        number = await db.fetchval("select count(*) from shard_readers where holds_until > now()")
        enough = readers is None or number == readers
        return enough and bool(await db.fetchval(READ) == list(range(1, shards + 1)))

    await eventually(look)
