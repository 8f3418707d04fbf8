"""Another worker takes over the requests of one that died; a failed attempt is followed by another."""

import time
from functools import partial
from uuid import UUID

import asyncpg
from support.faults.load import Books, Producers, keeping_books, named
from support.faults.processes import WorkerProcess, worker_processes
from support.faults.scene import Scene

from worker.operations.promises import verify

LEASE = 2.0
SLOW = 20.0  # what a busy machine may take longer: a worker that was slow itself judges nobody for a lease


async def test_requests_of_a_killed_worker_are_finished_by_another_within_two_leases(
    scene: Scene, db: asyncpg.Connection
) -> None:
    stuck = {**scene.environ, "WORKER_HANDLER": "support.faults.handlers:never_ends"}
    async with worker_processes(1, stuck) as [victim], keeping_books(scene.amqp_url, scene.prefix) as books:
        producers = Producers(scene.amqp_url, scene.prefix, books, 50)
        await producers.send(50, named("endless"))
        await scene.until_rows(db, "select count(*) = 50 from requests where status = 'processing'")
        async with worker_processes(1, scene.environ):
            # The survivor has been up for a lease: it may judge others.
            await scene.until_rows(
                db, "select count(*) = 2 and min(heartbeat - started_at) > interval '2 s' from workers"
            )
            killed_at = time.monotonic()
            await victim.kill()
            await books.until_all_answered(90)
            took = time.monotonic() - killed_at
        assert took < 2 * LEASE + SLOW, f"took {took:.1f} s"
        assert await db.fetchval("select min(attempt) from requests") == 2
        assert await verify(scene.database_url, books.confirmed, books.received) == []


async def test_a_request_that_kills_its_worker_each_time_ends_answered_and_takes_no_neighbour_along(
    scene: Scene, db: asyncpg.Connection
) -> None:
    environ = {
        **scene.environ,
        "WORKER_HANDLER": "support.faults.handlers:kills_its_worker",
        "WORKER_LEASE_SECONDS": "1",
    }
    victims: list[WorkerProcess] = []
    async with keeping_books(scene.amqp_url, scene.prefix) as books:
        worker = WorkerProcess(environ)
        await worker.start()
        try:
            producers = Producers(scene.amqp_url, scene.prefix, books, 60)
            poisoned = iter(["poison"])

            def one_of_forty(request_id: UUID) -> dict[str, object]:
                return named(next(poisoned, "harmless"))(request_id)

            await producers.send(40, one_of_forty)
            while books.open > 0:
                await scene.until(partial(_over, books, worker), "answered, or killed again")
                if _gone(worker):
                    victims.append(worker)
                    worker = WorkerProcess(environ)
                    await worker.start(until_ready=False)  # it may be killed before it says so
        finally:
            await worker.end()
        assert len(victims) == 5, "it killed a worker at each of its attempts"
        assert all(victim.exit_code == -9 for victim in victims)
        rows = await db.fetch("select status, error_code, count(*) from requests group by 1, 2 order by 1")
        assert [tuple(row) for row in rows] == [
            ("completed", None, 39),
            ("failed", "attempts_exhausted", 1),
        ]
        lost = await db.fetch(
            "select kind, count(*), count(distinct a.worker), min(reason) from attempts a "
            "join requests using (request_id) where error_code is not null group by 1"
        )
        assert [tuple(row) for row in lost] == [
            ("worker_lost", 5, 5, "the worker stopped during this attempt")
        ], "each attempt's end is on record, and whose it was"
        assert await verify(scene.database_url, books.confirmed, books.received) == []


def _over(books: Books, worker: WorkerProcess) -> bool:
    return books.open <= 0 or _gone(worker)


def _gone(worker: WorkerProcess) -> bool:
    return worker.exit_code is not None


async def test_an_attempt_put_off_is_made_again_after_a_growing_delay(
    scene: Scene, db: asyncpg.Connection
) -> None:
    environ = {
        **scene.environ,
        "WORKER_HANDLER": "support.faults.handlers:fails_twice",
        "WORKER_RETRY_BASE_SECONDS": "0.2",
    }
    async with worker_processes(1, environ), keeping_books(scene.amqp_url, scene.prefix) as books:
        await Producers(scene.amqp_url, scene.prefix, books, 30).send(30)
        await books.until_all_answered(90)
        assert await db.fetchval("select min(attempt) = 3 and max(attempt) = 3 from requests")
        assert await db.fetchval("select count(*) = 60 from attempts where kind = 'retry_later'")
        assert await verify(scene.database_url, books.confirmed, books.received) == []


async def test_a_finished_request_without_confirmed_response_is_answered_though_its_queue_was_purged(
    scene: Scene, db: asyncpg.Connection
) -> None:
    dying = {**scene.environ, "WORKER_BATCHES": "1", "WORKER_FAIL_POINT": "after_finish:kill"}
    async with worker_processes(1, dying) as [victim], keeping_books(scene.amqp_url, scene.prefix) as books:
        await Producers(scene.amqp_url, scene.prefix, books, 10).send(10)
        assert await victim.wait() == -9
        finished = await db.fetchval("select count(*) from requests where finished_at is not null")
        assert finished > 0
        assert not books.answered
        await scene.purge_requests(10)
        async with worker_processes(1, scene.environ):
            await books.until(lambda: len(books.answered) == finished, 90, "answered from the record")
