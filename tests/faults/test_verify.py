"""The checker finds each kind of violation that is planted, and nothing else."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.databases import made_database
from support.faults.load import Books, keeping_books
from support.harness import Desk, delete_topology, good_request, open_desk, run_in_process

from worker.operations.promises import Received, verify
from worker.settings import Settings
from worker.stack import Stack

CASES = 44  # more than there are tests


class Case(NamedTuple):
    """Sound records, which a test will spoil: a completed request, a failed one, and one that was
    answered twice and asked for with other content as well."""

    db: asyncpg.Connection
    database_url: str
    confirmed: list[UUID]
    received: list[Received]

    @property
    def completed(self) -> UUID:
        return self.confirmed[0]

    @property
    def failed(self) -> UUID:
        return self.confirmed[1]

    async def change(self, statement: str, request_id: UUID) -> None:
        """Makes a change that the database would refuse, with its triggers switched off."""
        await self.db.execute("set session_replication_role = replica")
        try:
            assert await self.db.execute(statement, request_id) not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")
        finally:
            await self.db.execute("reset session_replication_role")

    def respond(self, request_id: UUID, change: Callable[[Received], Received]) -> None:
        """Changes every copy of this response, as if it had arrived like that."""
        self.received[:] = [
            change(copy) if copy.message_id == str(request_id) else copy for copy in self.received
        ]

    async def rewrite(self, request_id: UUID, change: Callable[[dict[str, object]], object]) -> None:
        """Changes the response both on record and as it arrived."""
        document = json.loads(self.of(request_id).body)
        change(document)
        body = json.dumps(document)
        await self.change(
            f"update requests set response = $r${body}$r$ where request_id = $1",  # noqa: S608 — the test's own
            request_id,
        )
        self.respond(request_id, lambda copy: copy._replace(body=body.encode()))

    def of(self, request_id: UUID) -> Received:
        return next(copy for copy in self.received if copy.message_id == str(request_id))


ONE_A_REQUEST = """
select conrelid::regclass, conname from pg_constraint where conname ~ '^sessions.*request_id_key$'
"""


@pytest_asyncio.fixture(scope="module")
async def cases(stack: Stack, template: str) -> AsyncIterator[Iterator[Case]]:
    """Runs a worker once for all of the tests; each test gets requests of its own."""
    prefix = f"t{uuid4().hex[:12]}"
    async with made_database(stack.database_url, "verify", template) as url:
        settings = Settings(
            amqp_url=stack.amqp_url, database_url=url, prefix=prefix, http_host="127.0.0.1", http_port=0
        )
        try:
            async with (
                run_in_process(settings) as start,
                keeping_books(stack.amqp_url, prefix) as books,
                open_desk(stack.amqp_url, prefix) as desk,
            ):
                await start()
                await _fill(books, desk)
        finally:
            await delete_topology(stack.amqp_url, prefix)
        db = await asyncpg.connect(url)
        # The history of these as a table, so that anything can be planted there.
        await db.execute(
            "create table planted as select * from request_transitions;"
            "alter view request_transitions rename to told;"
            "create view request_transitions as select * from planted union all select * from told"
            " where request_id not in (select request_id from planted)"
        )
        for constraint in ("failed_has_code", "finished_has_response"):
            await db.execute(f"alter table requests drop constraint {constraint}")
        await db.execute("alter table sessions disable trigger sessions_single")
        for constraint in await db.fetch(ONE_A_REQUEST):
            await db.execute("alter table {} drop constraint {}".format(*constraint))
        yield (_case(db, url, books, number) for number in range(0, CASES * 3, 3))
        await db.close()


async def _fill(books: Books, desk: Desk) -> None:
    for request_id in (ids := [uuid4() for _ in range(CASES * 3)]):
        payload = {"name": "x" * 41} if request_id in ids[1::3] else {}
        await desk.send(good_request(request_id, **payload), reply_to=None)
        books.confirm(request_id)
    await books.until_all_answered(90)
    for request_id in ids[2::3]:
        await desk.send(good_request(request_id), reply_to=None)
        await desk.send(good_request(request_id) | {"org_id": "another"}, reply_to=None)
    await books.until(lambda: len(books.received) == CASES * 5, 90, "answered again")


def _case(db: asyncpg.Connection, url: str, books: Books, number: int) -> Case:
    own = books.confirmed[number : number + 3]
    names = tuple(map(str, own))
    return Case(db, url, own, [copy for copy in books.received if copy.message_id.startswith(names)])


@pytest_asyncio.fixture
async def case(cases: Iterator[Case]) -> AsyncIterator[Case]:
    case = next(cases)
    own = list(case.confirmed)
    yield case
    await case.db.execute("delete from sessions where request_id = any ($1::uuid[])", own)


async def violations(case: Case) -> list[tuple[str, str, str]]:
    found = await verify(case.database_url, case.confirmed, case.received)
    return [(each.promise, each.request_id, each.found) for each in found]


async def test_of_a_run_in_which_all_went_well_nothing_is_said(case: Case) -> None:
    assert len(case.confirmed) == 3
    assert len(case.received) == 5
    assert await violations(case) == []


Plant = Callable[[Case], Awaitable[None] | None]


def in_table(statement: str, *, failed: bool = False) -> Plant:
    return lambda case: case.change(statement, case.failed if failed else case.completed)


def in_response(change: Callable[[Received], Received]) -> Plant:
    return lambda case: case.respond(case.completed, change)


def one_more(change: Callable[[Received], Received]) -> Plant:
    return lambda case: case.received.append(change(case.of(case.completed)))


def in_both(change: Callable[[dict[str, object]], object], *, failed: bool = True) -> Plant:
    return lambda case: case.rewrite(case.failed if failed else case.completed, change)


async def second_session(case: Case) -> None:
    await case.change(COPY_SESSION.format(id="'ts_two'", request_id="request_id"), case.completed)


async def session_of_failed(case: Case) -> None:
    copy = COPY_SESSION.format(id="'ts_other'", request_id=f"'{case.failed}'::uuid")
    await case.change(copy, case.completed)


async def session_reserved_by_failed(case: Case) -> None:
    reserved = f"select session_id from requests where request_id = '{case.failed}'"  # noqa: S608 — the test's own
    copy = COPY_SESSION.format(id=reserved, request_id=f"'{uuid4()}'::uuid")
    await case.change(copy, case.completed)


async def unfinished(case: Case) -> None:
    case.received.remove(case.of(case.completed))
    await case.change(UNFINISH, case.completed)


async def put_off(case: Case) -> None:
    await unfinished(case)
    await case.change(
        "update requests set due_at = '2026-01-02 03:04:05Z' where request_id = $1", case.completed
    )


async def another_attempt(case: Case) -> None:
    await case.change(
        "with ended as (update planted set attempt = 2 "
        "where request_id = $1 and status = 'completed'), "
        "begun as (insert into planted select request_id, 2, status, worker, at "
        "from planted where request_id = $1 and status = 'processing') "
        "update requests set attempt = 2 where request_id = $1",
        case.completed,
    )


UNFINISH = """
with gone as (delete from planted where request_id = $1 and status = 'completed'),
  made as (delete from sessions where request_id = $1)
