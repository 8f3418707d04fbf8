"""The database itself refuses what the law has not, whoever writes it."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from worker import law

INSERT = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at, finished_at,
                      response, error_code, refusal)
values ($1, $2, $3, '\\x01', $4, $5, $6, $7, $8, $9, $10)
"""
NOW = datetime.now(UTC)
STATES: dict[str, dict[str, Any]] = {
    status: {
        "attempt": int(has.started),
        "started_at": NOW if has.started else None,
        "finished_at": NOW if has.finished else None,
        "response": "{}" if has.finished else None,
        "error_code": "rejected" if has.error_code else None,
    }
    for status, has in law.STATES.items()
}


async def insert(db: asyncpg.Connection, status: str, **changes: Any) -> UUID:
    values = {"body": "{}", **STATES[status], **changes}
    request_id = uuid4()
    names = ("started_at", "finished_at", "response", "error_code", "refusal")
    await db.execute(
        INSERT, request_id, status, values["attempt"], values["body"], f"ts_{request_id}",
        *(values.get(name) for name in names),
    )  # fmt: skip
    return request_id


async def in_state(db: asyncpg.Connection, status: str, attempt: int = 1) -> UUID:
    """Makes a request that reached this state by legal steps."""
    request_id = await insert(db, "pending")
    if status != "pending":
        await change(db, request_id, "status = 'processing', attempt = 1, started_at = now()")
        for further in range(2, attempt + 1):
            await change(db, request_id, f"attempt = {further}")
    if status == "completed":
        await change(db, request_id, "status = 'completed', response = '{}', finished_at = now()")
    if status == "failed":
        await change(
            db, request_id, "status = 'failed', response = '{}', finished_at = now(), error_code = 'rejected'"
        )
    return request_id


async def change(db: asyncpg.Connection, request_id: UUID, assignments: str) -> None:
    done = await db.execute(f"update requests set {assignments} where request_id = $1", request_id)  # noqa: S608 — the test's own words
    assert done == "UPDATE 1"


async def rows(db: asyncpg.Connection) -> list[Any]:
    both = "select * from requests", "select * from request_transitions order by at, attempt"
    return [await db.fetch(query) for query in both]


async def refusal_of(db: asyncpg.Connection, tried: Awaitable[object]) -> str | None:
    """Tries it and takes it back. Returns why it is refused: what the guard says, or the name of a check."""
    attempt = db.transaction()
    await attempt.start()
    try:
        await tried
    except asyncpg.CheckViolationError as error:
        return error.constraint_name or str(error)
    finally:
        await attempt.rollback()
    return None


EVERYWHERE = [(status, attempt) for status in law.STATES for attempt in range(4)]
PLACES = [
    (status, attempt) for status, has in law.STATES.items() for attempt in ([1, 2] if has.started else [0])
]


def to_be_there(status: str, attempt: int) -> str:
    """Sets all that a request with this status needs, so that nothing but the step can be wrong."""
    has = law.STATES[status]
    values = {
        "started_at": "coalesce(started_at, now())" if has.started else "null",
        "finished_at": "coalesce(finished_at, now())" if has.finished else "null",
        "response": "coalesce(response, '{}')" if has.finished else "null",
        "error_code": "coalesce(error_code, 'rejected')" if has.error_code else "null",
    }
    return f"status = '{status}', attempt = {attempt}, " + ", ".join(
        f"{column} = {value}" for column, value in values.items()
    )


@pytest.mark.parametrize(("status", "attempt"), PLACES)
async def test_of_all_steps_that_can_be_typed_those_of_the_law_are_taken(
    db: asyncpg.Connection, status: str, attempt: int
) -> None:
    request_id = await in_state(db, status, attempt)

    refusals = {
        place: await refusal_of(db, change(db, request_id, to_be_there(*place))) for place in EVERYWHERE
    }

    stays = {(status, attempt)}
    steps = {
        (step.after, attempt + step.attempts) for step in law.steps_from(status) if step.after != law.GONE
    }
    assert {place for place, said in refusals.items() if said is None} == stays | steps
    assert all(said.endswith(" is no legal transition") for said in refusals.values() if said)


