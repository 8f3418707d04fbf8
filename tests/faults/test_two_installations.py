"""Only a worker of the same prefix takes over from one that died, whoever else uses the database."""

import asyncpg
from support.faults.load import Producers, keeping_books, named
from support.faults.processes import worker_processes
from support.faults.scene import Scene
from support.harness import delete_topology

from worker.operations.promises import verify
from worker.postgres import migrate


async def test_a_worker_of_another_prefix_takes_over_nothing_and_answers_nobody(
    scene: Scene, db: asyncpg.Connection
) -> None:
    other = f"{scene.prefix}-b"
    stuck = {**scene.environ, "WORKER_HANDLER": "support.faults.handlers:never_ends"}
    try:
        async with (
            worker_processes(1, stuck) as [victim],
            keeping_books(scene.amqp_url, scene.prefix) as books,
            keeping_books(scene.amqp_url, other) as other_books,
        ):
            await migrate.migrate(scene.database_url, prefix=other)
            producers = Producers(scene.amqp_url, scene.prefix, books, 20)
            await producers.send(20, named("endless"))
            await scene.until_rows(db, "select count(*) = 20 from requests where status = 'processing'")
            async with worker_processes(1, {**scene.environ, "WORKER_PREFIX": other}):
                await victim.kill()
                await scene.purge_requests(20)  # what is on record is all there is to go by
                # The leases have run out, and the survivor has been steady for long enough to judge.
                await scene.until_rows(
                    db,
                    "select min(lease_until) < now() - interval '2 s' from leases"  # noqa: S608 — our own name
                    f" having (select max(heartbeat - started_at) > interval '5 s' from \"{other}\".workers)",
                )
                assert await db.fetchval("select count(*) from requests where attempt = 1") == 20
                assert await db.fetchval("select count(*) from requests where status = 'processing'") == 20
                async with worker_processes(1, scene.environ):
                    await books.until_all_answered(90)
            assert not other_books.received
            assert await verify(scene.database_url, books.confirmed, books.received) == []
            assert await db.fetchval(f'select count(*) from "{other}".requests') == 0  # noqa: S608
    finally:
        await delete_topology(scene.amqp_url, other)
