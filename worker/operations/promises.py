"""Checks the promises from outside: what was confirmed to producers, what came back, what is on record."""

import json
import ssl
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from worker import law
from worker.operations.waits import waits
from worker.postgres.installation import connected
from worker.postgres.sql import load_queries

_AT_ONCE = 5_000
_CONFLICT = "request_id_conflict"


class Received(NamedTuple):
    """A copy of a response, as a subscriber got it."""

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
    failed_attempts: tuple[int, ...] = ()
    waits: str | None = None  # what for, and until when
    by: Sequence[UUID | None] = ()  # the worker of each row of its history
    says_why: bool = True  # each failed attempt is noted; not so with requests of an early version

    @property
    def finished(self) -> bool:
        return self.status in law.FINISHED

    @property
    def of_a_former_request(self) -> list[str]:
        """The sessions of an earlier request with this id, whose record was deleted as old: no violation."""
        former = self.error_code == _CONFLICT
        return [session for session in self.sessions if former and session != self.session_id]


class _Copies(NamedTuple):
    """The copies of responses by request. The response to a conflict is a message of its own, not a copy."""

    responses: dict[str, list[Received]]
    conflicts: dict[str, list[Received]]


async def verify(
    database_url: str,
    confirmed: Sequence[UUID],
    received: Iterable[Received],
    tls: ssl.SSLContext | None = None,
    schema: str | None = None,
) -> list[Violation]:
    """Find every violation, for each request whose publish was confirmed and each response that was received.

    A request that was not confirmed may have arrived all the same: if it was answered, all of it is checked.
    """
    copies = _sorted_out(received)
    promised = {str(request_id) for request_id in confirmed}
    keys = list(dict.fromkeys([*map(str, confirmed), *copies.responses, *copies.conflicts]))
    violations: list[Violation] = []
    async with connected(database_url, tls, schema) as connection:
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            recorded = await _read(connection, [UUID(key) for key in part if _is_uuid(key)])
            for key in part:
                row = recorded.get(key)
                violations += _check(
                    key, row, copies.responses.get(key, []), promised=key in promised,
                    refused=any(_code(copy) != _CONFLICT for copy in copies.conflicts.get(key, [])),
                )  # fmt: skip
                violations += _check_conflicts(key, row, copies.conflicts.get(key, []))
        violations += await _orphans(connection, set(keys))
    return violations


async def judge(
    database_url: str, request_id: UUID, tls: ssl.SSLContext | None = None, schema: str | None = None
) -> list[Violation]:
    """Find every violation that the record of one request shows, whether it is finished or not."""
    async with connected(database_url, tls, schema) as connection:
        row = (await _read(connection, [request_id])).get(str(request_id))
    if row is None:
        return [Violation("nothing lost", str(request_id), "no record of it")]
    broken = [*_untrue_record(row), *_broken_sessions(row)]
    if row.response is not None and (problem := _wrong_response(row.response, row)):
        broken.append(("the response is true", problem))
    return [Violation(promise, str(request_id), found) for promise, found in broken]


def _check(
    key: str, row: Recorded | None, copies: Sequence[Received], *, promised: bool, refused: bool
) -> Iterator[Violation]:
    """Check the promises to one requester. `refused`: an answer off the record said why there is no session.
    What follows from another violation is not reported again.
    """
    if row is not None:
        if promised or copies:
            broken = [*_broken_record(row), *_broken_sessions(row), *_broken_responses(key, row, copies)]
            yield from (Violation(promise, key, found) for promise, found in broken)
    elif promised and not refused:
        yield Violation("nothing lost", key, "no record of it")
    elif copies:
        yield Violation("nothing invented", key, "a response to a request that nobody sent")


def _broken_record(row: Recorded) -> Iterator[tuple[str, str]]:
    if not row.finished:
        why = f", {row.waits}" if row.waits else ""
        yield "nothing lost", f"still {row.status} (attempt {row.attempt}{why})"
    yield from _untrue_record(row)