async def test_of_all_rows_that_can_be_inserted_those_of_the_law_are_taken(db: asyncpg.Connection) -> None:
    refusals = {
        (status, attempt): await refusal_of(db, insert(db, status, attempt=attempt))
        for status, attempt in EVERYWHERE
    }

    assert {place for place, said in refusals.items() if said is None} == law.beginnings()


async def test_those_rows_can_be_deleted_that_the_law_lets_go(db: asyncpg.Connection) -> None:
    requests = {status: await in_state(db, status) for status in law.STATES}

    refusals = {
        status: await refusal_of(db, db.execute("delete from requests where request_id = $1", request_id))
        for status, request_id in requests.items()
    }

    gone = {step.before for step in law.REQUEST if step.after == law.GONE}
    assert {status for status, said in refusals.items() if said is None} == gone


OTHER_VALUES = {
    "text": "'other'",
    "uuid": "gen_random_uuid()",
    "bytea": "'\\x02'",
    "integer": "9",
    "bigint": "9",
    "timestamp with time zone": "now() + interval '1 h'",
}


@pytest.mark.parametrize("status", law.STATES)
async def test_the_columns_that_keep_their_values_are_those_of_the_law(
    db: asyncpg.Connection, status: str
) -> None:
    request_id = await in_state(db, status)
    columns = dict(
        await db.fetch(
            "select column_name, data_type from information_schema.columns where table_name = 'requests'"
        )
    )

    refusals = {
        column: await refusal_of(db, change(db, request_id, f"{column} = {OTHER_VALUES[kind]}"))
        for column, kind in columns.items()
    }

    kept = {column for column, said in refusals.items() if said and said.startswith(f"request {request_id}")}
    if status in law.FINISHED:
        assert kept == set(columns) - set(law.CHANGE_WHEN_FINISHED)
    else:
        assert kept - {"status", "attempt"} == set(law.NEVER_CHANGE)


@pytest.mark.parametrize("status", law.STATES)
async def test_what_the_law_wants_with_a_status_has_to_be_there_and_nothing_else(
    db: asyncpg.Connection, status: str
) -> None:
    await db.execute(
        "set session_replication_role = replica"
    )  # the guard would not let most of them begin so
    right = STATES[status]
    full = {"started_at": NOW, "finished_at": NOW, "response": "{}", "error_code": "rejected"}
    wrong = {column: value if right[column] is None else None for column, value in full.items()}

    refusals = {
        column: await refusal_of(db, insert(db, status, **{column: value})) for column, value in wrong.items()
    }

    assert await refusal_of(db, insert(db, status)) is None
    assert {column: said for column, said in refusals.items() if said not in CHECKS} == {}


CHECKS = (
    "pending_is_unstarted",
    "started_when_claimed",
    "finished_has_time",
    "finished_has_response",
    "failed_has_code",
)


@pytest.mark.parametrize(
    ("status", "attempt"), [("completed", 1), ("failed", 1), ("processing", 2), ("processing", 5)]
)
async def test_a_request_cannot_begin_anywhere_but_at_its_beginning(
    db: asyncpg.Connection, status: str, attempt: int
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match=f"not as {status} with attempt {attempt}"):
        await insert(db, status, attempt=attempt)

    assert await db.fetchval("select count(*) from requests") == 0


@pytest.mark.parametrize(
    ("status", "history"),
    [("pending", [("pending", 0)]), ("processing", [("pending", 0), ("processing", 1)])],
)
async def test_a_beginning_is_recorded(
    db: asyncpg.Connection, status: str, history: list[tuple[str, int]]
) -> None:
    request_id = await insert(db, status)

    found = await db.fetch("select * from request_transitions order by at, attempt")
    assert [(row["status"], row["attempt"]) for row in found] == history
    assert {row["request_id"] for row in found} == {request_id}
    assert all(datetime.now(UTC) - row["at"] < timedelta(minutes=1) for row in found)


LEGAL = [
    ("pending", "status = 'processing', attempt = 1, started_at = now()", ("processing", 1)),
    ("processing", "status = 'processing', attempt = 2", ("processing", 2)),
    ("processing", "status = 'completed', response = 'r', finished_at = now()", ("completed", 1)),
    (
        "processing",
        "status = 'failed', response = 'r', finished_at = now(), error_code = 'rejected'",
        ("failed", 1),
    ),
]


