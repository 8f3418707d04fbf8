"""Impossible rows are rejected by the database."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

NOW = datetime.now(UTC)
PENDING: dict[str, Any] = {
    "status": "pending",
    "attempt": 0,
    "fingerprint": b"x",
    "body": "{}",
    "session_id": "ts_1",
}
PROCESSING = PENDING | {"status": "processing", "attempt": 1, "started_at": NOW}
SESSION: dict[str, Any] = {
    "id": "ts_1",
    "org_id": "org-1",
    "status": "active",
    "expiration_seconds": 60.0,
    "created_at": NOW,
    "updated_at": NOW,
    "expires_at": NOW,
    "document": "{}",
}


async def insert(db: asyncpg.Connection, table: str, values: dict[str, Any]) -> None:
    values = {"request_id": uuid4()} | values
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await db.execute(f"insert into {table} ({', '.join(values)}) values ({places})", *values.values())  # noqa: S608 — the test's own names


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        (PENDING | {"refusal": "{}"}, "body_or_refusal"),
        (PENDING | {"body": None}, "body_or_refusal"),
        (PENDING | {"attempt": 1}, "pending_is_unstarted"),
        (PENDING | {"started_at": NOW}, "started_when_claimed"),
        (PROCESSING | {"started_at": None}, "started_when_claimed"),
        (PROCESSING | {"finished_at": NOW}, "finished_has_time"),
        (PENDING | {"response": "{}"}, "finished_has_response"),
        (PROCESSING | {"error_code": "rejected"}, "failed_has_code"),
        (PROCESSING | {"published_at": NOW}, "published_when_finished"),
    ],
)
async def test_an_impossible_request_is_rejected(
    db: asyncpg.Connection, values: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await insert(db, "requests", values)

    assert raised.value.constraint_name == constraint
    assert await db.fetchval("select count(*) from requests") == 0


@pytest.mark.parametrize(
    ("assignments", "constraint"),
    [
        ("status = 'completed', response = 'r'", "finished_has_time"),
        ("status = 'completed', finished_at = now()", "finished_has_response"),
        ("status = 'failed', response = 'r', finished_at = now()", "failed_has_code"),
        (
            "status = 'completed', response = 'r', finished_at = now(), error_code = 'rejected'",
            "failed_has_code",
        ),
    ],
)
async def test_an_end_without_all_that_belongs_to_it_is_rejected(
    db: asyncpg.Connection, assignments: str, constraint: str
) -> None:
    await insert(db, "requests", PROCESSING)

    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await db.execute(f"update requests set {assignments}")  # noqa: S608 — the test's own words

    assert raised.value.constraint_name == constraint
    assert await db.fetchval("select status from requests") == "processing"


async def test_a_second_session_for_a_request_is_rejected(db: asyncpg.Connection) -> None:
    request_id = uuid4()
    await insert(db, "sessions", SESSION | {"request_id": request_id})

    with pytest.raises(asyncpg.UniqueViolationError) as raised:
        await insert(db, "sessions", SESSION | {"request_id": request_id, "id": "ts_2"})
    assert raised.value.constraint_name.endswith("_request_id_key")
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(db, "sessions", SESSION)
    assert await db.fetchval("select count(*) from sessions") == 1


@pytest.mark.parametrize(
    "change", [{"status": "paused"}, {"expiration_seconds": 59.0}, {"expiration_seconds": 2_592_001.0}]
)
async def test_an_impossible_session_is_rejected(db: asyncpg.Connection, change: dict[str, Any]) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await insert(db, "sessions", SESSION | change)

    assert await db.fetchval("select count(*) from sessions") == 0


async def test_no_index_has_what_a_request_s_normal_way_changes(db: asyncpg.Connection) -> None:
    """An index with such a column, as key or in its predicate, makes each of those updates leave its page.
    What only a request that fails gets, as error_code, is not among them.
    """
    indexes = await db.fetch("select indexdef from pg_indexes where tablename = 'requests'")
    changed = {"status", "attempt", "response", "started_at", "finished_at", "published_at"}

    named = {index["indexdef"]: changed & set(re.findall(r"\w+", index["indexdef"])) for index in indexes}
    assert len(indexes) >= 4
    assert not any(named.values()), named
