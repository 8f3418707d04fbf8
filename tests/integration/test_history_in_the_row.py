"""The row tells the steps of the usual way, and what it cannot tell truly is recorded, whoever writes it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from support.harness import Desk, NewWorker, good_request, row_of

BEGIN = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, worker, started_at)
values ($1::uuid, 'processing', 1, 'x', '{}', 'ts_' || $1::text, $2::uuid, now())
"""
FINISH = (
    "update requests set status = 'completed', response = '{}', finished_at = now() where request_id = $1"
)
HISTORY = """
select status, attempt, worker, at from request_transitions where request_id = $1
order by at, attempt, status = 'completed'
"""
USUAL = [("pending", 0), ("processing", 1), ("completed", 1)]


async def begun(db: asyncpg.Connection, worker: UUID | None = None) -> UUID:
    request_id = uuid4()
    await db.execute(BEGIN, request_id, worker)
    return request_id


async def history(db: asyncpg.Connection, request_id: UUID) -> list[Any]:
    return list(await db.fetch(HISTORY, request_id))


async def recorded(db: asyncpg.Connection) -> int:
    return int(await db.fetchval("select count(*) from recorded_transitions"))


async def test_the_usual_way_leaves_nothing_but_the_row(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    response = await desk.ask(good_request())

    row = await row_of(db, response.request_id)
    steps = await history(db, response.request_id)
    assert [tuple(step)[:2] for step in steps] == USUAL
    assert [step["at"] for step in steps] == [row["received_at"], row["started_at"], row["finished_at"]]
    assert {step["worker"] for step in steps} == {row["worker"]}
    assert await recorded(db) == 0


@pytest.mark.parametrize("column", ["received_at", "started_at"])
async def test_a_beginning_at_a_time_that_was_typed_is_recorded_at_its_own(
    db: asyncpg.Connection, column: str
) -> None:
    request_id = uuid4()
    times = {"started_at": "now()", "received_at": "now()", column: "'1999-01-01'"}
    typed = BEGIN.replace("started_at)", "started_at, received_at)").replace(
        "now())", "{started_at}, {received_at})".format(**times)
    )
    before = await db.fetchval("select now()")
    await db.execute(typed, request_id, None)
    await db.execute(FINISH, request_id)

    steps = await history(db, request_id)
    assert [tuple(step)[:2] for step in steps] == USUAL
    assert all(step["at"] > before for step in steps)


@pytest.mark.parametrize("time", ["'1999-01-01'", "now() + interval '1 h'", "clock_timestamp()"])
async def test_an_end_at_a_time_that_was_typed_is_recorded_at_its_own(
    db: asyncpg.Connection, time: str
) -> None:
    request_id = await begun(db)
    before = await db.fetchval("select now()")

    await db.execute(FINISH.replace("now()", time), request_id)

    steps = await history(db, request_id)
    assert [tuple(step)[:2] for step in steps] == USUAL
    assert before < steps[-1]["at"] <= await db.fetchval("select now()")


@pytest.mark.parametrize(
    "change", ["started_at = '1999-01-01'", "worker = gen_random_uuid()", "worker = null"]
)
async def test_what_the_row_told_is_recorded_before_it_is_overwritten(
    db: asyncpg.Connection, change: str
) -> None:
    worker = uuid4()
    request_id = await begun(db, worker)
    before = await history(db, request_id)

    for _ in range(2):
        await db.execute(f"update requests set {change} where request_id = $1", request_id)  # noqa: S608 — our own
    assert await history(db, request_id) == before
    await db.execute(FINISH, request_id)

    steps = await history(db, request_id)
    assert steps[:2] == before
    assert [tuple(step)[:2] for step in steps] == USUAL


async def test_a_further_attempt_is_recorded_beside_the_first(db: asyncpg.Connection) -> None:
    first, second = uuid4(), uuid4()
    request_id = await begun(db, first)
    again = "update requests set attempt = $2, worker = $3, started_at = now() where request_id = $1"

    await db.execute(again, request_id, 2, second)
    await db.execute(again, request_id, 3, first)
    await db.execute(FINISH, request_id)

    steps = [tuple(step)[:3] for step in await history(db, request_id)]
    assert steps == [
        ("pending", 0, first), ("processing", 1, first), ("processing", 2, second), ("processing", 3, first),
        ("completed", 3, first),
    ]  # fmt: skip


async def test_one_transaction_by_hand_has_all_of_its_steps_in_order(db: asyncpg.Connection) -> None:
    ids = [uuid4(), uuid4()]
    async with db.transaction():
        for request_id, status in zip(ids, ("processing", "pending"), strict=True):
            began = BEGIN if status == "processing" else BEGIN.replace("'processing', 1", "'pending', 0")
            await db.execute(
                began if status == "processing" else began.replace("now()", "null"), request_id, None
            )
        await db.execute(
            "update requests set status = 'processing', attempt = 1, started_at = now() where attempt = 0"
        )
        await db.execute(FINISH.partition("where")[0])

    for request_id in ids:
        assert [tuple(step)[:2] for step in await history(db, request_id)] == USUAL


async def test_a_step_that_comes_late_in_its_transaction_is_recorded_at_its_own_time(
    db: asyncpg.Connection,
) -> None:
    request_id = await begun(db)
    async with db.transaction():
        began = await db.fetchval("select now()")
        await db.execute("select pg_sleep(1.1)")  # as somebody does who types
        late = await begun(db)
        await db.execute("update requests set status = 'completed', response = '{}', finished_at = now()")

    for one in (request_id, late):
        steps = await history(db, one)
        assert [tuple(step)[:2] for step in steps] == USUAL
        assert steps[-1]["at"] > began + timedelta(seconds=1)
        assert (steps[0]["at"] > began + timedelta(seconds=1)) == (one == late)


async def test_a_request_that_is_deleted_by_hand_takes_its_history_along(db: asyncpg.Connection) -> None:
    gone, kept = await begun(db), await begun(db)
    for request_id in (gone, kept):
        await db.execute("update requests set attempt = 2 where request_id = $1", request_id)
        await db.execute(FINISH, request_id)

    await db.execute("delete from requests where request_id = $1", gone)

    assert await history(db, gone) == []
    assert len(await history(db, kept)) == 4
    assert await recorded(db) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "insert into request_transitions values (gen_random_uuid(), 9, 'x')",
        "update request_transitions set status = 'completed'",
        "delete from request_transitions",
    ],
)
async def test_the_view_itself_takes_nothing(db: asyncpg.Connection, statement: str) -> None:
    await begun(db)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="request_transitions"):
        await db.execute(statement)