@pytest.mark.parametrize(("status", "step", "recorded"), LEGAL)
async def test_a_legal_transition_is_recorded_with_its_worker_and_time(
    db: asyncpg.Connection, status: str, step: str, recorded: tuple[str, int]
) -> None:
    request_id, worker = await in_state(db, status), uuid4()
    before = await db.fetchval("select max(at) from request_transitions")
    count = await db.fetchval("select count(*) from request_transitions")

    await change(db, request_id, f"{step}, worker = '{worker}'")

    last = await db.fetchrow("select * from request_transitions where worker = $1", worker)
    assert (last["status"], last["attempt"]) == recorded
    assert last["at"] > before
    assert await db.fetchval("select count(*) from request_transitions") == count + 1


ILLEGAL = [
    ("pending", "status = 'completed', attempt = 1, response = 'r', finished_at = now()"),
    ("pending", "status = 'failed', response = 'r', finished_at = now(), error_code = 'cancelled'"),
    ("pending", "status = 'processing', attempt = 2, started_at = now()"),
    ("processing", "status = 'pending', attempt = 0, started_at = null"),
    ("processing", "attempt = 3"),
    ("processing", "attempt = 0"),
    ("processing", "status = 'completed', attempt = 2, response = 'r', finished_at = now()"),
    *(
        (status, step)
        for status in ("completed", "failed")
        for step in (
            "status = 'processing', response = null, finished_at = null, error_code = null",
            "status = 'processing', attempt = 2, response = null, finished_at = null, error_code = null",
            "status = 'pending', attempt = 0, response = null, finished_at = null, error_code = null",
            "attempt = 2",
        )
    ),
    ("completed", "status = 'failed', error_code = 'rejected'"),
    ("failed", "status = 'completed', error_code = null"),
]


@pytest.mark.parametrize(("status", "step"), ILLEGAL)
async def test_an_illegal_transition_is_refused(db: asyncpg.Connection, status: str, step: str) -> None:
    request_id = await in_state(db, status)
    before = await rows(db)

    with pytest.raises(asyncpg.CheckViolationError, match=rf"request {request_id}: .* no legal transition"):
        await change(db, request_id, step)

    assert await rows(db) == before


@pytest.mark.parametrize(
    ("status", "assignment"),
    [
        ("processing", "session_id = 'other'"),
        ("processing", "fingerprint = '\\x02'"),
        ("processing", "request_id = gen_random_uuid()"),
        ("processing", "received_at = now() - interval '1 day'"),
        ("completed", "response = 'other'"),
        ("completed", "session_id = 'other'"),
        ("completed", "finished_at = now() + interval '1 s'"),
        ("failed", "error_code = 'cancelled'"),
        ("failed", "response = null"),
    ],
)
async def test_what_was_settled_cannot_be_changed(
    db: asyncpg.Connection, status: str, assignment: str
) -> None:
    request_id = await in_state(db, status)
    before = await rows(db)

    with pytest.raises(asyncpg.CheckViolationError, match=r"never change"):
        await change(db, request_id, assignment)

    assert await rows(db) == before


@pytest.mark.parametrize("status", ["pending", "processing"])
async def test_an_unfinished_request_cannot_be_deleted(db: asyncpg.Connection, status: str) -> None:
    request_id = await in_state(db, status)

    with pytest.raises(asyncpg.CheckViolationError, match=rf"request {request_id} is {status}: only a fin"):
        await db.execute("delete from requests")

    assert await db.fetchval("select count(*) from requests") == 1


@pytest.mark.parametrize(
    "statement",
    [
        "insert into recorded_transitions (request_id, attempt, status) values (gen_random_uuid(), 9, 'x')",
        "update recorded_transitions set at = now()",
        "update recorded_transitions set status = 'completed'",
        "delete from recorded_transitions",
        "truncate recorded_transitions",
    ],
)
async def test_the_history_cannot_be_written_by_hand(db: asyncpg.Connection, statement: str) -> None:
    await in_state(db, "completed")
    before = await rows(db)

    with pytest.raises(asyncpg.CheckViolationError, match="recorded_transitions is append only"):
        await db.execute(statement)

    assert await rows(db) == before
    assert len(before[1]) == 3
