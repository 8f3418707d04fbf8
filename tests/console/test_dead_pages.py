"""Dead letters in the console: found, looked at, mended, replayed, redirected, dropped, restored and exported."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import asyncpg
import httpx
import pytest_asyncio
from pydantic import SecretStr
from support.console import NewConsole, consoles
from support.harness import Desk, NewWorker, eventually, good_request
from support.sealed import ring_text

from worker.operations import long_works
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

HOSTILE = '<script>alert("1")</script>\'&<b>'
PASSWORD = "conspicuous-password"
KEYS = SecretStr(ring_text("k1"))


@pytest_asyncio.fixture
async def new_console(settings: Settings, tmp_path: Path) -> AsyncIterator[NewConsole]:
    with_custody = settings.model_copy(update={"max_dead_letters": 1000, "seal_keys": KEYS})
    async with consoles(with_custody, tmp_path) as made:
        yield made


async def in_custody(db: asyncpg.Connection, number: int) -> None:
    async def look() -> bool:
        kept: int = await db.fetchval("select count(*) from dead_letters where state = 'kept'")
        return kept == number

    await eventually(look, 60)


async def ended(client: httpx.AsyncClient, answer: httpx.Response) -> str:
    """Waits until the work that was begun has ended, and returns its page."""
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]

    async def look() -> str | None:
        text = (await client.get(where)).text
        return None if ">running<" in text else text

    return await eventually(look)


def without_id() -> dict[str, Any]:
    request = good_request()
    request["id"] = request.pop("request_id")
    return request


async def test_garbage_is_grouped_looked_at_mended_and_replayed(
    new_console: NewConsole, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: Any
) -> None:
    operator = await new_console("operator", name="anna", payloads=True)
    assert "No dead letters. Custody holds 0 of 1,000" in (await operator.get("/dead")).text
    worker = await new_worker(max_dead_letters=1000, seal_keys=KEYS)
    mendable = [without_id() for _ in range(3)]
    known = good_request()
    assert (await desk.ask(known)).status == "completed"
    for body, app in (
        *((json.dumps(one).encode(), "billing") for one in mendable),
        (
            json.dumps({"order": 1, "password": PASSWORD, "note": HOSTILE, "more": "x" * (1 << 20)}).encode(),
            HOSTILE,
        ),
        (b"\xff\xfe password=" + PASSWORD.encode() + b" \x00", "packer"),
    ):
        await desk.send(
            body,
            app_id=app,
            headers={"tenant": HOSTILE, "auth": PASSWORD, "x": f"token={PASSWORD}"},
            reply_to=None,
        )
    await in_custody(db, 5)
    await worker.stop()

    groups = (await operator.get("/dead")).text
    assert "Custody holds 5 of 1,000" in groups
    link = re.search(r'/dead\?(like=[0-9a-f-]{36})&amp;group=none">[^<]*has id,', groups)
    assert link is not None
    pages = [groups, (await operator.get(f"/dead?{link[1]}&group=none")).text]
    listed = re.findall(r'name="id" value="([0-9a-f-]{36})"', pages[1])
    assert len(listed) == 3
    monkeypatch.setattr("worker.console.pages.dead.SHOWN", 2)
    first = (await operator.get("/dead?group=none")).text
    seen, more = (
        re.findall(r'name="id" value="([0-9a-f-]{36})"', first),
        re.search(r"after=([0-9a-f-]{36})", first),
    )
    while more:
        text = (await operator.get(f"/dead?group=none&after={more[1]}")).text
        seen += re.findall(r'name="id" value="([0-9a-f-]{36})"', text)
        more = re.search(r"after=([0-9a-f-]{36})", text)
    assert len(seen) == len(set(seen)) == 5, "each once, by key"
    for by in ("app", "field", "hour"):
        pages.append((await operator.get(f"/dead?group={by}")).text)
    ids = {row["app_id"]: row["id"] for row in await db.fetch("select id, app_id from dead_letters")}
    large, binary = [(await operator.get(f"/dead/{ids[app]}")).text for app in (HOSTILE, "packer")]
    exported = await operator.get("/dead/export")
    viewer = await new_console("viewer")
    blind = (await viewer.get(f"/dead/{ids[HOSTILE]}")).text
    for text in (*pages, large, binary, blind, exported.text, (await viewer.get("/dead/export")).text):
        assert PASSWORD not in text
        assert PASSWORD.encode().hex(" ")[:30] not in text
    for text in (*pages, large, binary, blind):
        assert not re.findall(r"<script>alert|&<b>", text)
    assert "(masked)" in large
    assert len(large) < 60_000
    assert "takes the right “payloads”" in blind
    assert "ff fe" in binary
    assert len(exported.text.splitlines()) == 5
    assert "/actions/" not in blind
    assert (await viewer.get(f"/dead/actions/replay?id={ids['billing']}")).status_code == 403
    assert (await operator.get("/dead/actions/replay?marked=1")).status_code == 400, "nothing is not all"

    conflict = known | {"payload": {"name": "other", "expiration_seconds": 60}}
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).dead, ensure=False)
    for one in (known, conflict):
        await exchange.publish(aio_pika.Message(json.dumps(one).encode(), app_id="again"), routing_key="")
    worker = await new_worker(max_dead_letters=1000, seal_keys=KEYS)
    await in_custody(db, 7)
    await worker.stop()
    dry = (await operator.get("/dead/actions/replay")).text
    for prospect, number in (("answered from the record", 1), ("conflict", 1), ("still unreadable", 5)):
        assert len(re.findall(rf"<td[^>]*>{prospect}</td>", dry)) == number, prospect
    mended = {"edits": "rename id=request_id\n"}
    ahead = (await operator.get("/dead/actions/replay", params={"like": link[1][5:], **mended})).text
    assert len(re.findall(r"<td[^>]*>new</td>", ahead)) == 3
    which = re.search(r'name="which" value="([^"]*)"', ahead)
    assert which is not None
    form = {"which": which[1].replace("&amp;", "&"), "reason": "billing 2.1", **mended}
    refused = await operator.post("/dead/actions/replay", data={**form, "reason": " "})
    wrong = await operator.get("/dead/actions/replay", params={"edits": "set a.password=x"})
    assert (refused.status_code, wrong.status_code) == (400, 400)
    await desk.send(without_id(), app_id="late", reply_to=None)  # it comes after the look ahead
    worker = await new_worker(max_dead_letters=1000, seal_keys=KEYS)
    await in_custody(db, 8)
    done = await ended(operator, await operator.post("/dead/actions/replay", data=form))
    assert "3 of 3 messages sent" in done

    async def completed() -> bool:
        ids = [UUID(one["id"]) for one in mendable]
        number = await db.fetchval(
            "select count(*) from requests where request_id = any ($1) and status = 'completed'", ids
        )
        return bool(number == 3)

    await eventually(completed)
    audit = await db.fetch("select action, who, reason, touched from audit order by number")
    assert [tuple(row) for row in audit] == [
        ("dead.replay (begun)", "anna via console", "billing 2.1", 3), ("dead.replay", "anna via console", "billing 2.1", 3),
    ]  # fmt: skip
    assert len(await dead_letters_kept(db)) == 5
    gone = await operator.post("/dead/actions/replay", data=form)
    assert gone.status_code == 409


async def dead_letters_kept(db: asyncpg.Connection) -> list[UUID]:
    return [row["id"] for row in await db.fetch("select id from dead_letters where state = 'kept'")]


async def test_one_is_edited_others_are_redirected_dropped_restored_and_a_replay_stopped(
    new_console: NewConsole, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: Any
) -> None:
    monkeypatch.setattr(long_works, "NOTE_SECONDS", 0.05)
    await new_worker(max_dead_letters=1000, seal_keys=KEYS)
    broken = without_id()
    text = json.dumps(broken)
    mended = text.replace('"id"', '"request_id"')
    for body, app in ((text.encode(), "edited"), (json.dumps({"password": PASSWORD}).encode(), "secret")):
        await desk.send(body, app_id=app, reply_to=None)
    slow = [without_id() for _ in range(8)]
    for one in slow:
        await desk.send(json.dumps(one), app_id="slow", reply_to=None)
    await in_custody(db, 10)
    ids = {row["app_id"]: row["id"] for row in await db.fetch("select id, app_id from dead_letters")}
    operator = await new_console("operator", name="anna", payloads=True)
    without = await new_console("operator")

    assert (await without.get(f"/dead/{ids['edited']}/edit")).status_code == 403
    hidden = (await operator.get(f"/dead/{ids['secret']}/edit")).text
    assert PASSWORD not in hidden
    assert "<textarea" not in hidden
    path = f"/dead/{ids['edited']}/edit"
    assert "&#34;create_session&#34;" in (await operator.get(path)).text
    still = (await operator.post(path, data={"body": text, "do": "send", "reason": "x"})).text
    assert "still unreadable" in still
    look = (await operator.post(path, data={"body": mended, "do": "look"})).text
    assert "It would be: new" in look
    assert (await operator.post(path, data={"body": mended, "do": "send"})).status_code == 400, "no reason"
    sent = await operator.post(path, data={"body": mended, "do": "send", "reason": "its name"})
    assert sent.status_code == 303

    async def answered() -> bool:
        return bool(
            await db.fetchval(
                "select status = 'completed' from requests where request_id = $1", UUID(broken["id"])
            )
        )

    await eventually(answered)

    queue = await desk.channel.declare_queue(f"{desk.prefix}.other", auto_delete=True)
    secret = {"which": f"id={ids['secret']}", "reason": "theirs", "rate": "1000"}
    nowhere = await ended(
        operator, await operator.post("/dead/actions/redirect", data={**secret, "to": "nowhere"})
    )
    assert "left in custody: 1 no queue took it" in nowhere
    assert (await operator.post("/dead/actions/redirect", data=secret)).status_code == 400, "to which queue?"
    for verb, state in (("drop", "dropped"), ("restore", "kept")):
        asked = (await operator.get(f"/dead/actions/{verb}?id={ids['secret']}")).text
        assert "1 dead letter" in asked
        assert (await operator.post(f"/dead/actions/{verb}", data=secret)).status_code == 303
        assert await db.fetchval("select state from dead_letters where id = $1", ids["secret"]) == state
    assert "1 of 1 message sent" in await ended(
        operator, await operator.post("/dead/actions/redirect", data={**secret, "to": queue.name})
    )
    assert json.loads((await desk.take_from(queue.name)).body)["password"] == PASSWORD

    begun = await operator.post(
        "/dead/actions/replay",
        data={"which": "app=slow", "edits": "rename id=request_id", "rate": "4", "reason": "slowly"},
    )
    work = begun.headers["location"]

    async def some() -> bool:
        return bool(
            await db.fetchval(
                "select (progress ->> 'done')::int between 1 and 7 from works where state = 'running'"
            )
        )

    await eventually(some)
    assert (await operator.post(f"{work}/actions/stop_work", data={"reason": "enough"})).status_code == 303
    stopped = (await operator.get(work)).text
    assert '<b class="warning">stopped</b>' in stopped
    left = len(await dead_letters_kept(db))
    assert 1 <= left <= 7
    assert (await operator.post(f"{work}/actions/stop_work", data={"reason": "x"})).status_code == 409
    await db.execute("update works set options = options || '{\"rate\": 1000}'")
    other = await new_console("operator", apart="another process")
    assert "8 of 8 messages sent" in await ended(
        other, await other.post(f"{work}/actions/go_on", data={"reason": "on"})
    )
    assert (await other.post(f"{work}/actions/go_on", data={"reason": "x"})).status_code == 409
    actions = [row["action"] for row in await db.fetch("select action from audit order by number")]
    assert actions[:3] == ["dead.replay", "dead.replay (begun)", "dead.drop"]
    assert [each for each in actions if "slow" in each or "(" in each][-3:] == [
        "dead.replay (begun)", "dead.replay (stopped)", "dead.replay (continued)",
    ]  # fmt: skip
