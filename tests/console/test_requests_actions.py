"""Requests are retried, resent and cancelled from pages: once, as they were seen, and with a reason."""

import html
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.console import Console, csrf_of, open_console
from support.harness import Desk, declare_topology, eventually, open_desk
from support.planted import Planted, clear, plant

from worker.console import working
from worker.console.pages import actions
from worker.rabbitmq.topology import names_for
from worker.settings import Settings


@pytest_asyncio.fixture
async def db(record: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The tables that the tests of this file share, empty at the beginning of each."""
    await clear(record)
    yield record


@pytest_asyncio.fixture
async def desk(here: Settings) -> AsyncIterator[Desk]:
    """Looks into the queues of the installation, which are there and empty."""
    await declare_topology(here)
    async with open_desk(here.amqp_url.get_secret_value(), here.prefix) as opened:
        await (await opened.channel.get_queue(names_for(here.prefix).requests, ensure=False)).purge()
        yield opened


async def failed(db: asyncpg.Connection, number: int, org: str = "org-7") -> list[UUID]:
    """Puts so many failed requests on record, of less than an hour ago; returns their ids."""
    t0 = datetime.now(UTC) - timedelta(minutes=25)
    rows = [
        Planted(t0 + timedelta(seconds=n), org=org, code="rejected", reason="no room", payload={"name": "x"},
                correlation=f"order-{n}")
        for n in range(number)
    ]  # fmt: skip
    return [row.request_id for row in await plant(db, rows)]


async def form_at(console: httpx.AsyncClient, path: str) -> dict[str, str]:
    """Returns the hidden fields of the form that a page shows."""
    text = (await console.get(path)).text
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text[text.index("<main") :])
    return {name: html.unescape(value) for name, value in fields}


async def steer(console: httpx.AsyncClient, path: str, fields: dict[str, str]) -> httpx.Response:
    """Sends a form of a selection's page, with these fields."""
    csrf = csrf_of(await console.get("/"))
    return await console.post(path, data={"csrf": csrf, **fields})


async def until_done(console: httpx.AsyncClient, path: str) -> str:
    """Waits until the page of a selection says that it is done; returns the page."""

    async def look() -> str | None:
        text = (await console.get(path)).text
        return text if "state-done" in text else None

    return await eventually(look)


async def sent(desk: Desk, number: int) -> list[str]:
    """Takes so many messages from the queue of requests; returns their correlation ids."""
    queue = names_for(desk.prefix).requests
    found = [await desk.take_from(queue) for _ in range(number)]
    assert await desk.count(queue) == 0
    return [str(message.correlation_id) for message in found]


async def test_what_was_marked_is_looked_at_and_done_with_a_reason_and_once(
    console: Console, db: asyncpg.Connection, desk: Desk
) -> None:
    ids = await failed(db, 3)
    ann, viewer = await console.client("operator"), await console.client("viewer")
    path = f"/requests/actions/retry?which=marked&id={ids[0]}&id={ids[1]}"

    looked = (await ann.get(path)).text
    fields = await form_at(ann, path)
    unreasoned = await ann.post(path, data=fields)
    by_viewer = await viewer.post(path, data={**fields, "reason": "x"})
    too_fast = await ann.post(path, data={**fields, "reason": "x", "rate": "1e9"})
    both = await ann.post(path, data={**fields, "reason": "x", "to": "q", "silent": "on"})

    assert "2 requests, 1 org (org-7)" in looked
    assert "each of 2 that failed becomes a new request" in looked
    assert "now: 0 unfinished on 0 live workers" in looked
    assert "2 are finished, and stay as they are" in (await ann.get(path.replace("retry", "cancel"))).text
    assert [answer.status_code for answer in (unreasoned, by_viewer, too_fast, both)] == [400, 403, 400, 400]
    assert await db.fetchval("select count(*) from selections") == 0

    done = await ann.post(path, data={**fields, "reason": "rooms are back"})
    again = await ann.post(path, data={**fields, "reason": "rooms are back"})

    page = urlsplit(done.headers["location"]).path
    assert (done.status_code, again.status_code) == (303, 303)
    assert urlsplit(again.headers["location"]).path == page
    text = await until_done(ann, page)
    assert Counter(await sent(desk, 2)) == {"order-0": 1, "order-1": 1}
    row = await db.fetchrow("select * from audit")
    assert (row["who"], row["action"], row["reason"], row["touched"]) == (
        "operator via console", "requests.retry", "rooms are back", 2,
    )  # fmt: skip
    assert await db.fetchval("select count(*) from audit") == 1
    assert parse_qs(urlsplit(done.headers["location"]).query) == {"done": [str(row["number"])]}
    assert f"/audit?after={row['number'] + 1}" in text
    assert "2 not accepted yet" in text
    link = await db.fetchval("select retried_as from retries where request_id = $1", ids[0])
    assert f"/requests/{link}" in (await ann.get(f"/requests/{ids[0]}")).text


async def test_all_that_match_are_those_that_were_seen_or_it_asks_once_more(
    console: Console, db: asyncpg.Connection, desk: Desk
) -> None:
    await failed(db, 4)
    ann, bob = await console.client("operator"), await console.client("admin")
    path = "/requests/actions/resend?status=failed&org=org-7"
    await db.execute(
        "insert into selections (id, action, chosen_by, who, rate, made_at) "
        "values ('0badf00d', 'retry', '{}', 'x', 1, now() - interval '2 days')"
    )

    fields = await form_at(ann, path)
    assert fields["seen"] == "4"
    answer = await ann.post(
        path, data={**fields, "seen": "3", "reason": "the queue was gone", "to": desk.reply_to}
    )
    page = urlsplit(answer.headers["location"])
    text = (await ann.get(page.path)).text
    listed = (await bob.get("/selections")).text

    assert (page.query, "Nothing is done yet" in text, "4 requests, 1 org" in text) == ("", True, True)
    assert f"all answers go to {desk.reply_to}" in text
    assert page.path in listed
    assert await db.fetchval("select count(*) from audit") == 0

    begun = await steer(ann, page.path, {"do": "continue", "reason": "the queue was gone"})
    second = await steer(bob, page.path, {"do": "continue", "reason": "me too"})

    assert begun.status_code == 303
    assert (second.status_code, "You were not the first, operator via console was" in second.text) == (
        409,
        True,
    )
    await until_done(ann, page.path)
    assert {str((await desk.next()).message_id) for _ in range(4)} == {
        str(key) for key in await db.fetchval("select array_agg(request_id) from requests")
    }
    assert [tuple(row) for row in await db.fetch("select who, action, touched from audit")] == [
        ("operator via console", "requests.resend", 4)
    ]
    dropped = await form_at(ann, "/requests/actions/retry?status=failed")
    other = await ann.post(
        "/requests/actions/retry?status=failed", data={**dropped, "seen": "", "reason": "no, not this"}
    )
    unwanted = urlsplit(other.headers["location"]).path
    gone = await steer(ann, unwanted, {"do": "drop", "reason": "a mistake"})
    assert (gone.status_code, gone.headers["location"]) == (303, "/selections")
    assert (await ann.get(unwanted)).status_code == 404
    assert (await ann.get("/selections/0badf00d")).status_code == 404  # looked at once, and forgotten


@pytest.mark.parametrize(("ahead", "seen"), [(3, ""), (4, "4"), (5, "4")])
async def test_a_preview_looks_at_some_and_says_that_there_may_be_more(
    ahead: int, seen: str, console: Console, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the number that was seen, the form begins at once; without, all are counted and it asks again."""
    monkeypatch.setattr(actions, "_LOOKED_AHEAD", ahead)
    await failed(db, 4)
    ann = await console.client("operator")
    path = "/requests/actions/retry?status=failed"

    text = (await ann.get(path)).text

    assert (await form_at(ann, path))["seen"] == seen
    assert ("at least 3 requests" in text, "there may be more" in text) == (not seen, not seen)


async def test_a_console_that_ends_leaves_what_another_goes_on_with_and_nothing_twice(
    console: Console, here: Settings, tmp_path: Path, db: asyncpg.Connection, desk: Desk
) -> None:
    await failed(db, 6)
    hers = open_console(here, tmp_path)
    ann, bob = await (await hers.__aenter__()).client("operator"), await console.client("admin")
    path = "/requests/actions/retry?status=failed"
    fields = {**await form_at(ann, path), "reason": "rooms are back", "rate": "2"}
    page = urlsplit((await ann.post(path, data=fields)).headers["location"]).path

    async def has_begun() -> bool:
        return bool(await db.fetchval("select count(*) from selection_items where state = 'done'"))

    await eventually(has_begun)
    working = (await bob.get(page)).text
    await hers.__aexit__(None, None, None)
    stopped = (await bob.get(page)).text
    left = await db.fetchval("select count(*) from selection_items where state = 'waiting'")

    for said in ("state-running", 'value="stop"', 'hx-trigger="every 1s"'):
        assert said in working, said
    assert ("state-stopped" in stopped, f"Go on with {left} request" in stopped) == (True, True)
    assert 0 < left < 6

    await db.execute("update selections set rate = 1000")
    assert (await steer(bob, page, {"do": "continue", "reason": "ann's machine died"})).status_code == 303
    await until_done(bob, page)
    assert Counter(await sent(desk, 6)) == {f"order-{n}": 1 for n in range(6)}
    audit = await db.fetch("select who, action, touched from audit order by number")
    assert [tuple(row) for row in audit] == [
        ("operator via console", "requests.retry", 6),
        ("admin via console", "requests.retry (continued)", left),
    ]


@pytest.mark.usefixtures("desk")
async def test_whoever_stops_a_selection_stops_it_wherever_it_is_worked_on(
    console: Console, db: asyncpg.Connection
) -> None:
    await failed(db, 6)
    ann, bob = await console.client("operator"), await console.client("admin")
    path = "/requests/actions/retry?status=failed"
    fields = {**await form_at(ann, path), "reason": "rooms are back", "rate": "2"}
    page = urlsplit((await ann.post(path, data=fields)).headers["location"]).path

    stopped = await steer(bob, page, {"do": "stop", "reason": "too many at once"})
    again = await steer(ann, page, {"do": "stop", "reason": "me too"})
    wrong = await steer(ann, page, {"do": "dance", "reason": "x"})

    assert (stopped.status_code, again.status_code, wrong.status_code) == (303, 409, 400)
    text = (await ann.get(page)).text
    assert ("state-stopped" in text, "too many at once" in text) == (True, True)
    assert await db.fetchval("select touched from audit where action = 'selections.stop'") > 0

    left_by_a_crash = "update selections set state = 'running', runner = gen_random_uuid(), runner_seen = $1"
    await db.execute(left_by_a_crash, datetime.now(UTC))
    early = await steer(bob, page, {"do": "continue", "reason": "is it dead?"})
    await db.execute(left_by_a_crash, datetime.now(UTC) - timedelta(minutes=1))
    silent = (await bob.get(page)).text
    late = await steer(bob, page, {"do": "continue", "reason": "it is dead"})

    assert (early.status_code, late.status_code) == (409, 303)
    assert ("state-silent" in silent, "nothing is done twice" in silent) == (True, True)


async def test_while_the_broker_is_away_nothing_is_lost_and_the_page_says_so(
    here: Settings, tmp_path: Path, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "_PATIENCE_SECONDS", 0.0)
    (key,) = await failed(db, 1)
    away = SecretStr("amqp://somebody:made-up-password@127.0.0.1:1/")
    async with open_console(here, tmp_path, amqp_url=away) as console:
        ann = await console.client("operator")
        path = f"/requests/actions/retry?id={key}"
        fields = {**await form_at(ann, path), "reason": "rooms are back"}
        page = urlsplit((await ann.post(path, data=fields)).headers["location"]).path

        async def look() -> str | None:
            text = (await ann.get(page)).text
            return text if "state-stopped" in text else None

        stopped = await eventually(look)

    assert "It was left before its end: RabbitMQ is away" in stopped
    assert "Go on with 1 request" in stopped
    assert "made-up-password" not in stopped


async def test_a_session_that_ends_in_the_middle_of_an_action_does_nothing_and_leads_back(
    console: Console, db: asyncpg.Connection
) -> None:
    (key,) = await failed(db, 1)
    ann = await console.client("operator")
    path = f"/requests/actions/retry?id={key}"
    fields = await form_at(ann, path)

    forged = await ann.post(path, data={**fields, "csrf": "x", "reason": "y"})
    ann.cookies.clear()
    answer = await ann.post(path, data={**fields, "reason": "rooms are back"})

    assert forged.status_code == 403
    where = urlsplit(answer.headers["location"])
    assert (answer.status_code, where.path) == (303, "/login")
    assert parse_qs(where.query)["next"] == [path]
    assert await db.fetchval("select count(*) from selections") == 0
