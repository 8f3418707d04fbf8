"""Dead letters are taken into Postgres: each once, within a bound, sealed, and not at the requests' cost."""

import asyncio
import gzip
import json
from typing import Any

import aio_pika
import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.harness import Desk, NewWorker, eventually, good_request, metric_becomes, told
from support.sealed import put_dead_letter

from worker.errors import NotStorable
from worker.messages import custody as letters
from worker.messages.custody import open_body
from worker.messages.sealing import parse_seal_keys
from worker.postgres import database
from worker.postgres.dead_letters import Custody
from worker.rabbitmq.topology import names_for
from worker.services import custody, retention, surveying

KEY = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PASSWORD = "conspicuous-password"


async def until_kept(db: asyncpg.Connection, number: int) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]]:
        rows = await db.fetch("select * from dead_letters order by died_at, id")
        return [dict(row) for row in rows] if len(rows) >= number else []

    found = await eventually(look)
    assert len(found) == number
    return found


async def bury(desk: Desk, body: bytes, **properties: Any) -> None:
    """Publishes a dead letter, as the broker or somebody else may do."""
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).dead, ensure=False)
    await exchange.publish(aio_pika.Message(body, **properties), routing_key="", mandatory=True)


async def test_a_dead_letter_is_kept_whole_with_its_origin_and_its_body_sealed(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker(max_dead_letters=10, seal_keys=SecretStr(KEY))
    body = json.dumps({"id": "7", "password": PASSWORD}).encode()
    headers = {
        "tenant": "x\x00y", "blob": bytearray(b"\xff\x00"),
        "depth": {"(bytes)": "no", "list": [1, 2.5, True, None]},
        "authorization": PASSWORD,
    }  # fmt: skip
    await desk.send(body, message_id="theirs-1", app_id="billing", headers=headers, reply_to=None)

    (row,) = await until_kept(db, 1)

    keys = parse_seal_keys(KEY)
    assert row["sealed_by"] == "k1"
    assert PASSWORD.encode() not in row["body"]
    assert PASSWORD not in str(row)
    assert open_body(row["body"], row["sealed_by"], row["id"], keys) == body
    assert (row["app_id"], row["routing_key"], row["exchange"]) == (
        "billing", "create", names_for(desk.prefix).requests,
    )  # fmt: skip
    assert row["kind"].startswith("the request is not valid: request_id is required, org_id is required")
    assert row["kind"].endswith("(has id, password)")
    assert (row["state"], row["size"], row["request_id"]) == ("kept", len(body), None)
    kept = json.loads(row["headers"])
    assert kept["tenant"] == "xy"
    assert kept["x-original-message-id"] == "theirs-1"
    await metric_becomes(1, worker, "worker_dead_letters_total")
    await desk.until_there_are(0, names_for(desk.prefix).dead)
    await worker.stop()
    assert await desk.count(names_for(desk.prefix).dead) == 0, "it was acknowledged"


async def test_what_is_delivered_again_is_kept_once_and_is_acknowledged_only_after_the_commit(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker vanishes between the commit and the acknowledgement, and once before the commit."""
    keep, reached, committed = Custody.keep, asyncio.Event(), False

    async def never_returning(self: Custody, letters: Any) -> int:
        if committed:
            await keep(self, letters)
        reached.set()
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(Custody, "keep", never_returning)
    for committed in (False, True):
        reached.clear()
        worker = await new_worker(max_dead_letters=10)
        if not committed:
            for number in range(5):
                await bury(desk, b"no JSON %d" % number, message_id=str(number))
        await asyncio.wait_for(reached.wait(), 60)
        await worker.vanish()
    assert await db.fetchval("select count(*) from dead_letters") >= 1
    monkeypatch.setattr(Custody, "keep", keep)
    await new_worker(max_dead_letters=10)
    await bury(desk, b"no JSON 4", message_id="another")

    rows = await until_kept(db, 6)

    await desk.until_there_are(0, names_for(desk.prefix).dead)
    assert {row["message_id"] for row in rows} == {"0", "1", "2", "3", "4", "another"}
    assert {row["kind"] for row in rows} == {"nothing says why (text)"}


async def test_beyond_the_bound_they_stay_in_the_queue_until_there_is_room(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "COUNT_SECONDS", 0.05)
    monkeypatch.setattr(surveying, "CUSTODY_SECONDS", 0.05)
    with capture_logs() as events:
        worker = await new_worker(max_dead_letters=3)
        for number in range(8):
            await desk.send(b"no JSON %d" % number, reply_to=None)
        full = await told(events, "custody.full", 1)
        await desk.until_there_are(5, names_for(desk.prefix).dead)
        assert full["kept"] == 3
        assert "dead list" in full["remedy"]
        await metric_becomes(3, worker, "worker_dead_letters_in_custody")
        assert (await desk.ask(good_request())).status == "completed", "it holds up nobody"
        await db.execute(
            "update dead_letters set state = 'dropped', ended_at = now(), ended_by = 'me', ended_reason = 'x'"
        )
        await until_kept(db, 6)
        await desk.until_there_are(2, names_for(desk.prefix).dead)


async def test_it_is_counted_before_something_is_taken_and_not_while_nothing_comes(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "COUNT_SECONDS", 0)  # whoever has just counted does not count again
    monkeypatch.setattr(custody, "_COST", 0)  # on a busy machine it takes long
    count, counted = Custody.count, 0

    async def noting(self: Custody, most: int) -> int:
        nonlocal counted
        counted += 1
        return await count(self, most)

    monkeypatch.setattr(Custody, "count", noting)
    with capture_logs() as events:
        await new_worker(max_dead_letters=3)
        for _ in range(20):
            await desk.ask(good_request())
        assert counted <= 1, "there is room, and nothing has come"
        for number in range(3):
            await put_dead_letter(db, b"%d" % number, parse_seal_keys(KEY))  # another worker was quicker
        await desk.send(b"no JSON", reply_to=None)
        await told(events, "custody.full", 1)
        await desk.until_there_are(1, names_for(desk.prefix).dead)
    assert await db.fetchval("select count(*) from dead_letters") == 3


async def test_without_custody_they_stay_for_another_consumer(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(max_dead_letters=0)
    await desk.send(b"no JSON", reply_to=None)

    assert (await desk.take_from(names_for(desk.prefix).dead)).body == b"no JSON"
    assert await db.fetchval("select count(*) from dead_letters") == 0


async def test_no_dead_letter_stops_the_others(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that Postgres refuses, nor a large one, nor the queue when it is deleted."""
    await new_worker(max_dead_letters=100)
    strange: list[tuple[bytes, dict[str, Any]]] = [
        (b"", {}), (b"[" * 50_000, {}), (gzip.compress(b"x"), {}), (b"\xff\xfe", {}), (b"x" * 3_000_000, {}),
        (json.dumps({chr(0): 1, "\ud800": 2, "\x1b[31m": 3}).encode(), {}), (b'{"a": NaN}', {}),
        (b"<order>1</order>", {"x-failed-at": "never", "x-reason": "\x1b[31m\x00" + "r" * 900}),
        (b"{}", {"x-failed-at": "294277-01-01T00:00:00Z", "x-death": "none"}),
    ]  # fmt: skip
    for body, headers in strange:
        await bury(desk, body, headers=headers)
    rows = await until_kept(db, len(strange))
    assert {row["kind"].rpartition("(")[2] for row in rows} == {
        "empty)", "like JSON)", "gzip)", "bytes)", "large)", "has ?, ?[31m, ?)", "like XML)",
        "has nothing)",
    }  # fmt: skip

    keep = Custody.keep

    async def refusing(self: Custody, all_of_them: Any) -> int:
        bad = [
            one._replace(headers="no JSON") if one.size == 13 and one.kind != "not storable" else one
            for one in all_of_them
        ]
        return await keep(self, bad)

    monkeypatch.setattr(Custody, "keep", refusing)
    for body in (b"of 13 letters", b"of another size"):
        await bury(desk, body)

    async def stored_bare() -> bool:
        stored: int = await db.fetchval("select count(*) from dead_letters where kind = 'not storable'")
        return stored == 1

    await eventually(stored_bare)
    await until_kept(db, len(strange) + 2)

    looked_at = letters.shape

    def unforeseen(body: bytes) -> str:
        if body == b"beyond words":
            raise LookupError("unforeseen")
        return looked_at(body)

    monkeypatch.setattr(letters, "shape", unforeseen)
    with capture_logs() as told_of:
        for body in (b"beyond words", b"of one more size"):
            await bury(desk, body)
        rows = await until_kept(db, len(strange) + 4)
    assert [row["body"] for row in rows if row["size"] == 12] == [b"beyond words"]
    assert [event["event"] for event in told_of] == ["custody.misread"]


async def test_a_letter_is_described_also_where_its_table_was_locked_for_long(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A statement that took too long says nothing of a letter."""
    monkeypatch.setitem(database.SERVER_SETTINGS, "statement_timeout", "500ms")
    monkeypatch.setattr(custody, "_AGAIN_SECONDS", 0.05)
    await new_worker(max_dead_letters=100)
    blocker = await asyncpg.connect(database_url)
    locked, keep, cancelled = blocker.transaction(), Custody.keep, list[NotStorable]()
    await locked.start()
    await blocker.execute("lock table dead_letters in share mode")

    async def keeping(self: Custody, all_of_them: Any) -> int:
        try:
            return await keep(self, all_of_them)
        except NotStorable as error:
            cancelled.append(error)
            if len(cancelled) == 2:
                await locked.rollback()
            raise

    monkeypatch.setattr(Custody, "keep", keeping)
    await bury(desk, b"no JSON", app_id="shop")

    (row,) = await until_kept(db, 1)
    assert (row["app_id"], row["kind"]) == ("shop", "nothing says why (text)")
    assert {error.sqlstate for error in cancelled} == {"57014"}
    assert len(cancelled) >= 2, "on a busy machine once more"
    await blocker.close()


async def test_a_deleted_queue_of_dead_letters_holds_up_nobody(new_worker: NewWorker, desk: Desk) -> None:
    worker = await new_worker(max_dead_letters=100)
    with capture_logs() as events:
        await desk.channel.queue_delete(names_for(desk.prefix).dead)
        lost = await told(events, "broker.lost", 1)
        assert lost["part"] == "custody"
        assert (await desk.ask(good_request())).status == "completed"
        assert worker.readiness.reasons == {}


async def test_what_is_old_is_deleted(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept ones after the days of the setting, the others a week after they were replayed or dropped."""
    worker = await new_worker(max_dead_letters=100)
    for number in range(6):
        await desk.send(b"no JSON %d" % number, reply_to=None)
    await until_kept(db, 6)
    await worker.stop()
    ids = [row["id"] for row in await db.fetch("select id from dead_letters order by id")]
    for index, (state, days, ended) in enumerate(
        [("kept", 9, None), ("kept", 11, None), ("dropped", 60, 6), ("dropped", 60, 8), ("replayed", 1, 8)]
    ):
        await db.execute(
            """
            update dead_letters set
              state = $2, died_at = now() - $3 * interval '1 day', kept_at = now() - $3 * interval '1 day',
              ended_at = now() - $4 * interval '1 day', ended_by = case when $2 <> 'kept' then 'me' end,
              sent_to = case when $2 = 'replayed' then 'somewhere' end
            where id = $1
            """,
            ids[index], state, days, ended,
        )  # fmt: skip
    monkeypatch.setattr(retention, "INTERVAL_SECONDS", 0.05)
    with capture_logs() as events:
        await new_worker(max_dead_letters=0, dead_letter_days=10, retention_days=0)  # also when it is off
        await told(events, "dead_letters.retired", 1)

    left = {row["id"] for row in await db.fetch("select id from dead_letters")}
    assert left == {ids[0], ids[2], ids[5]}
