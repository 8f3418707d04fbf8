"""Rows are counted by the key that they need, and sealed anew with another: nothing else of them changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.contract.secret_payloads import PHONE
from support.handlers import steer
from support.harness import Desk, NewWorker, good_request, response_in
from support.sealed import (
    CANARY,
    State,
    payload_with,
    put_dead_letter,
    put_request,
    put_session,
    ring,
    ring_text,
    strange_ring,
)
from support.secret_search import everything_in, traces_of

from schemas import CreateSessionRequest
from worker.errors import NotOwner, SealError, SettingsError
from worker.handlers import Context
from worker.messages.custody import open_body
from worker.messages.sealing import SealKeys
from worker.monitoring.readiness import Readiness
from worker.operations import audit, keys, resealing, retiring
from worker.operations.keys import KeysOfWorker, Lacking, SealedRows
from worker.operations.resealing import Resealed, Resealing
from worker.operations.retiring import KeyInUse, Retirement
from worker.postgres.database import Database
from worker.settings import Settings

K1, K2, BOTH = ring("k1"), ring("k2"), ring("k2", "k1")
ANN = "ann@ops"
LOOKS_SEALED = "sealed:v1:k9:" + "A" * 60


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 2, None, Readiness(["postgres"]))
    await opened.open()
    yield opened
    await opened.close()


def reseal(database: Database, ring: SealKeys = BOTH, rate: float = 100_000) -> Resealing:
    return Resealing(database, ring, old="k1", new="k2", who=ANN, reason="it was in a log", rate=rate)


async def test_rows_are_counted_by_key_and_place_and_what_only_looks_sealed_is_not_counted(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_AT_ONCE", 3)
    async with db.transaction():  # they have one time, and lie in several pages
        finished = [await put_request(db, each) for each in (K1, K1, K1, K1, K2, None)]
    await put_request(db, K2, payload=payload_with("x", note=LOOKS_SEALED), ago=timedelta(days=3))
    await put_request(db, None, payload={"name": LOOKS_SEALED})
    mixed = K1.seal_document(payload_with("x"), UUID(int=0)) | K2.seal_document({"token": "y"}, UUID(int=0))
    await db.execute(
        "update requests set body = $1 where request_id = $2",
        json.dumps({"payload": mixed}), await put_request(db, K1, "put off"),
    )  # fmt: skip
    await put_request(db, K2, "waiting")
    await put_request(db, K2, "leased")
    await put_request(db, None, "leased")
    await put_session(db, finished[0], K1)
    await put_session(db, finished[4], K2, note=LOOKS_SEALED)
    await put_session(db, finished[5], None, note=LOOKS_SEALED)
    for number in range(5):
        await put_dead_letter(db, b"%d" % number, (K1, ring())[number // 4])
    looked: dict[str, int] = {}

    found = await keys.rows_by_key(database, report=lambda place, rows: looked.update({place: rows}))

    oldest = {(row.key, row.place): row.oldest for row in found}
    stored = await db.fetchval("select min(received_at) from requests where body like '%:k2:%'")
    assert (
        oldest["k2", "finished"] == oldest["k2", "repeats"] == stored < datetime.now(UTC) - timedelta(days=2)
    )
    assert oldest["k1", "custody"] == await db.fetchval(
        "select min(died_at) from dead_letters where sealed_by = 'k1'"
    )
    assert oldest["k2", "sessions"] == await db.fetchval(
        "select min(created_at) from sessions where request_id = $1", finished[4]
    )
    assert without_times(found) == [
        SealedRows("k1", "custody", 4),
        SealedRows("k1", "finished", 4),
        SealedRows("k1", "repeats", 5),
        SealedRows("k1", "sessions", 1),
        SealedRows("k1", "unfinished", 1),
        SealedRows("k2", "finished", 2),
        SealedRows("k2", "repeats", 4),
        SealedRows("k2", "sessions", 1),
        SealedRows("k2", "unfinished", 3),
    ]
    assert looked == {"custody": 5, "finished": 12, "sessions": 3}
    assert without_times(await keys.rows_by_key(database, keys.QUICK)) == [
        SealedRows("k1", "custody", 4), SealedRows("k1", "unfinished", 1), SealedRows("k2", "unfinished", 3),
    ]  # fmt: skip


def without_times(rows: list[SealedRows]) -> list[SealedRows]:
    assert all(row.oldest for row in rows)
    return [row._replace(oldest=None) for row in rows]


async def test_who_lacks_a_key_is_told(database: Database, db: asyncpg.Connection) -> None:
    for pid, names, ago in ((1, "k2,k1", 1), (2, "k2", 1), (3, "", 1), (4, "k1", 3600), (5, None, 1)):
        await db.execute(
            "insert into workers (id, host, pid, version, heartbeat, settings) values (gen_random_uuid(), "
            "'vm', $1, '1', now() - $2 * interval '1 s', $3::jsonb)",
            pid, ago, json.dumps({"lease_seconds": 30} | ({} if names is None else {"seal_keys": names})),
        )  # fmt: skip
    workers = await keys.keys_of_workers(database, 30)
    rows = [SealedRows("k1", "finished", 3), SealedRows("k2", "repeats", 1)]

    assert workers == [
        KeysOfWorker("vm:1", ("k2", "k1")), KeysOfWorker("vm:2", ("k2",)), KeysOfWorker("vm:3", ()),
    ]  # fmt: skip
    assert keys.lacking(rows, (), workers) == [
        Lacking("k1", "finished", 3, False, ("vm:2", "vm:3")), Lacking("k2", "repeats", 1, False, ("vm:3",)),
    ]  # fmt: skip
    assert keys.lacking(rows, ("k2",), workers[:1]) == [Lacking("k1", "finished", 3, True, ())]
    assert keys.lacking(rows, (), []) == [
        Lacking("k1", "finished", 3, True, ()), Lacking("k2", "repeats", 1, True, ()),
    ]  # fmt: skip
    assert keys.lacking(rows, ("k2", "k1"), workers[:1]) == []


async def opens_with(db: asyncpg.Connection, ring: SealKeys) -> int:
    """Counts the secrets that open, each to what it was; raises SealError where one does not."""
    found = 0
    for row in await db.fetch("select request_id, body from requests where body like '%sealed:v1:%'"):
        opened = ring.open_document(json.loads(row["body"])["payload"], row["request_id"])
        assert opened == payload_with(f"{CANARY}-{row['request_id']}")
        found += 1
    for row in await db.fetch("select request_id, document from sessions"):
        opened = ring.open_document(json.loads(row["document"]), row["request_id"])
        assert opened == payload_with(f"{CANARY}-{row['request_id']}")
        found += 1
    for row in await db.fetch("select id, body, sealed_by from dead_letters"):
        assert open_body(row["body"], row["sealed_by"], row["id"], ring).startswith(b"letter")
        found += 1
    return found


async def rest(db: asyncpg.Connection) -> list[Any]:
    """Returns everything but for what is sealed, how, and by whom it was changed."""
    return [
        await db.fetch(statement)
        for statement in (
            "select without_sealed(body), requests.* from requests order by request_id",
            "select * from request_transitions order by 1, 2, 3",
            "select id, status, updated_at, without_sealed(document::text) from sessions order by id",
            "select id, size, state, kept_at from dead_letters order by id",
        )
    ]


async def test_all_that_a_key_has_sealed_is_sealed_anew_and_nothing_else_changes(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "LOOKED_AT_ONCE", 3)
    async with db.transaction():
        requests = [await put_request(db, each) for each in (K1, K1, K1, K1, K2, None)]
    states: tuple[State, ...] = ("leased", "put off", "waiting")
    for state in states:
        await put_request(db, K1, state)
    for request_id in requests[:4]:
        await put_session(db, request_id, K1)
    for number in range(5):
        await put_dead_letter(db, b"letter %d" % number, K1)
    told: list[Resealed] = []

    class Stop(Exception):
        pass

    def stop_at_the_second(now: Resealed) -> None:
        if now.sealed >= 4:
            raise Stop

    def columns(rows: list[Any]) -> list[Any]:
        return [tuple(value for name, value in row.items() if name != "body") for row in rows]

    before = list(map(columns, await rest(db)))
    with pytest.raises(Stop):
        await reseal(database).run(stop_at_the_second)
    with pytest.raises(SealError):
        await opens_with(db, K2)
    assert await opens_with(db, BOTH) == 17
    first = await audit.entries(database)
    assert sum(entry.touched for entry in first) == 4

    ended = await reseal(database).run(told.append)

    assert ended._replace(looked=0) == Resealed(place="custody", sealed=12)
    assert {(now.place, now.looked) for now in told} >= {("finished", 9), ("sessions", 4), ("custody", 5)}
    assert await opens_with(db, K2) == 17
    assert list(map(columns, await rest(db))) == before
    assert {
        row.key for row in await keys.rows_by_key(database, ("unfinished", "finished", "sessions", "custody"))
    } == {"k2"}
    entries = await audit.entries(database)
    assert {(entry.action, entry.who, entry.reason) for entry in entries} == {
        ("keys.rotate", ANN, "it was in a log")
    }
    by_place: dict[str, int] = {}
    for entry in entries:
        assert (entry.about["from"], entry.about["to"]) == ("k1", "k2")
        by_place[entry.about["place"]] = by_place.get(entry.about["place"], 0) + entry.touched
    assert by_place == {"requests": 7, "sessions": 4, "custody": 5}
    assert (await reseal(database).run(told.append)).sealed == 0
    assert len(await audit.entries(database)) == len(entries), "what changed nothing is no row"
    assert traces_of(CANARY, await everything_in(db)) == []


async def test_what_somebody_is_at_work_on_or_has_changed_or_does_not_open_is_left_and_told(
    database: Database, db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "_PAUSES", ())
    strange = await put_request(db, strange_ring("k1"))
    used, changed, third = [await put_request(db, K1, "put off") for _ in range(3)]
    other = await asyncpg.connect(database_url)
    anew = Resealing._anew

    def meanwhile(self: Resealing, place: Any, row_id: UUID, before: Any) -> Any:
        """Lets somebody change a row between the look at it and the statement."""
        if row_id == changed:
            changes.append(
                asyncio.ensure_future(
                    db.execute("update requests set body = body || ' ' where request_id = $1", changed)
                )
            )
        return anew(self, place, row_id, before)

    changes: list[asyncio.Future[Any]] = []
    put = Resealing._put

    async def put_late(self: Resealing, place: Any, given: Any) -> list[UUID]:
        await asyncio.gather(*changes)
        return await put(self, place, given)

    async with other.transaction():
        await other.execute("update requests set attempt = 2 where request_id = $1", used)
        monkeypatch.setattr(Resealing, "_anew", meanwhile)
        monkeypatch.setattr(Resealing, "_put", put_late)
        ended = await asyncio.wait_for(reseal(database).run(lambda _: None), 60)
    await other.close()

    assert (ended.sealed, ended.left, ended.unopened, ended.examples) == (1, 2, 1, (strange,))
    body = await db.fetchval("select body from requests where request_id = $1", changed)
    assert body.endswith(" "), "what it was changed to is not lost"
    assert "sealed:v1:k2:" in await db.fetchval("select body from requests where request_id = $1", third)
    assert await db.fetchval("select attempt from requests where request_id = $1", used) == 2
    monkeypatch.undo()
    again = await reseal(database).run(lambda _: None)
    assert (again.sealed, again.left, again.unopened) == (2, 0, 1)


async def test_a_request_that_runs_meanwhile_loses_nothing(
    new_worker: NewWorker, desk: Desk, database: Database, db: asyncpg.Connection
) -> None:
    """Its session has what the worker read before, sealed with the old key: the next time finds it."""
    running, go_on = asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        running.set()
        await go_on.wait()

    worker = await new_worker(handler=steer(act), seal_keys=SecretStr(ring_text("k1", "k2")))
    request = good_request(None, phone_number={**PHONE, "twilio_auth_token": CANARY})
    await desk.send(request)
    await asyncio.wait_for(running.wait(), 60)
    first = await reseal(database).run(lambda _: None)
    go_on.set()
    answer = await desk.next()
    second = await reseal(database).run(lambda _: None)
    await worker.stop()

    assert response_in(answer).status == "completed"
    assert (first.sealed, second.sealed) == (1, 1)
    opened = await keys.opened(database, UUID(request["request_id"]), K2, who=ANN, reason="a look")
    assert opened is not None
    assert opened["phone_number"]["twilio_auth_token"] == CANARY
    assert [(entry.action, entry.about["org"]) for entry in await audit.entries(database, most=1)] == [
        ("keys.open", "org-1")
    ]
    await new_worker(handler=steer(act), seal_keys=SecretStr(ring_text("k2", "k1")))
    await desk.send(request)
    assert (await desk.next()).body == answer.body, "a repeat of it is still known"
    assert traces_of(CANARY, await everything_in(db)) == []


async def retire(database: Database, key: str, *, give_up_repeats: bool = False) -> Retirement:
    return await retiring.retire(
        database, key, lease_seconds=30, who=ANN, reason="its time", give_up_repeats=give_up_repeats,
        report=lambda _place, _looked: None,
    )  # fmt: skip


async def test_a_key_is_retired_once_nothing_needs_it_and_seals_no_more(
    new_worker: NewWorker, database: Database, db: asyncpg.Connection
) -> None:
    request_id = await put_request(db, K1)
    await put_session(db, request_id, K1)
    await put_dead_letter(db, b"letter", K1)
    await put_request(db, K1, "waiting")
    await db.execute(
        "insert into workers (id, host, pid, version, settings) values (gen_random_uuid(), 'vm', 1, '1', $1)",
        json.dumps({"seal_keys": "k1,k2"}),
    )
    with pytest.raises(KeyInUse) as refused:
        await retire(database, "k1")
    assert refused.value.sealing == ["vm:1"]
    await db.execute("update workers set settings = $1", json.dumps({"seal_keys": "k2,k1"}))
    with pytest.raises(KeyInUse) as refused:
        await retire(database, "k1", give_up_repeats=True)
    assert {row.place for row in refused.value.rows} == {"unfinished", "finished", "sessions", "custody"}
    await reseal(database).run(lambda _: None)
    with pytest.raises(KeyInUse) as refused:
        await retire(database, "k1")
    assert [(row.place, row.rows) for row in refused.value.rows] == [("repeats", 2)]
    assert await retiring.retired(database) == []

    done = await retire(database, "k1", give_up_repeats=True)
    again = await retire(database, "k1", give_up_repeats=True)

    assert done == Retirement(before=False, given_up=2, workers=("vm:1",))
    assert again.before
    ((key, _, who, reason),) = await retiring.retired(database)
    assert (key, who, reason) == ("k1", ANN, "its time")
    (entry,) = await audit.entries(database, action="keys.retire")
    assert (entry.who, entry.about) == (ANN, {"key": "k1", "repeats_given_up": 2})
    with pytest.raises(SettingsError, match=r"the first key, k1, was retired at .* by ann@ops: put another"):
        await new_worker(seal_keys=SecretStr(ring_text("k1", "k2")))
    await new_worker(seal_keys=SecretStr(ring_text("k2", "k1")))


async def test_only_the_owner_retires_a_key(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker could otherwise keep all others from starting."""

    async def nobody(_database: Database) -> tuple[bool, str]:
        return False, "sw_worker"

    monkeypatch.setattr("worker.operations.ownership.is_owner", nobody)
    with pytest.raises(NotOwner, match="only the owner of the tables may retire a key"):
        await retire(database, "k1")
