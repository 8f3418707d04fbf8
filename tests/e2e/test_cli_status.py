"""`status` finds a request by any of its ids, watches it, and says when Postgres does not answer."""

import json
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.commands import Shell, line_with
from support.harness import Desk, NewWorker, eventually, good_request


@pytest_asyncio.fixture(autouse=True)
async def _no_broker(shell: Shell) -> None:
    """Name no broker: `status` asks Postgres alone."""
    del shell.variables["AMQP_URL"]


async def record(
    db: asyncpg.Connection, request_id: UUID, correlation_id: str | None = None, age: str = "0 s"
) -> str:
    """Puts a request that is being worked on on record; returns its session id."""
    session_id = f"ts_260102_{request_id.hex[:13]}"
    await db.execute(
        """
        insert into requests (request_id, status, attempt, org_id, fingerprint, body, session_id,
                              correlation_id, received_at, started_at)
        values ($1, 'processing', 1, 'org-1', '\\x00', '{}', $2, $3, now() - $4::text::interval, now())
        """,
        request_id, session_id, correlation_id, age,
    )  # fmt: skip
    return session_id


async def test_by_each_of_its_ids(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()
    good, bad = good_request(), good_request(name="x" * 41)
    completed = await desk.ask(good, correlation_id="order-17")
    failed = await desk.ask(bad)

    for text in (
        good["request_id"], good["request_id"].upper(), good["request_id"][:10], good["request_id"][:8],
        completed.payload.session_id, completed.payload.session_id[:20], "order-17",
        completed.payload.session_id.upper(),
    ):  # fmt: skip
        outcome = await shell.run("status", text, "--json")
        assert (outcome.code, text) == (0, text), outcome.err
        assert outcome.records[0]["request"]["request_id"] == good["request_id"]
    by_reserved = await shell.run("status", failed.payload.session_id, "--json")
    assert by_reserved.records[0]["request"]["request_id"] == bad["request_id"]


async def test_several_are_listed(shell: Shell, db: asyncpg.Connection) -> None:
    start = "6f9f1c0e"
    alike = [UUID(f"{start}-0000-4000-8000-{number:012}") for number in range(3)]
    for each in alike:
        await record(db, each, "shared")

    for text in (start, "shared"):
        shown, told = await shell.run("status", text), await shell.run("status", text, "--json")
        assert (shown.code, told.code) == (2, 2)
        assert [each["request_id"] for each in told.records] == [str(each) for each in alike]
        assert all(str(each) in shown.out for each in alike)
        assert f"3 requests match {text}" in shown.err
    for number in range(3, 12):
        await record(db, UUID(f"{start}-0000-4000-8000-{number:012}"))
    many = await shell.run("status", start, "--json")
    assert (many.code, len(many.records)) == (2, 10)
    assert "more than 10 requests match" in many.err


async def test_of_a_deleted_request_the_session_is_told(
    shell: Shell, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    response = await desk.ask(good_request())
    await db.execute("delete from requests")  # as retention does

    outcome = await shell.run("status", response.payload.session_id)

    assert outcome.code == 1
    assert f"its request {response.request_id} was deleted as old" in outcome.err


async def test_watched_until_the_time_is_over(shell: Shell, db: asyncpg.Connection) -> None:
    request_id = uuid4()
    session_id = await record(db, request_id, "order-17")

    for text in (str(request_id), "order-17", str(request_id)[:8]):
        outcome = await shell.run("status", text, "--watch", "--timeout", "0.3", "--json")
        assert outcome.code == 4
        assert outcome.records[0]["request"]["session_id"] == session_id
        assert f"still processing after 0.3 s: {request_id}" in outcome.err


async def test_a_response_that_was_not_delivered(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()
    request = good_request()
    await desk.send(request, reply_to="nobody.s")

    async def told() -> bool:
        outcome = await shell.run("status", request["request_id"])
        return "NOT DELIVERED: the queue nobody.s is not there" in " ".join(outcome.out.split())

    await eventually(told)
    record_of = (await shell.run("status", request["request_id"], "--json")).records[0]["request"]
    assert (record_of["undelivered"], record_of["published_at"]) == ("unroutable", None)


@pytest.mark.parametrize("words", [[], ["--watch"]], ids=["once", "watched"])
async def test_it_says_that_it_waits_for_a_lock_and_for_whom(
    shell: Shell, db: asyncpg.Connection, words: list[str]
) -> None:
    request_id, name = uuid4(), f"holder-{uuid4().hex[:6]}"
    await record(db, request_id)
    await db.execute(f"set application_name = '{name}'")
    pid = await db.fetchval("select pg_backend_pid()")

    holding = db.transaction()
    await holding.start()
    await db.execute("lock table requests in access exclusive mode")
    async with shell.start("status", str(request_id), "--json", *words, "--wait", "40") as status:
        said = await line_with(status.stderr, "waits for a lock on")
        given_up = await shell.run("status", str(request_id), *words, "--wait", "6")
        assert status.returncode is None, "it goes on waiting"
        await holding.rollback()
        found = json.loads(await line_with(status.stdout, "request_id"))

    assert f"pid {pid} ({name}, " in said
    assert found["request"]["request_id"] == str(request_id)
    assert (given_up.code, given_up.out) == (3, "")
    assert f"does not answer: the statement waits for a lock on requests that pid {pid}" in given_up.err