def _untrue_record(row: Recorded) -> Iterator[tuple[str, str]]:
    if beyond := [attempt for attempt in row.failed_attempts if attempt > row.attempt]:
        yield (
            "the record is true",
            f"attempt {beyond[0]} is said to have failed, but there were {row.attempt}",
        )
    if problem := illegal_history(row):
        yield "the record is true", problem
    elif row.says_why and (without := set(range(1, row.attempt)) - set(row.failed_attempts)):
        yield "the record is true", f"attempt {min(without)} was not the last one, and nothing says why"


def _broken_sessions(row: Recorded) -> Iterator[tuple[str, str]]:
    if len(row.sessions) > 1:
        yield "nothing twice", f"{len(row.sessions)} sessions: {row.sessions}"
    elif row.status in law.WITH_SESSION:
        if row.sessions != [row.session_id]:
            yield "the record is true", f"{row.status}, but its sessions are {row.sessions}"
    elif set(row.sessions) - set(row.of_a_former_request):
        yield "nothing twice", f"{row.status}, but there is a session {row.sessions}"


def _broken_responses(key: str, row: Recorded, copies: Sequence[Received]) -> Iterator[tuple[str, str]]:
    if not row.finished:
        if copies:
            yield "the response is true", f"answered, though it is still {row.status}"
        return
    if not copies:
        yield "every request is answered", "no response was received"
        return
    yield from _unlike(copies)
    if (ids := {copy.message_id for copy in copies}) != {key} and len(ids) == 1:
        yield "one response", f"its message id is {ids.pop()!r}, not the request id"
    bodies = {copy.body for copy in copies}
    if row.response is None:
        yield "the record is true", f"{row.status}, but no response is on record"
    elif len(bodies) == 1 and bodies != {row.response.encode()}:
        yield "the record is true", "the response received is not the one on record"
    elif problem := _wrong_response(row.response, row):
        yield "the response is true", problem


def _unlike(copies: Sequence[Received]) -> Iterator[tuple[str, str]]:
    if len(ids := {copy.message_id for copy in copies}) > 1:
        yield "one response", f"copies with {len(ids)} message ids: {sorted(ids)}"
    if len(bodies := {copy.body for copy in copies}) > 1:
        yield "one response", f"copies with {len(bodies)} different bodies"


def illegal_history(row: Recorded) -> str | None:
    """Say what is wrong with the order of its transitions, if anything."""
    if not law.is_legal(row.history) or row.history[-1][0] != row.status:
        return f"its history is {row.history}"
    if any(row.by) and not law.is_history(  # else it was typed by hand, and no worker has written of it
        _entries(row.history, row.by)
    ):
        return f"its history is {row.history}, and no workers can have written it in that way: {row.by}"
    attempts = row.history[-1][1]
    if row.attempt != attempts:
        return f"its row says attempt {row.attempt}, its history {attempts}"
    return None


def _entries(history: Sequence[tuple[str, int]], workers: Sequence[UUID | None]) -> Iterator[law.Entry]:
    """Say of each row of a history what is new in it."""
    attempt, worker = 0, None
    for (status, attempt_now), worker_now in zip(history, workers, strict=True):
        by = law.NOBODY if worker_now is None else law.THE_SAME if worker_now == worker else law.ANOTHER
        yield law.Entry(status, attempt_now - attempt, by)
        attempt, worker = attempt_now, worker_now


def _wrong_response(body: str, row: Recorded) -> str | None:
    response = _object_in(body.encode())
    if response is None:
        return "the response is no JSON object"
    metadata, payload = _part(response, "metadata"), _part(response, "payload")
    failed = response.get("status") == "failed"
    if response.get("status") != row.status:
        return f"the response says {response.get('status')}, the record {row.status}"
    if failed != bool(response.get("error")) or (failed and not metadata.get("code")):
        return "a failed response, and no other, has an error and a code"
    if failed and row.error_code != metadata["code"]:
        return f"the response has code {metadata['code']}, the record {row.error_code}"
    if payload.get("session_id") != row.session_id:
        return "the response names another session than the record"
    return None


