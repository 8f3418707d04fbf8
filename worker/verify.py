"""The promises, checked from outside: what was confirmed to producers, what came back, what is on record."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

_AT_ONCE = 5_000
_TERMINAL = ("completed", "failed")


class Received(NamedTuple):
    """One copy of a response, as a subscriber got it."""

    message_id: str
    body: bytes


class Violation(NamedTuple):
    """A promise that was not kept, for which request, and what was found instead."""

    promise: str
    request_id: str
    found: str


class Recorded(NamedTuple):
    status: str
    attempt: int
    session_id: str
    response: str | None
    error_code: str | None
    history: list[tuple[str, int]]
    sessions: list[str]


async def verify(
    database_url: str, confirmed: Sequence[UUID], received: Iterable[Received]
) -> list[Violation]:
    """Every violation, for each request whose publish was confirmed and each response that was received."""
    copies = _by_request(received)
    violations: list[Violation] = []
    connection = await asyncpg.connect(database_url)
    try:
        for start in range(0, len(confirmed), _AT_ONCE):
            ids = confirmed[start : start + _AT_ONCE]
            recorded = await _read(connection, ids)
            for request_id in ids:
                key = str(request_id)
                violations += check(key, recorded.get(request_id), copies.get(key, []))
        violations += await _whole_database(connection)
    finally:
        await connection.close()
    known = {str(request_id) for request_id in confirmed}
    violations += [
        Violation("nothing invented", key, "a response to a request that nobody sent")
        for key in copies
        if key not in known
    ]
    return violations


def check(key: str, row: Recorded | None, copies: Sequence[Received]) -> list[Violation]:
    """The promises to one requester."""
    if row is None:
        return [Violation("nothing lost", key, "no record of it")]
    broken = [*_broken_record(row), *_broken_sessions(row), *_broken_responses(row, copies)]
    return [Violation(promise, key, found) for promise, found in broken]


def _broken_record(row: Recorded) -> Iterator[tuple[str, str]]:
    if row.status not in _TERMINAL:
        yield "nothing lost", f"still {row.status} (attempt {row.attempt})"
    if problem := illegal_history(row):
        yield "the record is true", problem


def _broken_sessions(row: Recorded) -> Iterator[tuple[str, str]]:
    if len(row.sessions) > 1:
        yield "nothing twice", f"{len(row.sessions)} sessions"
    if row.status == "completed" and row.sessions != [row.session_id]:
        yield "the record is true", f"completed, but its sessions are {row.sessions}"
    if row.status == "failed" and row.sessions:
        yield "the record is true", f"failed, but there is a session {row.sessions}"


def _broken_responses(row: Recorded, copies: Sequence[Received]) -> Iterator[tuple[str, str]]:
    if not copies:
        yield "every request is answered", "no response was received"
        return
    if len({copy.message_id for copy in copies}) > 1:
        yield "one response", f"copies with {len({copy.message_id for copy in copies})} message ids"
    if len({copy.body for copy in copies}) > 1:
        yield "one response", "copies with different bodies"
    if row.response is not None and copies[0].body != row.response.encode():
        yield "the record is true", "the response received is not the one on record"
    if problem := _wrong_response(copies[0].body, row):
        yield "the response is true", problem


def illegal_history(row: Recorded) -> str | None:
    """What is wrong with the order of its transitions, if anything."""
    steps = row.history
    attempts = [attempt for status, attempt in steps if status == "processing"]
    expected: list[tuple[str, int]] = [("pending", 0)]
    expected += [("processing", attempt) for attempt in range(1, len(attempts) + 1)]
    if row.status in _TERMINAL:
        expected.append((row.status, len(attempts)))
    if sorted(steps) != sorted(expected) or steps != expected:
        return f"its history is {steps}"
    if row.attempt != len(attempts):
        return f"its row says attempt {row.attempt}, its history {len(attempts)}"
    return None


def _wrong_response(body: bytes, row: Recorded) -> str | None:
    try:
        response: dict[str, Any] = json.loads(body)
    except ValueError:
        return "the response is not JSON"
    failed = response.get("status") == "failed"
    if response.get("status") != row.status:
        return f"the response says {response.get('status')}, the record {row.status}"
    if failed != bool(response.get("error")) or failed != bool((response.get("metadata") or {}).get("code")):
        return "a failed response, and no other, has an error and a code"
    if failed and row.error_code != response["metadata"]["code"]:
        return f"the response has code {response['metadata']['code']}, the record {row.error_code}"
    if response.get("payload", {}).get("session_id") != row.session_id:
        return "the response names another session than the record"
    return None


async def _read(connection: asyncpg.Connection, ids: Sequence[UUID]) -> dict[UUID, Recorded]:
    rows = await connection.fetch(
        "select request_id, status, attempt, session_id, response, error_code from requests "
        "where request_id = any ($1::uuid[])",
        ids,
    )
    history: dict[UUID, list[tuple[str, int]]] = defaultdict(list)
    for step in await connection.fetch(
        "select request_id, status, attempt from request_transitions where request_id = any ($1::uuid[]) "
        "order by at, attempt, status in ('completed', 'failed')",
        ids,
    ):
        history[step["request_id"]].append((step["status"], step["attempt"]))
    sessions: dict[UUID, list[str]] = defaultdict(list)
    for session in await connection.fetch(
        "select request_id, id from sessions where request_id = any ($1::uuid[])", ids
    ):
        sessions[session["request_id"]].append(session["id"])
    return {
        row["request_id"]: Recorded(
            row["status"], row["attempt"], row["session_id"], row["response"], row["error_code"],
            history[row["request_id"]], sessions[row["request_id"]],
        )
        for row in rows
    }  # fmt: skip


async def _whole_database(connection: asyncpg.Connection) -> list[Violation]:
    """What no single request shows: a session that no completed request stands behind."""
    orphans = await connection.fetch(
        "select s.request_id, s.id, r.status from sessions s join requests r using (request_id) "
        "where r.status <> 'completed' or r.session_id <> s.id"
    )
    return [
        Violation(
            "nothing twice",
            str(row["request_id"]),
            f"session {row['id']} of a request that is {row['status']}",
        )
        for row in orphans
    ]


def _by_request(received: Iterable[Received]) -> dict[str, list[Received]]:
    copies: dict[str, list[Received]] = defaultdict(list)
    for copy in received:
        try:
            key = str(json.loads(copy.body)["request_id"])
        except (ValueError, KeyError, TypeError):
            key = copy.message_id
        # A conflict is answered with a message of its own: it is not a copy of the request's response.
        if "." not in copy.message_id:
            copies[key].append(copy)
    return copies
