"""What waits, the workers and the responses with nobody: shown as they are, and changed on record."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.console import Console, csrf_of, open_console, reached
from support.harness import open_desk
from support.sealed import put_request

from worker.console.pages import responses, waiting, workers
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

HOSTILE = '<script>alert("1")</script>\'&<b>'
LONG = "<b>" * 350_000  # a mebibyte
WORKER = """
insert into workers (id, host, pid, version, handler, handler_build, settings, started_at, heartbeat)
values ($1, $2, $3, '1', $4, $5, $6, now() - $7::interval, now() - $8::interval)
"""
NOW, AGO = timedelta(0), timedelta(minutes=10)
UNANSWERED = """
update requests set answer_at = now(), answer_way = 'reply', undelivered = 'unroutable',
  undelivered_at = now(), reply_to = $2
where request_id = $1
"""


@pytest_asyncio.fixture
async def console(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Console]:
    for page in (responses, waiting, workers):
        monkeypatch.setattr(page, "_FRESH_SECONDS", 0)
    async with open_console(settings, tmp_path) as opened:
        yield await reached(opened)


def carried_out(text: str) -> list[str]:
    """Returns what of a page a browser would carry out, of what strangers have written."""
    return re.findall(r"<script>alert|&<b>|<b><b>", text)


async def audited(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await db.fetch("select action, who, reason, about ->> 'org' from audit order by number")
    return [tuple(row) for row in rows]


async def test_what_waits_is_shown_by_reason_and_organisation_and_is_held_back_and_let_go(
    console: Console, db: asyncpg.Connection
) -> None:
    operator = await console.client("operator")
    page = await operator.get("/waiting")
    empty = page.text
    assert "Nothing waits." in empty
    assert "Nothing is paused." in empty
    assert "No limits are set." in empty
    assert "No request is on record." in (await operator.get("/orgs")).text

    csrf = csrf_of(page)

    async def change(path: str, **form: str) -> int:
        asked = await operator.get(path)
        assert asked.status_code == 200, asked.text
        answer = await operator.post(path, data={"csrf": csrf, "reason": f"why {HOSTILE}", **form})
        return answer.status_code

    assert await change("/waiting/actions/limit?scope=org&org=o", rate="2", running="3") == 303
    assert await change("/waiting/actions/limit?scope=each", weight="2") == 303
    assert await change("/waiting/actions/limit?scope=org&org=o", weight="4") == 303
    assert await change("/waiting/actions/limit?scope=org&org=p", running="0") == 400
    assert await change("/actions/pause?org=o", minutes="60") == 303
    for _ in range(3):
        await put_request(db, None, "waiting")
    await put_request(db, None, "put off")
    await db.execute("insert into lines (org_id) select 'org-' || n from generate_series(1, 10000) n")
    await db.execute("insert into lines (org_id) values ('o'), ($1)", HOSTILE)
    await db.execute(
        "insert into pauses (scope, name, reason, paused_by) values ('org', $1, $2, $2)", HOSTILE, LONG
    )
    await db.execute("update requests set begins_at = now() - interval '1 hour' where waits_in is not null")

    shown = (await operator.get("/waiting")).text
    viewed = (await (await console.client("viewer")).get("/waiting")).text

    assert carried_out(shown) == []
    assert len(shown) < 100_000, "long texts are cut, and of ten thousand lines some are shown"
    assert "the 50 with the most of 10,002" in shown
    row = re.search(r'<tr data-row="1">.*?</tr>', shown, re.DOTALL)
    assert row is not None
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row[0])[:5] == [
        "3",
        "1",
        "0 %",
        "rate=2/s running=3 weight=4",
        "60 min",
    ]
    assert "paused" in row[0]
    assert re.search(r'paused</th><td class="n">3</td>', shown), "by reason"
    assert "/waiting/actions/limit?scope=org&amp;org=o" in row[0]
    assert "/actions/" not in viewed
    of_one = re.search(r'<tr data-row="1">.*?</tr>', (await operator.get("/orgs?since=1d")).text, re.DOTALL)
    assert of_one is not None
    assert re.findall(r"<td[^>]*>([^<]*)</td>", of_one[0])[:6] == ["3", "1", "0", "0", "4", "0"]
    assert (await operator.get("/waiting/actions/limit?scope=org&org=")).status_code == 400
    assert (await operator.get("/waiting/actions/limit?scope=none")).status_code == 400

    assert await change("/actions/resume?org=o") == 303
    assert await change("/waiting/actions/clear_limit?scope=org&org=o") == 303
    assert (
        await operator.post(
            "/waiting/actions/clear_limit?scope=org&org=o", data={"csrf": csrf, "reason": "x"}
        )
    ).status_code == 409
    by, why = "operator via console", f"why {HOSTILE}"
    assert await audited(db) == [
        ("limits.set", by, why, "o"), ("limits.set", by, why, None), ("limits.set", by, why, "o"),
        ("pause", by, why, "o"), ("resume", by, why, "o"), ("limits.clear", by, why, "o"),
    ]  # fmt: skip
    assert await db.fetchval("select count(*) from limits where name = 'o'") == 0


async def test_each_line_says_what_it_is_limited_by(console: Console, db: asyncpg.Connection) -> None:
    viewer = await console.client("viewer")
    await db.execute("insert into lines (org_id) values ('o'), ('paused-one'), ('slow-one')")
    await db.execute(
        "insert into pauses (scope, name, reason, paused_by) values ('org', 'paused-one', 'x', 'me')"
    )
    await db.execute(
        "update lines set asleep_for = 'rate', asleep_until = now() + interval '1 h' where org_id ~ 'slow'"
    )
    await put_request(db, None, "put off")

    async def limited() -> list[str]:
        text = (await viewer.get("/waiting")).text
        return re.findall(r"<td[^>]*>(no worker|share|handler 3/3|paused|rate, until [^<]*Z)</td>", text)

    assert await limited() == ["no worker", "paused", "no worker"]
    await db.execute(WORKER, uuid4(), "vm", 1, "rooms:create", "b1", "{}", NOW, NOW)
    of_each = await limited()
    assert of_each[:2] == ["share", "paused"]
    assert of_each[2].startswith("rate, until ")
    await db.execute("""update workers set load = '{"running": 3, "limit": 3, "full_seconds": 0}'""")
    assert (await limited())[0] == "handler 3/3"
    assert "<dt>all of it is limited by</dt><dd>handler 3/3</dd>" in (await viewer.get("/waiting")).text


async def test_workers_are_shown_with_what_is_unlike_and_are_drained(
    console: Console, db: asyncpg.Connection, settings: Settings
) -> None:
    """The broker has requests, and no worker lives; then some do, of which one is not like the last."""
    operator = await console.bearer("operator")
    async with open_desk(settings.amqp_url.get_secret_value(), settings.prefix) as desk:
        empty = (await operator.get("/workers")).text
        assert '<p class="empty">No worker is running. <code>session-worker run</code>' in empty
        await desk.channel.declare_queue(
            names_for(settings.prefix).requests, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await desk.channel.default_exchange.publish(
            aio_pika.Message(b"{}"), names_for(settings.prefix).requests
        )
        await desk.until_there_are(1, names_for(settings.prefix).requests)
        red = (await (await console.bearer("viewer")).get("/workers")).text
    assert '<p class="error state">No worker is running.' in red
    assert "1 request lies in the queue" in red

    first, second, silent = uuid4(), uuid4(), uuid4()
    alike = '{"prefix": "p", "max_attempts": 5, "lease_seconds": 30}'
    await db.execute(WORKER, first, HOSTILE, 1, "rooms:create", "b1", alike.replace("5", "7"), AGO, NOW)
    await db.execute(WORKER, second, "vm", 2, "rooms:create", "b2", alike, NOW, NOW)
    await db.execute(WORKER, silent, "vm", 3, "rooms:create", "b2", alike, AGO, AGO)

    page = (await operator.get("/workers")).text

    assert carried_out(page) == []
    rows = {
        key: re.search(rf'<tr data-row="{key}">.*?</tr>', page, re.DOTALL) for key in (first, second, silent)
    }
    text = {key: re.sub(r"<[^>]*>", "", row[0]) for key, row in rows.items() if row}
    assert "max_attempts: 7, not 5" in text[first]
    assert "handler_build: b1, not b2" in text[first]
    assert "not" not in text[second]
    assert "SILENT" in text[silent]
    asked = await operator.get(f"/actions/pause?worker={second}")
    assert "the worker vm:2" in asked.text
    assert (
        await operator.post(f"/actions/pause?worker={second}", data={"reason": "a bad build"})
    ).status_code == 303
    drained = (await operator.get("/workers")).text
    assert re.search(r"vm:2.*?<b>drained</b>.*?/actions/resume\?worker=", drained, re.DOTALL)
    assert [row[:3] for row in await audited(db)] == [("pause", "operator via console", "a bad build")]


async def test_responses_with_nobody_are_shown_by_queue_also_while_a_server_is_away(
    console: Console, db: asyncpg.Connection, settings: Settings, tmp_path: Path
) -> None:
    nothing = await (await console.bearer("operator")).get("/responses")
    assert "Every answer was confirmed" in nothing.text
    queue = f"replies.{HOSTILE}"
    await db.execute("set session_replication_role = replica")  # triggers are off
    for _ in range(2):
        await db.execute(UNANSWERED, await put_request(db, None), queue)
    await db.execute(
        "insert into other_answers (message_id, request_id, status, body) values ('m', $1, 'failed', '{}')",
        uuid4(),
    )

    nobody = SecretStr("amqp://guest:guest@127.0.0.1:1/")
    async with open_console(settings, tmp_path, amqp_url=nobody) as alone:
        away = await (await reached(alone)).bearer("operator")
        page = await away.get("/responses")
        others = await away.get("/workers")

    assert page.status_code == 503
    assert "RabbitMQ is away" in page.text
    assert carried_out(page.text) == []
    rows = re.findall(r'<tr data-row="\d+">(.*?)</tr>', page.text, re.DOTALL)
    told = {tuple(re.findall(r">([^<>\n]+)<", row)[:3]) for row in rows}
    assert {(each[0], each[2]) for each in told} == {("unroutable", "2"), ("refused", "1")}
    assert "/requests/actions/resend?response=unroutable&amp;reply_to=replies." in page.text
    assert others.status_code == 200, "it needs no broker"
