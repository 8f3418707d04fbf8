"""Dead letters in the console: found, looked at, mended, replayed, redirected, dropped and restored."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.console import Console, open_console, reached
from support.harness import Desk, NewWorker, eventually, good_request
from support.sealed import put_dead_letter, ring, ring_text

from worker.console.pages import dead
from worker.operations import long_works
from worker.settings import Settings

HOSTILE = '<script>alert("1")</script>\'&<b>'
PASSWORD = "conspicuous-password"
KEYS = SecretStr(ring_text("k1"))
_ID = re.compile(r'name="id" value="([0-9a-f-]{36})"')


@pytest_asyncio.fixture
async def console(settings: Settings, tmp_path: Path) -> AsyncIterator[Console]:
    async with open_console(settings, tmp_path, max_dead_letters=1000, seal_keys=KEYS) as opened:
        yield await reached(opened)


async def put(db: asyncpg.Connection, body: bytes | dict[str, Any], app: str) -> UUID:
    """Puts a dead letter into custody."""
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    letter = await put_dead_letter(db, raw, ring("k1"))
    headers = {"tenant": HOSTILE, "x": f"token={PASSWORD}"}
    await db.execute(
        "update dead_letters set app_id = $2, routing_key = $2, headers = $3 where id = $1",
        letter, app, json.dumps(headers),
    )  # fmt: skip
    return letter


def without_id() -> dict[str, Any]:
    request = good_request()
    request["id"] = request.pop("request_id")
    return request


async def ended(client: httpx.AsyncClient, answer: httpx.Response) -> str:
    """Waits until the work that was begun has ended, and returns its page."""
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]

    async def look() -> str | None:
        text = (await client.get(where)).text
        return None if ">running<" in text else text

    return await eventually(look)


async def kept(db: asyncpg.Connection) -> int:
    number: int = await db.fetchval("select count(*) from dead_letters where state = 'kept'")
    return number


async def audited(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await db.fetch("select action, who, reason, touched from audit order by number")
    return [tuple(row) for row in rows]


async def until_completed(db: asyncpg.Connection, *ids: str) -> None:
    async def look() -> bool:
        rows = await db.fetch("select status from requests where request_id = any ($1)", [*map(UUID, ids)])
        return [row["status"] for row in rows] == ["completed"] * len(ids)

    await eventually(look)


async def test_they_are_shown_in_groups_and_one_by_one_without_credentials_and_harmless(
    console: Console, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, viewer = await console.bearer("anna"), await console.bearer("viewer")
    assert "No dead letters. Custody holds 0 of 1,000" in (await anna.get("/dead")).text
    for _ in range(3):
        await put(db, without_id(), "billing")
    long = {"order": 1, "password": PASSWORD, "note": HOSTILE, "more": "x" * (1 << 20)}
    large = await put(db, long, HOSTILE)
    binary = await put(db, b"\xff\xfe password=" + PASSWORD.encode() + b" \x00", "packer")

    groups = (await anna.get("/dead")).text
    link = re.search(r'/dead\?(like=[0-9a-f-]{36})&amp;group=none">[^<]*has id,', groups)
    assert link is not None
    of_one = (await anna.get(f"/dead?{link[1]}&group=none")).text
    monkeypatch.setattr(dead, "SHOWN", 2)
    seen: list[str] = []
    path: str | None = "/dead?group=none"
    while path:
        text = (await anna.get(path)).text
        seen += _ID.findall(text)
        more = re.search(r"after=([0-9a-f-]{36})", text)
        path = f"/dead?group=none&after={more[1]}" if more else None
    pages = [groups, of_one, *[(await anna.get(f"/dead?group={by}")).text for by in ("app", "field", "hour")]]
    whole = [(await anna.get(f"/dead/{letter}")).text for letter in (large, binary)]
    blind = (await viewer.get(f"/dead/{large}")).text
    lost = await put_dead_letter(db, b"sealed with a key that is not here", ring("k9"))
    files = [(await client.get("/dead/export")).text for client in (anna, viewer)]
    assert (await anna.get(f"/dead/{lost}")).status_code == 409

    assert "Custody holds 5 of 1,000" in groups
    assert len(_ID.findall(of_one)) == 3
    assert (len(seen), len(set(seen))) == (5, 5), "each once, by key"
    for text in (*pages, *whole, blind, *files):
        assert PASSWORD not in text
        assert PASSWORD.encode().hex(" ")[:30] not in text
    for text in (*pages, *whole, blind):
        assert not re.findall(r"<script>alert|&<b>", text)
        assert len(text) < 60_000
    assert "(masked)" in whole[0]
    assert "ff fe" in whole[1]
    assert "takes the right “payloads”" in blind
    assert "/actions/" not in blind
    assert [len(file.splitlines()) for file in files] == [5, 5]
    assert ["body" in json.loads(file.splitlines()[0]) for file in files] == [True, False]
    assert (await viewer.get(f"/dead/actions/replay?id={large}")).status_code == 403
    for wrong in (
        "/dead?since=never",
        "/dead?like=x",
        "/dead?id=x",
        "/dead/x",
        "/dead/actions/drop?marked=1",
    ):
        assert (await anna.get(wrong)).status_code == 400, wrong
    for gone in (f"/dead/{uuid4()}", f"/dead?like={uuid4()}"):
        assert (await anna.get(gone)).status_code == 404, gone


async def test_a_look_ahead_says_of_each_what_will_become_of_it_and_a_replay_sends_what_it_was_about(
    console: Console, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(seal_keys=KEYS)
    anna, known = await console.bearer("anna"), good_request()
    assert (await desk.ask(known)).status == "completed"
    mendable = [without_id() for _ in range(3)]
    letters = [await put(db, one, "billing") for one in mendable]
    await put(db, known, "again")
    await put(db, known | {"payload": {"name": "other", "expiration_seconds": 60}}, "again")

    dry = (await anna.get("/dead/actions/replay")).text
    mended = {"edits": "rename id=request_id\n"}
    ahead = await anna.get("/dead/actions/replay", params={"like": str(letters[0]), **mended})
    which = re.search(r'name="which" value="([^"]*)"', ahead.text)
    assert which is not None
    form = {"which": html.unescape(which[1]), "reason": "billing 2.1", **mended}
    await put(db, without_id(), "late")  # it comes after the look ahead
    refused = [
        (await anna.post("/dead/actions/replay", data={**form, "reason": " "})).status_code,
        (await anna.get("/dead/actions/replay", params={"edits": "set a.password=x"})).status_code,
        (await anna.get("/dead/actions/replay", params={"edits": "rename"})).status_code,
    ]
    done = await ended(anna, await anna.post("/dead/actions/replay", data=form))
    again = await anna.post("/dead/actions/replay", data=form)

    for prospect, number in (("answered from the record", 1), ("conflict", 1), ("still unreadable", 3)):
        assert len(re.findall(rf"<td[^>]*>{prospect}</td>", dry)) == number, prospect
    assert len(re.findall(r"<td[^>]*>new</td>", ahead.text)) == 3
    assert refused == [400, 400, 400]
    assert "3 of 3 messages sent" in done
    await until_completed(db, *(one["id"] for one in mendable))
    by = "anna via console", "billing 2.1", 3
    assert await audited(db) == [("dead.replay (begun)", *by), ("dead.replay", *by)]
    assert await kept(db) == 3
    assert again.status_code == 409


async def test_one_is_edited_and_others_are_redirected_dropped_and_restored(
    console: Console, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(seal_keys=KEYS)
    anna, admin = await console.bearer("anna"), await console.bearer("admin")
    broken = without_id()
    text = json.dumps(broken)
    mended = text.replace('"id"', '"request_id"')
    path = f"/dead/{await put(db, broken, 'edited')}/edit"
    secret = await put(db, {"password": PASSWORD}, "secret")

    assert (await admin.get(path)).status_code == 403
    hidden = (await anna.get(f"/dead/{secret}/edit")).text
    assert PASSWORD not in hidden
    assert "<textarea" not in hidden
    assert "&#34;create_session&#34;" in (await anna.get(path)).text
    assert (
        "still unreadable" in (await anna.post(path, data={"body": text, "do": "send", "reason": "x"})).text
    )
    assert "It would be: new" in (await anna.post(path, data={"body": mended, "do": "look"})).text
    assert (await anna.post(path, data={"body": mended, "do": "send"})).status_code == 400, "no reason"
    assert await kept(db) == 2
    form = {"body": mended, "do": "send", "reason": "its name"}
    assert (await anna.post(path, data=form)).status_code == 303
    await until_completed(db, broken["id"])

    queue = await desk.channel.declare_queue(f"{desk.prefix}.other", auto_delete=True)
    form = {"which": f"id={secret}", "reason": "theirs", "rate": "1000"}
    nowhere = await ended(anna, await anna.post("/dead/actions/redirect", data={**form, "to": "nowhere"}))
    assert "left in custody: 1 no queue took it" in nowhere
    assert (await anna.post("/dead/actions/redirect", data=form)).status_code == 400, "to which queue?"
    for verb, state in (("drop", "dropped"), ("restore", "kept")):
        assert "1 dead letter" in (await anna.get(f"/dead/actions/{verb}?id={secret}")).text
        assert (await anna.post(f"/dead/actions/{verb}", data=form)).status_code == 303
        assert await db.fetchval("select state from dead_letters where id = $1", secret) == state
    done = await ended(anna, await anna.post("/dead/actions/redirect", data={**form, "to": queue.name}))
    assert "1 of 1 message sent" in done
    assert json.loads((await desk.take_from(queue.name)).body)["password"] == PASSWORD
    assert [action for action, *_ in await audited(db)] == [
        "dead.replay", "dead.replay (begun)", "dead.drop", "dead.restore", "dead.replay (begun)",
        "dead.redirect",
    ]  # fmt: skip


async def test_a_replay_is_stopped_and_goes_on_without_doubling(
    console: Console, new_worker: NewWorker, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_works, "NOTE_SECONDS", 0.02)
    await new_worker(seal_keys=KEYS)
    slow = [without_id() for _ in range(8)]
    for one in slow:
        await put(db, one, "slow")
    operator = await console.bearer("operator")
    form = {"which": "app=slow", "edits": "rename id=request_id", "rate": "4", "reason": "slowly"}
    begun = await operator.post("/dead/actions/replay", data=form)
    work = begun.headers["location"].partition("?")[0]

    async def some() -> bool:
        sent = "select (progress ->> 'done')::int between 1 and 7 from works where state = 'running'"
        return bool(await db.fetchval(sent))

    await eventually(some)
    assert (await operator.post(f"{work}/actions/stop_work", data={"reason": "enough"})).status_code == 303
    assert '<b class="warning">stopped</b>' in (await operator.get(work)).text
    assert (await operator.post(f"{work}/actions/stop_work", data={"reason": "x"})).status_code == 409

    async def left_alone() -> bool:
        return not any(task.get_name().startswith("work ") for task in asyncio.all_tasks())

    await eventually(left_alone)
    assert 1 <= await kept(db) <= 7
    await db.execute("update works set options = options || '{\"rate\": 1000}'")
    done = await ended(operator, await operator.post(f"{work}/actions/go_on", data={"reason": "on"}))

    assert "8 of 8 messages sent" in done
    assert (await operator.post(f"{work}/actions/go_on", data={"reason": "x"})).status_code == 409
    await until_completed(db, *(one["id"] for one in slow))
    noted = [entry for entry in await audited(db) if "(" in entry[0]]
    assert noted == [
        (f"dead.replay ({what})", "operator via console", why, 8)
        for what, why in (("begun", "slowly"), ("stopped", "enough"), ("continued", "on"))
    ]
