"""A worker dies in each gap between a batch's steps, and the requests that it had begun still end."""

import asyncpg
import pytest
from support.faults.load import Producers, keeping_books
from support.faults.processes import WorkerProcess, worker_processes
from support.faults.scene import Scene

from worker.operations.promises import verify
from worker.process.failpoint import Gap

REQUESTS = 20
ALONE = {"WORKER_BATCHES": "1"}  # nothing else goes on while a batch is in its gap
HELD = "select request_id, attempt, response from requests where request_id = any ($1::uuid[]) order by 1"
# How many attempts a request needs, when its worker dies there.
ATTEMPTS = {
    Gap.AFTER_WAIT: 1,
    Gap.AFTER_CLAIM: 2,
    Gap.AFTER_ACCEPT: 2,
    Gap.AFTER_CREATE: 2,
    Gap.DURING_FINISH: 1,  # 2, if the statement had not arrived in full
    Gap.AFTER_FINISH: 1,
    Gap.DURING_PUBLISH: 1,
    Gap.AFTER_PUBLISH: 1,
    Gap.AFTER_SETTLE: 1,
}
# These come by only where something waits: all is paused first, and resumed when it has to be claimed.
IN_LINE = {Gap.AFTER_WAIT, Gap.AFTER_CLAIM}
PAUSE = "insert into pauses (scope, reason, paused_by) values ('all', 'a test', 'me')"
RESUME = "delete from pauses"
# What a killed worker has sent is carried out after its death; the sessions end only then.
NO_STATEMENT_IS_LEFT = """
select count(*) = 0 from pg_stat_activity
where datname = current_database() and application_name like 'session-worker%'
"""
ALL_WAIT = f"select count(*) = {REQUESTS} from requests where waits_in is not null"  # noqa: S608 — a number
# Where the response has left before the worker died.
ANSWERED_BEFORE = {Gap.DURING_PUBLISH, Gap.AFTER_PUBLISH, Gap.AFTER_SETTLE}


@pytest.mark.parametrize("gap", list(ATTEMPTS))
async def test_a_worker_killed_in_this_gap_loses_and_doubles_nothing(
    gap: Gap, scene: Scene, db: asyncpg.Connection
) -> None:
    if gap in IN_LINE:
        await db.execute(PAUSE)
    async with (
        worker_processes(1, {**scene.environ, **ALONE, "WORKER_FAIL_POINT": f"{gap}:kill"}) as [victim],
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        await Producers(scene.amqp_url, scene.prefix, books, REQUESTS).send(REQUESTS)
        if gap is Gap.AFTER_CLAIM:
            await scene.until_rows(db, ALL_WAIT)
            await db.execute(RESUME)
        assert await victim.wait() == -9, "the fault happened"
        await scene.until_rows(db, NO_STATEMENT_IS_LEFT)
        finished = await db.fetchval("select count(*) from requests where finished_at is not null")
        begun = await db.fetchval("select count(*) from requests")
        assert begun > 0, "it happened with work in hand"
        waited = await db.fetchval("select count(*) from requests where begins_at is not null")
        assert bool(waited) == (gap in IN_LINE)
        if gap in ANSWERED_BEFORE:
            await books.until(lambda: len(books.answered) > 0, 90, "answered by the one that died")
        else:
            assert not books.answered

        async with worker_processes(1, scene.environ):
            if gap is Gap.AFTER_WAIT:
                await scene.until_rows(db, ALL_WAIT)
                await db.execute(RESUME)
            await books.until_all_answered(90)

        assert await verify(scene.database_url, books.confirmed, books.received) == []
        attempts = await db.fetch("select attempt, count(*) from requests group by attempt order by 1")
        cut_short = gap is Gap.DURING_FINISH and not finished
        assert attempts[-1]["attempt"] == ATTEMPTS[gap] + cut_short


@pytest.mark.parametrize("gap", [Gap.AFTER_CLAIM, Gap.AFTER_ACCEPT, Gap.AFTER_CREATE])
async def test_a_worker_frozen_in_this_gap_finishes_nothing_that_it_lost(
    gap: Gap, scene: Scene, db: asyncpg.Connection
) -> None:
    if gap in IN_LINE:
        await db.execute(PAUSE)
    async with (
        worker_processes(1, {**scene.environ, **ALONE, "WORKER_FAIL_POINT": f"{gap}:freeze"}) as [sleeper],
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        await Producers(scene.amqp_url, scene.prefix, books, REQUESTS).send(REQUESTS)
        if gap in IN_LINE:
            await scene.until_rows(db, ALL_WAIT)
            await db.execute(RESUME)
        await scene.until(lambda: _stopped(sleeper.state), "the worker is frozen")
        held = [
            str(row["request_id"])
            for row in await db.fetch("select request_id from requests where status = 'processing'")
        ]
        assert held, "it was frozen with work in hand"

        async with worker_processes(1, scene.environ):
            await scene.until_rows(db, "select count(*) = 0 from requests where status = 'processing'")
            rows = await db.fetch(HELD, held)

            sleeper.thaw()
            for request_id in held:
                await sleeper.event("request.lost", request_id=request_id)

            await books.until_all_answered(90)
            assert await db.fetch(HELD, held) == rows
        assert not finished_by(sleeper) & set(held)
        assert await verify(scene.database_url, books.confirmed, books.received) == []


async def test_what_a_frozen_worker_has_put_in_line_is_claimed_by_others(
    scene: Scene, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE)
    async with (
        worker_processes(
            1, {**scene.environ, **ALONE, "WORKER_FAIL_POINT": f"{Gap.AFTER_WAIT}:freeze"}
        ) as [sleeper],
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):  # fmt: skip
        await Producers(scene.amqp_url, scene.prefix, books, REQUESTS).send(REQUESTS)
        await scene.until(lambda: _stopped(sleeper.state), "the worker is frozen")
        rows = await db.fetch("select request_id from requests where waits_in is not null")
        held = {str(row["request_id"]) for row in rows}
        assert held, "it was frozen after it had put them in line"

        async with worker_processes(1, scene.environ):
            await db.execute(RESUME)
            await books.until(lambda: held <= books.answered, 60, "answered")
            sleeper.thaw()
            await books.until_all_answered(90)
        assert not finished_by(sleeper) & held
        assert await db.fetch("select distinct attempt from requests") == [(1,)]
        assert await verify(scene.database_url, books.confirmed, books.received) == []


def finished_by(worker: WorkerProcess) -> set[str]:
    """Returns which requests this worker has brought to an end. Their responses may come from any worker."""
    ends = ("request.completed", "request.failed")
    return {event["request_id"] for event in worker.events if event["event"] in ends}


def _stopped(state: str) -> bool:
    return state == "T"