update requests set status = 'processing', response = null, finished_at = null, published_at = null
where request_id = $1
"""
FORGET = "delete from planted where request_id = $1 and status = ?"
COPY_SESSION = """
insert into sessions
select ({id}), {request_id}, org_id, user_id, name, status, casefile_id, assistant_id, phone_number_id,
  expiration_seconds, created_at, updated_at, expires_at, document
from sessions where request_id = $1
"""
WRITTEN = "its history is [('pending', 0), ('processing', 1), ('completed', 1)]"
# What is planted, of which request, and what is to be said of it.
PLANTS: dict[str, tuple[Plant, str, str]] = {
    "no record": (
        in_table("delete from requests where request_id = $1"), "nothing lost", "no record of it",
    ),
    "not finished": (unfinished, "nothing lost", "still processing (attempt 1)"),
    "put off": (put_off, "nothing lost", "still processing (attempt 1, put off until 2026-01-02 03:04:05Z)"),
    "an attempt that there was not": (
        in_table("insert into attempts (request_id, attempt, kind) values ($1, 2, 'raised')"),
        "the record is true", "attempt 2 is said to have failed, but there were 1",
    ),
    "history without its beginning": (
        in_table(FORGET.replace("?", "'pending'")), "the record is true", "its history is",
    ),
    "history without an attempt": (
        in_table(FORGET.replace("?", "'processing'")), "the record is true", "its history is",
    ),
    "history without its end": (
        in_table(FORGET.replace("?", "'completed'")), "the record is true", "its history is",
    ),
    "history in the wrong order": (
        in_table("update planted set at = at - interval '1 h' "
                 "where request_id = $1 and status = 'completed'"),
        "the record is true", "its history is",
    ),
    "an attempt too many in the history": (
        in_table("insert into planted select request_id, 2, status, worker, at "
                 "from planted where request_id = $1 and status = 'processing'"),
        "the record is true", "its history is",
    ),
    "an end too many in the history": (
        in_table("insert into planted select request_id, attempt, 'failed', worker, at "
                 "from planted where request_id = $1 and status = 'completed'"),
        "the record is true", "its history is",
    ),
    "claimed by another than has inserted it": (
        in_table("update planted set worker = gen_random_uuid() "
                 "where request_id = $1 and status = 'pending'"),
        "the record is true", f"{WRITTEN}, and no workers",
    ),
    "an attempt that nobody has made": (
        in_table("update planted set worker = null "
                 "where request_id = $1 and status = 'processing'"),
        "the record is true", f"{WRITTEN}, and no workers",
    ),
    "another attempt without a reason": (
        another_attempt, "the record is true", "attempt 1 was not the last one, and nothing says why",
    ),
    "an attempt too many in the row": (
        in_table("update requests set attempt = 2 where request_id = $1"),
        "the record is true", "its row says attempt 2, its history 1",
    ),
    "two sessions": (second_session, "nothing twice", "2 sessions"),
    "a session of a failed request": (session_of_failed, "nothing twice", "failed, but there is a session"),
    "a session under the id that a failed request reserved": (
        session_reserved_by_failed, "nothing twice", "failed, but there is a session",
    ),
    "completed without its session": (
        in_table("delete from sessions where request_id = $1"),
        "the record is true", "completed, but its sessions are []",
    ),
    "completed with another session": (
        in_table("update sessions set id = 'ts_other' where request_id = $1"),
        "the record is true", "completed, but its sessions are ['ts_other']",
    ),
    "no response": (
        lambda case: case.received.remove(case.of(case.completed)),
        "every request is answered", "no response was received",
    ),
    "two bodies": (
        one_more(lambda copy: copy._replace(body=copy.body + b" ")),
        "one response", "copies with 2 different bodies",
    ),
    "two message ids": (
        one_more(lambda copy: copy._replace(message_id=str(UUID(int=7)))),
        "one response", "copies with 2 message ids",
    ),
    "one message id, and a wrong one": (
        in_response(lambda copy: copy._replace(message_id="7")),
        "one response", "its message id is '7', not the request id",
    ),
    "two message ids, one like a conflict's": (
        one_more(lambda copy: copy._replace(message_id=f"{copy.message_id}.00")),
        "one response", "copies with 2 message ids",
    ),
    "not the response on record": (
        in_response(lambda copy: copy._replace(body=copy.body + b"\n")),
        "the record is true", "the response received is not the one on record",
    ),
    "no response on record": (
        in_table("update requests set response = null where request_id = $1"),
        "the record is true", "completed, but no response is on record",
    ),
    "failed without an error": (
        in_both(lambda response: response.update(error=None)),
        "the response is true", "a failed response, and no other, has an error and a code",
    ),
    "failed without a code": (
        in_both(lambda response: response.update(metadata={})),
        "the response is true", "a failed response, and no other, has an error and a code",
    ),
    "completed with an error": (
        in_both(lambda response: response.update(error="oh"), failed=False),
        "the response is true", "a failed response, and no other, has an error and a code",
    ),
    "failed without a code on record": (
        in_table("update requests set error_code = null where request_id = $1", failed=True),
        "the response is true", "the response has code invalid_request, the record None",
    ),
    "completed is said of a failed one": (
        in_both(lambda response: response.update(status="completed", error=None, metadata={})),
        "the response is true", "the response says completed, the record failed",
    ),
    "another session is named": (
        in_both(lambda response: response.update(payload={"session_id": "ts_other"}), failed=False),
        "the response is true", "the response names another session than the record",
    ),
    "no payload at all": (
        in_both(lambda response: response.pop("payload"), failed=False),
        "the response is true", "the response names another session than the record",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTS)
async def test_a_violation_is_found_and_nothing_else(name: str, case: Case) -> None:
    plant, promise, found = PLANTS[name]
    if planting := plant(case):
        await planting

    (violation,) = await violations(case)

    assert violation[0] == promise
    assert violation[1] == str(case.failed if "failed" in name else case.completed)
    assert violation[2].startswith(found)


async def test_a_response_to_an_unknown_request_is_found(case: Case) -> None:
    unknown = str(UUID(int=8))
    case.received.append(Received("x", b"[1]"))
    case.received.append(Received("y", json.dumps({"request_id": unknown}).encode()))

    said = "a response to a request that nobody sent"
    assert await violations(case) == [
        ("nothing invented", "x", said), ("nothing invented", unknown, said),
    ]  # fmt: skip


async def test_a_request_that_was_not_confirmed_need_not_be_there_but_what_is_there_has_to_be_right(
    case: Case,
) -> None:
    completed = case.completed
    case.confirmed.remove(completed)
    assert await violations(case) == []

    case.respond(completed, lambda copy: copy._replace(body=copy.body + b" "))
    said = "the response received is not the one on record"
    assert await violations(case) == [("the record is true", str(completed), said)]

    case.received.remove(case.of(completed))
    assert await violations(case) == []


async def test_a_session_of_a_failed_request_is_found_though_nobody_asks_for_it(case: Case) -> None:
    await session_of_failed(case)
    failed = case.failed
    case.received.remove(case.of(failed))
    case.confirmed.remove(failed)

    assert await violations(case) == [("nothing twice", str(failed), "failed, with the session ts_other")]


async def test_the_answer_to_a_conflict_is_checked_as_well(case: Case) -> None:
    (conflict,) = [copy for copy in case.received if "." in copy.message_id]
    concerned = conflict.message_id.partition(".")[0]
    session = json.loads(next(copy.body for copy in case.received if copy.message_id == concerned))["payload"]
    case.received.append(conflict._replace(body=conflict.body + b" "))
    assert await violations(case) == [
        ("one response", concerned, "of a conflict, copies with 2 different bodies")
    ]

    body = json.dumps(json.loads(conflict.body) | {"payload": session, "error": None}).encode()
    others = [copy for copy in case.received if copy.message_id != conflict.message_id]
    case.received[:] = [*others, conflict._replace(body=body)]
    assert [found for _, _, found in await violations(case)] == [
        "a conflict was not answered with an error", "a conflict was answered with the other's session",
    ]  # fmt: skip


async def test_an_answer_off_the_record_is_an_answer_without_a_record(case: Case) -> None:
    refused = uuid4()
    body = {"request_id": str(refused), "status": "failed", "error": "why", "metadata": {"recorded": False}}
    case.confirmed.append(refused)
    case.received.append(Received(f"{refused}.{uuid4().hex}", json.dumps(body).encode()))
    assert await violations(case) == []

    case.received[-1] = Received(str(refused), json.dumps(body).encode())
    assert await violations(case) == [("nothing lost", str(refused), "no record of it")]


async def test_a_request_still_being_processed_has_not_been_answered(case: Case) -> None:
    waiting = uuid4()
    case.confirmed.append(waiting)
    await case.db.execute(
        "insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at) "
        "values ($1, 'processing', 1, '', '{}', 'ts_waiting', $2)",
        waiting, datetime.now(UTC),
    )  # fmt: skip
    assert await violations(case) == [("nothing lost", str(waiting), "still processing (attempt 1)")]

    case.received.append(Received(str(waiting), json.dumps({"request_id": str(waiting)}).encode()))
    assert [found for _, _, found in await violations(case)] == [
        "still processing (attempt 1)", "answered, though it is still processing",
    ]  # fmt: skip


PENDING = """
insert into requests (
  request_id, fingerprint, body, session_id, org_id, waits_in, waits_for, begins_at, due_at, deadline_at
)
values ($1, '', '{}', 'ts_' || gen_random_uuid(), $2, $2, $3, $4, '2999-01-01Z', '2999-01-01Z')
"""


async def test_a_request_that_waits_has_not_been_answered_and_is_told_why(case: Case) -> None:
    now, later = datetime.now(UTC), datetime(2998, 1, 2, 3, 4, 5, tzinfo=UTC)
    paused, turn, scheduled = uuid4(), uuid4(), uuid4()
    case.confirmed.extend((paused, turn, scheduled))
    pause = "insert into pauses (scope, name, reason, paused_by) values ('org', 'held', 'audit', 'anna')"
    await case.db.execute(pause)
    await case.db.execute(PENDING, paused, "held", "over_share", now)
    await case.db.execute(PENDING, turn, "free", "over_share", now)
    await case.db.execute(PENDING, scheduled, "free", "not_before", later)

    told = {request_id: found for _, request_id, found in await violations(case)}

    await case.db.execute("delete from pauses")
    still = "still pending (attempt 0, waits: "
    assert told[str(paused)] == still + "paused (audit, by anna))"
    assert told[str(turn)].startswith(still + "over_share")
    assert told[str(scheduled)] == still + "not before 2998-01-02 03:04:05Z)"


async def test_what_a_handler_adds_to_the_metadata_is_its_own_affair(case: Case) -> None:
    await case.rewrite(case.completed, lambda response: response.update(metadata={"code": "room-7"}))

    assert await violations(case) == []


async def test_the_session_of_a_former_request_with_the_same_id_is_there_rightly(case: Case) -> None:
    """Retention deleted the first one's record but not its session; the second was refused as a conflict."""
    conflict = "update requests set error_code = 'request_id_conflict' where request_id = $1"
    await session_of_failed(case)
    await case.change(conflict, case.failed)
    metadata = {"code": "request_id_conflict"}
    await case.rewrite(case.failed, lambda response: response.update(metadata=metadata))

    assert await violations(case) == []
    case.confirmed.remove(case.failed)
    case.received.remove(case.of(case.failed))
    assert [each for each in await violations(case) if each[0] == "nothing twice"] == []
