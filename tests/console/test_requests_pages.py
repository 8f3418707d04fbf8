"""The pages of requests and failures show what is on record, harmlessly, and say what they looked at."""

import csv
import html
import io
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from support.console import Console, act, open_console, text_of
from support.planted import Planted, clear, plant, plant_worker

from worker.settings import Settings

HOSTILE = """<script>alert("1")</script>'&<img src=x onerror=alert(1)>"""
FORMULA = "=cmd|' /C calc'!A0"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "made-up-token-17"
UNDER_WAY = """
with lease as (
  insert into leases (id, worker, lease_until) values (7, $2, now() + interval '1 min') returning id
), request as (
  insert into requests (request_id, status, attempt, fingerprint, body, session_id, worker, lease, started_at)
  select $1, 'processing', 1, '\\x01', '{}', 'ts_260101_a', $2, id, now() from lease returning request_id
)
insert into long_calls (request_id, attempt, worker, began_at, fraction, text, told_at)
select request_id, 1, $2, now() - interval '42 s', 0.4, $3, now() - interval '3 s' from request
"""
_LINK = re.compile(r'href="\?([^"]*)" rel="next"')
_ID = re.compile(r'name="id" value="([0-9a-f-]{36})"')


@pytest_asyncio.fixture
async def db(record: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The tables that the tests of this file share, empty at the beginning of each."""
    await clear(record)
    yield record


@pytest.fixture
def t0() -> datetime:
    """Less than an hour ago, also when the run comes to a test late."""
    return datetime.now(UTC) - timedelta(minutes=25)


def hostile(text: str) -> list[str]:
    """Returns what of a page a browser would carry out, of what strangers have written."""
    return re.findall(r"<script>alert|<img", text)


async def test_a_list_has_all_that_match_once_with_what_they_have_in_common(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    workers = [await plant_worker(db, "vm", 11, "rooms@1"), await plant_worker(db, "vm", 12, "rooms@2")]
    rows = await plant(db, [
        Planted(
            t0 + timedelta(seconds=number // 3), org=f"org-{number % 12}" if number % 5 else None,
            code=(None, "rejected", "attempts_exhausted")[number % 3],
            reason=f"room {number % 4} is full" if number % 3 else None,
            place="rooms.py:7 create" if number % 3 == 2 else None, worker=workers[number % 2],
        )
        for number in range(250)
    ])  # fmt: skip
    viewer = await console.client("viewer")
    failed = [row for row in rows if row.code]

    seen: list[str] = []
    query = "status=failed&since=1h&limit=40"
    while query:
        text = (await viewer.get(f"/requests?{query}")).text
        seen += re.findall(r'href="/requests/([0-9a-f-]{36})" data-explain', text)
        query = html.unescape(found[1]) if (found := _LINK.search(text)) else ""
    whole = (await viewer.get("/requests?status=failed&since=1h")).text
    among = (await viewer.get("/requests?status=failed&since=1h&org=org-7&build=rooms@2")).text

    assert Counter(seen) == {str(row.request_id): 1 for row in failed}
    in_order = sorted(failed, key=lambda row: (row.at, row.request_id), reverse=True)
    assert seen == [str(row.request_id) for row in in_order]
    assert f"<strong>{len(failed)}</strong> match" in whole
    for by, value in (("org", "org-7"), ("code", "rejected"), ("build", "rooms@2"), ("worker", "vm:12")):
        number = sum(
            {"org": row.org, "code": row.code, "build": "rooms@2" if row.worker == workers[1] else "",
             "worker": "vm:12" if row.worker == workers[1] else ""}[by] == value
            for row in failed
        )  # fmt: skip
        link = f"{by}={value}".replace("@", "%40").replace(":", "%3A")
        assert re.search(rf'{link}"[^>]*>{value}</a> <span class="n">{number}<', whole), (by, number)
    wanted = [row for row in failed if row.org == "org-7" and row.worker == workers[1]]
    assert f"<strong>{len(wanted)}</strong> match" in among
    columns = [int(number) for number in re.findall(r"<title>\d\d:\d\d: (\d+) failed</title>", whole)]
    assert sum(columns) == len(failed)


async def test_nothing_that_strangers_wrote_is_carried_out_anywhere(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    worker = await plant_worker(db, HOSTILE, 11, HOSTILE)
    rows = await plant(db, [
        Planted(
            t0, org=HOSTILE, code="rejected", reason=HOSTILE, place=HOSTILE, worker=worker, user=HOSTILE,
            correlation=HOSTILE, reply_to=HOSTILE, payload={"name": HOSTILE, "twilio_auth_token": SECRET},
        ),
        Planted(t0, org=FORMULA, code="rejected", reason=FORMULA, correlation=HOSTILE),
    ])  # fmt: skip
    admin = await console.client("anna")
    key = rows[0].request_id
    quoted = "%3Cscript%3Ealert(%221%22)%3C/script%3E"

    pages = {
        path: await admin.get(path)
        for path in (
            "/requests", f"/requests?org={quoted}&reason={quoted}", f"/requests?find_org={quoted}",
            f"/requests/{key}", "/failures", f"/failures?org={quoted}", f"/requests/actions/retry?id={key}",
            f"/requests/actions/retry?org={quoted}", "/selections", f"/requests/{quoted}",
            "/requests?find_org=script", f"/requests?{quoted}=1", f"/requests?status={quoted}",
            f"/selections/{quoted}",
        )
    }  # fmt: skip
    table = await admin.get("/requests/export?format=csv")
    lines = await admin.get("/requests/export?format=jsonl&status=failed")

    assert {path: hostile(answer.text) for path, answer in pages.items() if hostile(answer.text)} == {}
    for path in ("/requests", f"/requests/{key}", "/failures"):
        assert "&lt;script&gt;" in pages[path].text, path
    assert f"/requests/actions/retry?id={key}" in pages[f"/requests/{key}"].text
    assert SECRET not in "".join(answer.text for answer in pages.values())
    assert "(masked)" in pages[f"/requests/{key}"].text
    cells = list(csv.DictReader(io.StringIO(table.text)))
    assert {cell["org_id"] for cell in cells} == {HOSTILE, f"'{FORMULA}"}
    assert table.headers["content-disposition"] == 'attachment; filename="requests.csv"'
    assert {json.loads(line)["request_id"] for line in lines.text.splitlines()} == {
        str(row.request_id) for row in rows
    }


async def test_a_payload_is_for_those_who_have_the_right(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    (row,) = await plant(db, [Planted(t0, payload={"name": "a payload's word"}, correlation="order-1")])
    path = f"/requests/{row.request_id}"

    without = (await (await console.client("admin")).get(path)).text
    with_it = (await (await console.client("anna")).get(path)).text

    assert "payload&#39;s word" in with_it
    assert "payload&#39;s word" not in without
    assert "needs the right “payloads”" in without


async def test_how_far_a_long_call_is_stands_on_the_page_of_its_request(
    console: Console, db: asyncpg.Connection
) -> None:
    worker, key = await plant_worker(db, "vm", 11, "rooms@1"), uuid4()
    await db.execute(UNDER_WAY, key, worker, HOSTILE)

    text = (await (await console.client("viewer")).get(f"/requests/{key}")).text

    assert re.search(r"<dt>call</dt><dd[^>]*>attempt 1 has been at work for 4\d s: 40%, &lt;script&gt;", text)
    assert hostile(text) == []


async def test_what_is_typed_wrongly_is_said_and_what_is_not_there_too(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    rows = await plant(db, [Planted(t0 + timedelta(seconds=n), correlation="order-17") for n in range(3)])
    operator = await console.client("operator")
    wrong = {
        "/requests?stauts=failed": "stauts: there is no such filter",
        "/requests?status=fialed": "status: 'fialed' is none of",
        "/requests?since=yesterday": "since: 'yesterday'",
        "/requests?attempt=0": "attempt:",
        "/requests?org=a&org=b": "org: it is given twice",
        "/requests?org=a%00b": "org:",
        "/requests?limit=1000": "limit:",
        "/requests?after=x": "after:",
        "/failures?user=u": "user: failures are found by",
        "/failures?since=1h&until=2h": "until:",
        "/requests/export?format=xml": "format:",
        "/requests/actions/retry": "Say which requests are meant",
        "/requests/actions/retry?which=marked&status=failed": "Say which requests are meant",
        "/requests/actions/retry?id=x": "id: 'x'",
        "/requests/actions/retry?stauts=failed": "stauts: there is no such filter",
    }

    for path, said in wrong.items():
        answer = await operator.get(path)
        assert (answer.status_code, said in html.unescape(answer.text)) == (400, True), path
    gone = await operator.get(f"/requests?after={uuid4()}")
    unknown = await operator.get(f"/requests/{uuid4()}")
    several = await operator.get("/requests/order-17")
    short = await operator.get(f"/requests/{str(rows[0].request_id)[:8]}")
    empty = (await operator.get("/requests?correlation=order-17&status=failed")).text
    nothing = (await operator.get("/failures?since=1h")).text

    assert (gone.status_code, "go back to the first page" in gone.text) == (410, True)
    assert (unknown.status_code, "Dead letters with this id: 0" in unknown.text) == (404, True)
    assert (several.status_code, several.headers["location"]) == (303, "/search?id=order-17")
    assert (short.status_code, short.headers["location"]) == (303, f"/requests/{rows[0].request_id}")
    assert "No request matches" in empty
    assert re.search(r'href="\?correlation=order-17">3 without the filter', empty)
    assert re.search(r'href="\?status=failed">0 without the filter', empty)
    assert "No failure in 1h" in nothing


async def test_ten_thousand_organisations_are_a_few_and_a_box_to_find_one(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    await plant(db, [Planted(t0 + timedelta(milliseconds=n), org=f"org-{n:05}") for n in range(10_000)])
    viewer = await console.client("viewer")

    text = (await viewer.get("/requests")).text
    found = (await viewer.get("/requests?find_org=ORG-0999")).text

    assert "<strong>10,000</strong> match" in text
    assert len(re.findall(r'href="\?org=org-\d{5}"', text)) == 8
    assert "and 1,992 more" in text  # of the 2,000 that are counted
    assert set(re.findall(r'href="\?org=(org-0999\d)"', found)) == {f"org-0999{n}" for n in range(10)}


async def test_failures_that_are_alike_are_one_group_and_one_kind_hides_no_other(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    worker = await plant_worker(db, "vm", 11, "rooms@1")
    many = [
        Planted(
            t0 + timedelta(seconds=n / 10), org=f"org-{n % 7}", code="attempts_exhausted",
            reason=f"rooms answered {500 + n % 3}", place=f"rooms.py:{n % 2} create", worker=worker,
        )
        for n in range(2_600)
    ]  # fmt: skip
    rare = [Planted(t0 - timedelta(minutes=5), code="rejected", reason="no such room", org="org-9")]
    rows = await plant(db, [*many, *rare])
    viewer = await console.client("viewer")

    text = (await viewer.get("/failures?since=2h")).text
    of_org = (await viewer.get("/failures?since=2h&org=org-9")).text

    groups = {
        (html.unescape(reason), place): int(number.replace(",", ""))
        for number, reason, place in re.findall(
            r'<strong>([\d,]+)</strong></td>.*?<a href="[^"]*">([^<]*)</a>.*?<code>([^<]*)</code>',
            text,
            re.DOTALL,
        )
    }
    # Of each of two codes 2,500 are looked at; the last ones of those that are more.
    looked = sorted((row for row in rows if row.place), key=lambda row: row.at)[-2_500:]
    wanted: Counter[tuple[str | None, str]] = Counter((row.reason, row.place or "") for row in looked)
    assert groups == {**wanted, ("no such room", ""): 1}
    assert "Of attempts_exhausted only what came since" in html.unescape(text)
    assert "rejected only what came" not in text
    assert ("no such room" in of_org, "rooms answered" in of_org) == (True, False)
    first = re.search(r'href="(/requests\?[^"]*)"', text[text.index("<tbody>") :])
    assert first is not None
    listed = (await viewer.get(html.unescape(first[1]))).text
    assert "attempts_exhausted" in listed


async def test_one_request_is_told_from_its_arrival_to_what_stands_beside_it(
    here: Settings, tmp_path: Path, db: asyncpg.Connection, t0: datetime
) -> None:
    worker = await plant_worker(db, "vm", 11, "rooms@1")
    rows = await plant(db, [
        Planted(t0, code="attempts_exhausted", reason="rooms answered 503", place="rooms.py:7 create",
                worker=worker, correlation="order-1", org="org-7", traceparent=TRACE),
        Planted(t0 + timedelta(seconds=1), correlation="order-1", org="org-7"),
    ])  # fmt: skip
    old, new = rows[0].request_id, rows[1].request_id
    await db.execute(
        "insert into retries (request_id, retried_as, selection) values ($1, $2, '00000000')", old, new
    )
    async with open_console(here, tmp_path, trace_url="https://traces.example.org/{trace_id}/") as console:
        operator = await console.client("operator")
        text = html.unescape((await operator.get(f"/requests/{old}")).text)
        other = (await operator.get(f"/requests/{new}")).text

    for said in (
        "attempt 1", "by vm:11 rooms:create@rooms@1", "rooms answered 503", "rooms.py:7 create",
        f"session-worker requests explain {new}", f"/requests/{new}", "the promises are kept so far",
        f"/requests/actions/resend?id={old}", "https://traces.example.org/4bf92f3577b34da6a3ce929d0e0e4736/",
    ):  # fmt: skip
        assert said in text, said
    assert f'retry of <a href="/requests/{old}">' in other
    assert f"/requests/actions/retry?id={old}" not in text  # it was retried before
    assert f"/requests/actions/retry?id={new}" not in other  # it has not failed


async def test_a_group_that_somebody_mutes_is_shown_apart_until_its_time_is_over(
    console: Console, db: asyncpg.Connection, t0: datetime
) -> None:
    old, new = [await plant_worker(db, "vm", pid, f"rooms@{pid}") for pid in (1, 2)]
    rows = await plant(db, [
        Planted(t0, code="attempts_exhausted", reason=f"rooms {HOSTILE}", place="rooms.py:7", worker=worker)
        for worker in (old, old, new)
    ] + [Planted(t0, code="rejected", reason="no room")])  # fmt: skip
    viewer, operator = await console.client("viewer"), await console.client("operator")
    program = await console.bearer("operator")
    mute, calls = f"/failures/actions/mute?like={rows[0].request_id}", "/api/v1/failures"

    async def groups() -> tuple[int, list[tuple[str | None, bool]]]:
        found = (await program.get(f"{calls}?since=2h")).json()
        return found["kinds"], sorted((each["build"] or "", bool(each["mute"])) for each in found["items"])

    async def change(path: str, **body: str) -> httpx.Response:
        body["reason"] = "a test"
        return await program.post(calls + path, json=body, headers={"Idempotency-Key": uuid4().hex})

    assert await groups() == (3, [("", False), ("rooms@1", False), ("rooms@2", False)])
    asked = await operator.get(mute)
    assert "2 of the failures of the last day that were looked at, of 1 organisations" in text_of(asked)
    shown = await act(operator, mute, hours="4", reason=f"they know {HOSTILE}")
    seen = await viewer.get("/failures?since=2h")
    for page in (shown, seen):
        others, _, apart = page.text.partition('id="muted"')
        assert hostile(page.text) == []
        assert "2 groups of 4 failures, beside those that are muted" in text_of(page)
        assert ("rooms@1" in others, "rooms@2" in others) == (False, True), "another build is another group"
        assert ("rooms@1" in apart, "they know" in apart, "operator via console" in apart) == (
            True,
            True,
            True,
        )
    assert ("end it" in shown.text, "end it" in seen.text) == (True, False)
    assert await groups() == (2, [("", False), ("rooms@1", True), ("rooms@2", False)])

    await db.execute("update mutes set ends_at = now()")
    assert await groups() == (3, [("", False), ("rooms@1", False), ("rooms@2", False)])
    assert 'id="muted"' not in (await viewer.get("/failures?since=2h")).text

    like = str(rows[0].request_id)
    assert (await change("/mutes", like=str(uuid4()), until="+1h")).status_code == 404
    assert (await change("/mutes", like=like, until="2020-01-01T00:00:00Z")).status_code == 400
    (muted,) = [(await change("/mutes", like=like, until="+1h")).json()]
    assert (await program.get(f"{calls}/mutes")).json()["items"] == [muted]
    await act(operator, f"/failures/actions/unmute?id={muted['id']}", reason="it is mended")
    assert (await change(f"/mutes/{muted['id']}/end")).status_code == 409
    assert (await groups())[0] == 3
    audited = await db.fetch("select action, who, reason, about ->> 'build' from audit order by number")
    by = "operator via console"
    assert [tuple(row) for row in audited] == [
        ("failures.mute", by, f"they know {HOSTILE}", "rooms@1"), ("failures.mute", by, "a test", "rooms@1"),
        ("failures.unmute", by, "it is mended", "rooms@1"),
    ]  # fmt: skip
