"""A worker dies in each gap between a batch's steps, and the requests that it had begun still end."""

from collections import Counter

import asyncpg
import pytest
from support.faults.load import Books, Producers, keeping_books
from support.faults.processes import worker_processes
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
    Gap.DURING_FINISH: 1,
    Gap.AFTER_FINISH: 1,
    Gap.DURING_PUBLISH: 1,
    Gap.AFTER_PUBLISH: 1,
    Gap.AFTER_SETTLE: 1,
}
# These come by only where something waits: all is paused first, and resumed when it has to be claimed.
IN_LINE = {Gap.AFTER_WAIT, Gap.AFTER_CLAIM}
PAUSE = "insert into pauses (scope, reason, paused_by) values ('all', 'a test', 'me')"
RESUME = "delete from pauses"
ALL_WAIT = f"select count(*) = {REQUESTS} from requests where waits_in is not null"  # noqa: S608 — a number
# Where the response may have left before the worker died: then it comes a second time.
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
        begun = await db.fetchval("select count(*) from requests")
        assert begun > 0, "it happened with work in hand"
        waited = await db.fetchval("select count(*) from requests where begins_at is not null")
        assert bool(waited) == (gap in IN_LINE)
        answered_before = len(books.answered)

        async with worker_processes(1, scene.environ):
            if gap is Gap.AFTER_WAIT:
                await scene.until_rows(db, ALL_WAIT)
                await db.execute(RESUME)
            await books.until_all_answered(90)
            if gap in ANSWERED_BEFORE:
                await books.until(lambda: answered_before > 0 or came_twice(books), 90, "answered again")

        assert await verify(scene.database_url, books.confirmed, books.received) == []
        attempts = await db.fetch("select attempt, count(*) from requests group by attempt order by 1")
        assert attempts[-1]["attempt"] == ATTEMPTS[gap]
        assert gap in ANSWERED_BEFORE or answered_before == 0


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
            copies = Counter(copy.message_id for copy in books.received)

            sleeper.thaw()
            for request_id in held:
                await sleeper.event("request.lost", request_id=request_id)

            await books.until_all_answered(90)
            assert await db.fetch(HELD, held) == rows
        finished = {
            event["request_id"]
            for event in sleeper.events
            if event["event"] in ("request.completed", "request.failed")
        }
        assert not finished & set(held)
        assert all(copies[one] <= 1 for one in held)
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
        held = await db.fetch("select request_id from requests where waits_in is not null")
        assert held, "it was frozen after it had put them in line"

        async with worker_processes(1, scene.environ):
            await db.execute(RESUME)
            await books.until(
                lambda: {str(row["request_id"]) for row in held} <= books.answered, 60, "answered"
            )
            sleeper.thaw()
            await books.until_all_answered(90)
        assert max(Counter(copy.message_id for copy in books.received).values()) == 1
        assert await db.fetch("select distinct attempt from requests") == [(1,)]
        assert await verify(scene.database_url, books.confirmed, books.received) == []


def came_twice(books: Books) -> bool:
    return len(books.received) > len(books.answered)


def _stopped(state: str) -> bool:
    return state == "T"
