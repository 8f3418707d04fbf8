"""A batch that is done says when its responses were published; what does not follow it says so itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.harness import eventually

from schemas import FailureCode
from worker.monitoring.readiness import Readiness
from worker.postgres import leases as leases_module
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.store import Store
from worker.postgres.waiting_answers import Undelivered, WaitingAnswers
from worker.process.failpoint import FailPoint
from worker.settings import Settings
from worker.values import Arrival, Failed, Receipt, Route, first_work

BOTH_WAIT = """
select count(*) = 2 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
"""
RUN_OUT = "update leases set lease_until = now() - interval '1 s'"


class Worker(NamedTuple):
    database: Database
    leases: Leases
    store: Store

    async def finish(self, lease: int, number: int = 2) -> list[UUID]:
        """Accepts requests under this lease, and finishes them."""
        arrivals = [arrival(uuid4()) for _ in range(number)]
        await self.store.accept(arrivals, lease)
        await self.store.finish(
            [Failed(first_work(one), FailureCode.REJECTED, '{"error": "no"}') for one in arrivals]
        )
        return [one.request_id for one in arrivals]


def arrival(request_id: UUID) -> Arrival:
    return Arrival(
        request_id=request_id,
        fingerprint=b"x",
        session_id=f"ts_{request_id}",
        route=Route(None, None, None),
        org_id="o",
        body="{}",
        document="{}",
    )


@pytest_asyncio.fixture
async def workers(settings: Settings) -> AsyncIterator[tuple[Worker, Worker]]:
    made = []
    for _ in range(2):
        database = Database(settings.database_url.get_secret_value(), 2, None, Readiness(["postgres"]))
        await database.open()
        leases = Leases(database, uuid4(), 60)
        await leases.register("host", 1, "1")
        made.append(Worker(database, leases, Store(database, leases, FailPoint(""))))
    yield made[0], made[1]
    for worker in made:
        await worker.database.close()


async def confirmed(db: asyncpg.Connection) -> list[int]:
    return [row["lease"] for row in await db.fetch("select lease from confirmed_leases order by 1")]


async def delivered(db: asyncpg.Connection, request_ids: Sequence[UUID]) -> list[tuple[str, bool, bool]]:
    """Says of each: how it was delivered, whether it is known when, and whether its own row says it."""
    return [
        tuple(
            await db.fetchrow(
                "select l.delivered, l.published_at is not null, r.published_at is not null"
                " from listed_requests l join requests r using (request_id) where request_id = $1", one,
            )
        )
        for one in request_ids
    ]  # fmt: skip


BY_ITS_BATCH, BY_ITSELF = ("confirmed", True, False), ("confirmed", True, True)
NOT = ("none", False, False)


@pytest.mark.parametrize("by", ["note", "accept"])
async def test_a_batch_that_is_done_says_it_of_all_its_requests(
    workers: tuple[Worker, Worker], db: asyncpg.Connection, by: str
) -> None:
    worker, _ = workers
    with worker.leases.take() as lease:
        ids = await worker.finish(lease)
        worker.leases.note_published(ids, lease)
        await worker.leases.flush_notes()
        assert await delivered(db, ids) == [NOT, NOT], "its worker may die now, and others send it again"

    await (worker.leases.flush_notes() if by == "note" else worker.store.accept([], worker.leases.new()))

    assert await delivered(db, ids) == [BY_ITS_BATCH] * 2
    assert await confirmed(db) == [lease]
    at = await db.fetchval("select published_at from listed_requests limit 1")
    assert datetime.now(UTC) >= at >= await db.fetchval("select max(finished_at) from requests")
    assert [known.published for known in await worker.store.known(ids)] == [True, True]
    assert [row.published for row in await worker.store.to_cancel(ids)] == [True, True]


async def test_a_batch_without_requests_of_its_own_leaves_nothing(
    workers: tuple[Worker, Worker], db: asyncpg.Connection
) -> None:
    """All of them were repeats."""
    worker, _ = workers
    with worker.leases.take() as lease:
        ids = await worker.finish(lease)
    with worker.leases.take() as other:
        assert await worker.store.accept([arrival(one) for one in ids], other) == set()
    await worker.leases.flush_notes()

    assert await confirmed(db) == [lease]
    assert await db.fetchval("select count(*) from leases") == 0


async def test_one_that_found_no_queue_does_not_follow_its_batch(
    workers: tuple[Worker, Worker], db: asyncpg.Connection
) -> None:
    worker, _ = workers
    waiting = WaitingAnswers(worker.database)
    with worker.leases.take() as lease:
        ids = await worker.finish(lease, 3)
        worker.leases.note_published(ids[:1], lease)
        await waiting.put([Undelivered(ids[1], None, Receipt.REFUSED)])
        await waiting.put([Undelivered(ids[2], None, Receipt.UNPUBLISHABLE)])
    await worker.leases.flush_notes()

    refused, given_up = ("refused", False, False), ("unpublishable", False, False)
    assert await delivered(db, ids) == [BY_ITS_BATCH, refused, given_up]
    assert await waiting.put([Undelivered(ids[0], None, Receipt.UNROUTABLE)]) == 0, "a copy found no queue"
    worker.leases.note_published(ids)  # sent late, and a copy of the first
    await worker.leases.flush_notes()
    assert await delivered(db, ids) == [BY_ITS_BATCH, BY_ITSELF, BY_ITSELF]


async def test_a_response_whose_batch_goes_on_for_long_is_noted_by_itself(
    workers: tuple[Worker, Worker], db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, _ = workers
    with worker.leases.take() as lease:
        ids = await worker.finish(lease)
        worker.leases.note_published(ids[:1], lease)
        monkeypatch.setattr(leases_module, "_LATE_SECONDS", 0.0)
        await worker.leases.flush_notes()
        assert await delivered(db, ids) == [BY_ITSELF, NOT]
        worker.leases.note_published(ids[1:], lease)
    await worker.leases.flush_notes()

    assert await delivered(db, ids) == [BY_ITSELF, BY_ITS_BATCH]


async def test_a_lease_that_was_taken_over_is_confirmed_by_nobody(
    workers: tuple[Worker, Worker], db: asyncpg.Connection
) -> None:
    former, new = workers
    with former.leases.take() as lease:
        ids = await former.finish(lease, 3)
        former.leases.note_published(ids[:1], lease)
        await db.execute(RUN_OUT)
        (taken,) = await new.leases.take_over(10, from_silent_holders=True)
    assert taken.lease == lease

    await former.leases.flush_notes()
    assert await delivered(db, ids) == [BY_ITSELF, NOT, NOT], "what it has published it notes all the same"
    assert {row.request_id for row in await new.leases.held(lease)} == {*ids[1:]}
    with new.leases.holding(lease):
        new.leases.note_published(ids[1:], lease)
    await new.leases.flush_notes()

    assert await delivered(db, ids) == [BY_ITSELF] * 3
    assert await confirmed(db) == []
    assert await db.fetchval("select count(*) from leases") == 0


async def test_a_batch_that_fails_is_not_confirmed(
    workers: tuple[Worker, Worker], db: asyncpg.Connection
) -> None:
    worker, other = workers
    lease = worker.leases.new()
    ids = await worker.finish(lease)
    worker.leases.note_published(ids[:1], lease)
    worker.leases.abandon(lease)
    await worker.leases.flush_notes()

    assert await delivered(db, ids) == [BY_ITSELF, NOT]
    await db.execute(RUN_OUT)
    (taken,) = await other.leases.take_over(10, from_silent_holders=True)
    assert [row.request_id for row in await other.leases.held(taken.lease)] == ids[1:]


async def test_what_is_noted_of_a_batch_goes_with_its_last_request(
    workers: tuple[Worker, Worker], db: asyncpg.Connection
) -> None:
    worker, _ = workers
    with worker.leases.take() as lease:
        ids = await worker.finish(lease)
    await worker.leases.flush_notes()

    await db.execute("delete from requests where request_id = $1", ids[0])
    assert await confirmed(db) == [lease]
    assert await db.fetchval("select retired from retire_requests('-1 s', 10, null)") == 1
    assert await confirmed(db) == []


async def test_two_workers_that_accept_the_same_requests_at_once_accept_each_once(
    workers: tuple[Worker, Worker], db: asyncpg.Connection
) -> None:
    """The one that waits for the other's commit is refused then, and finds what it had not seen."""
    ids = sorted((uuid4() for _ in range(4)), key=lambda one: one.int)
    first = [arrival(one) for one in ids[:3]]
    second = [arrival(one) for one in ids[1:]]
    leases = [worker.leases.new() for worker in workers]
    async with db.transaction():  # it has the row that both insert, and gives it back
        await db.execute(
            "insert into requests (request_id, fingerprint, body, session_id) values ($1, 'x', '{}', 'ts_1')",
            ids[1],
        )
        begun = asyncio.gather(
            workers[0].store.accept(first, leases[0]), workers[1].store.accept(second, leases[1])
        )
        await eventually(lambda: db.fetchval(BOTH_WAIT))

    accepted = await begun
    assert accepted[0] | accepted[1] == {*ids} - {ids[1]}
    assert not accepted[0] & accepted[1]
    assert await db.fetchval("select count(*) from requests") == 4