def _check_conflicts(key: str, row: Recorded | None, conflicts: Sequence[Received]) -> Iterator[Violation]:
    """Check that a request which used a known id for other content failed, and was shown nobody's session."""
    if row is None and any(_code(copy) == _CONFLICT for copy in conflicts):
        yield Violation("nothing invented", key, "a conflict with a request that is not on record")
        return
    by_message: dict[str, list[Received]] = defaultdict(list)
    for copy in conflicts:
        by_message[copy.message_id].append(copy)
    for copies in by_message.values():
        for promise, found in _unlike(copies):
            yield Violation(promise, key, f"of a conflict, {found}")
        response = _object_in(copies[0].body) or {}
        if response.get("status") != "failed" or not response.get("error"):
            yield Violation("the response is true", key, "a conflict was not answered with an error")
        if row is not None and _part(response, "payload").get("session_id") == row.session_id:
            yield Violation("the response is true", key, "a conflict was answered with the other's session")


async def _read(connection: asyncpg.Connection, ids: Sequence[UUID]) -> dict[str, Recorded]:
    rows = await connection.fetch(_queries()["requests"], ids)
    history: dict[UUID, list[tuple[str, int]]] = defaultdict(list)
    workers: dict[UUID, list[UUID | None]] = defaultdict(list)
    for step in await connection.fetch(_queries()["transitions"], ids):
        history[step["request_id"]].append((step["status"], step["attempt"]))
        workers[step["request_id"]].append(step["worker"])
    sessions = await _sessions(connection, ids, rows)
    return {
        str(row["request_id"]): Recorded(
            status=row["status"],
            attempt=row["attempt"],
            session_id=row["session_id"],
            response=row["response"],
            error_code=row["error_code"],
            history=history[row["request_id"]],
            sessions=sessions[row["request_id"]],
            failed_attempts=tuple(row["failed"]),
            waits=_waits(row),
            by=workers[row["request_id"]],
            says_why=row["says_why"],
        )
        for row in rows
    }


def _waits(row: asyncpg.Record) -> str | None:
    if row["put_off_until"]:
        return f"put off until {row['put_off_until'].astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    reason = waits(row)
    return f"waits: {reason}" if reason else None


async def _sessions(
    connection: asyncpg.Connection, ids: Sequence[UUID], rows: Sequence[asyncpg.Record]
) -> dict[UUID | None, list[str]]:
    """Sort sessions by the request they are of, and by the request whose reserved session id they have."""
    reserved: dict[str, UUID] = {row["session_id"]: row["request_id"] for row in rows}
    sessions: dict[UUID | None, list[str]] = defaultdict(list)
    for session in await connection.fetch(_queries()["sessions"], ids, list(reserved)):
        sessions[session["request_id"]].append(session["id"])
        reserved_by = reserved.get(session["id"])
        if reserved_by not in (None, session["request_id"]):
            sessions[reserved_by].append(session["id"])
    return sessions


async def _orphans(connection: asyncpg.Connection, checked: set[str]) -> list[Violation]:
    """Find, in the rest of the installation, sessions that no completed request stands behind."""
    rows = await connection.fetch(_queries()["orphans"], _CONFLICT)
    return [
        Violation("nothing twice", str(row["request_id"]), f"{row['status']}, with the session {row['id']}")
        for row in rows
        if str(row["request_id"]) not in checked
    ]


@cache
def _queries() -> dict[str, str]:
    return load_queries("promises.sql")


def _sorted_out(received: Iterable[Received]) -> _Copies:
    copies = _Copies(defaultdict(list), defaultdict(list))
    for copy in received:
        response = _object_in(copy.body) or {}
        key = str(response.get("request_id") or copy.message_id)
        metadata = _part(response, "metadata")
        own_message = metadata.get("code") == _CONFLICT or metadata.get("recorded") is False
        beside = own_message and copy.message_id.startswith(f"{key}.")
        (copies.conflicts if beside else copies.responses)[key].append(copy)
    return copies


def _code(copy: Received) -> object:
    return _part(_object_in(copy.body) or {}, "metadata").get("code")


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _part(response: dict[str, Any], name: str) -> dict[str, Any]:
    part = response.get(name)
    return part if isinstance(part, dict) else {}


def _is_uuid(key: str) -> bool:
    try:
        return str(UUID(key)) == key
    except ValueError:
        return False
