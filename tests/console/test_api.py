"""What programs get and change over HTTP: the same as on the pages, with a token, and each change once."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.console import Console, open_console, reached
from support.contract.documents import ROOT
from support.harness import declare_topology, eventually
from support.planted import Planted, clear, plant
from support.sealed import put_dead_letter, ring, ring_text

from worker.console.api.call import BASE, MOST_BYTES
from worker.console.problems import TYPES
from worker.settings import Settings


@pytest_asyncio.fixture(scope="module")
async def console(here: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """The console of the installation, which opens what is sealed."""
    async with open_console(
        here, tmp_path_factory.mktemp("api"), seal_keys=SecretStr(ring_text("k1"))
    ) as opened:
        yield opened


@pytest_asyncio.fixture
async def operator(console: Console) -> httpx.AsyncClient:
    return await (await reached(console)).bearer("operator")


async def change(client: httpx.AsyncClient, path: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key or str(uuid4())}
    return await client.post(BASE + path, json={"reason": "a test", **body}, headers=headers)


def kind_of(answer: httpx.Response) -> str:
    """Return what sort of problem it is."""
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert told["status"] == answer.status_code
    assert told["title"]
    assert told["detail"]
    return str(told["type"]).removeprefix(TYPES)


async def test_a_change_is_done_once_for_its_key_and_by_one_of_two_at_once(
    operator: httpx.AsyncClient, console: Console, record: asyncpg.Connection
) -> None:
    answers = await asyncio.gather(*(change(operator, "/pauses", "first", org="org-1") for _ in range(5)))
    again = await change(operator, "/pauses", "first", org="org-1")
    mine = [each for each in answers if each.status_code == 200]
    assert {each.status_code for each in answers} <= {200, 409}
    assert {kind_of(each) for each in answers if each.status_code == 409} <= {"idempotency-key-in-use"}
    assert sum("idempotency-replayed" not in each.headers for each in mine) == 1
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", mine[0].json())
    query = "select count(*) from audit where action = 'pause'"
    assert await record.fetchval(query) == 1

    other = await change(operator, "/pauses", "first", org="org-2")
    assert (other.status_code, kind_of(other)) == (422, "idempotency-key-reused")
    elsewhere = await change(operator, "/pauses/resume", "first", org="org-1")
    assert kind_of(elsewhere) == "idempotency-key-reused"
    admin = await console.bearer("admin")
    of_another = await change(admin, "/pauses/resume", "first", org="org-1")
    assert of_another.status_code == 200, "each has keys of their own"
    refused = await change(operator, "/pauses/resume", "second", org="org-1")
    assert (refused.status_code, kind_of(refused)) == (409, "conflict")
    assert (await change(operator, "/pauses", org="org-1")).status_code == 200
    replayed = await change(operator, "/pauses/resume", "second", org="org-1")
    assert (replayed.status_code, replayed.headers["idempotency-replayed"]) == (409, "true"), "also a refusal"

    await record.execute("update answered_calls set begun_at = now() - interval '25 hours'")
    late = await change(operator, "/pauses/resume", "second", org="org-1")
    assert (late.status_code, "idempotency-replayed" in late.headers) == (200, False), "after a day it is new"
    assert await record.fetchval("select array_agg(key) from answered_calls") == ["second"]
    await record.execute("update answered_calls set status = null, answer = null")
    cut_off = await change(operator, "/pauses/resume", "second", org="org-1")
    assert (kind_of(cut_off), cut_off.headers["retry-after"]) == ("idempotency-key-in-use", "1")


async def test_what_is_sent_is_checked_before_anything_is_done(
    operator: httpx.AsyncClient, record: asyncpg.Connection
) -> None:
    before = await record.fetchval("select count(*) from audit")
    path, head = f"{BASE}/pauses", {"Idempotency-Key": "k", "Content-Type": "application/json"}
    body = b'{"reason": "x"}'
    cases: list[tuple[dict[str, str], bytes, int, str]] = [
        ({"Content-Type": "application/json"}, body, 400, "idempotency-key-missing"),
        ({**head, "Idempotency-Key": "k" * 201}, body, 400, "idempotency-key-missing"),
        ({**head, "Content-Type": "text/plain"}, body, 415, "wrong-media-type"),
        (head, b"[1]", 422, "invalid-body"),
        (head, b"{", 422, "invalid-body"),
        (head, b"\xff", 422, "invalid-body"),
        (head, b"{}", 422, "invalid-body"),
        (head, b'{"reason": "  "}', 422, "invalid-body"),
        (head, b'{"reason": "\\u0000 x"}', 422, "invalid-body"),
        (head, b'{"reason": "x", "orgg": "org-1"}', 422, "invalid-body"),
        (head, b'{"reason": "x", "org": 7}', 422, "invalid-body"),
        (head, b" " * (MOST_BYTES + 1), 413, "too-large"),
    ]
    for headers, text, status, kind in cases:
        answer = await operator.post(path, content=text, headers=headers)
        assert (answer.status_code, kind_of(answer)) == (status, kind), (headers, text[:50])
    wrong = await operator.post(path, content=b'{"reason": "x", "password": "hunter2"}', headers=head)
    assert wrong.json()["errors"] == [{"pointer": "/password", "detail": "Extra inputs are not permitted"}]
    assert "hunter2" not in wrong.text
    wrong_ones = "orgg=x org=a&org=b org= status=lost since=yesterday after=7 limit=1000 org=%00"
    for query in wrong_ones.split():
        answer = await operator.get(f"{BASE}/requests?{query}")
        assert (answer.status_code, kind_of(answer)) == (400, "bad-request"), query
    assert await record.fetchval("select count(*) from audit") == before


async def test_only_a_token_counts_and_addresses_say_how_they_may_be_asked(console: Console) -> None:
    viewer, nobody = await (await reached(console)).bearer("viewer"), await console.client()
    browser = await console.client("admin")
    for client in (nobody, browser):
        for path in ("/requests", "/nothing"):
            answer = await client.get(BASE + path)
            assert (answer.status_code, kind_of(answer)) == (401, "no-token"), "no cookie counts"
            assert answer.headers["www-authenticate"] == "Bearer"
    forbidden = await change(viewer, "/pauses")
    assert (kind_of(forbidden), forbidden.json()["right"]) == ("right-missing", "operate")
    assert kind_of(await viewer.get(f"{BASE}/nothing")) == "not-found"
    head, got = await viewer.head(f"{BASE}/workers"), await viewer.get(f"{BASE}/workers")
    assert (head.status_code, head.headers["content-length"]) == (200, got.headers["content-length"])
    served = await viewer.get(f"{BASE}/openapi.json")
    assert served.json() == json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    options = await nobody.options(f"{BASE}/limits")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    wrong = await viewer.delete(f"{BASE}/limits")
    assert (kind_of(wrong), wrong.headers["allow"]) == ("method-not-allowed", "GET, HEAD, OPTIONS, POST")
    in_address = await viewer.get(f"{BASE}/requests?token={console.tokens['viewer']}")
    assert kind_of(in_address) == "token-in-address"


@pytest_asyncio.fixture
async def letter(record: asyncpg.Connection) -> UUID:
    """A dead letter of the application billing."""
    found = await put_dead_letter(record, b"password=conspicuous", ring("k1"))
    await record.execute("update dead_letters set app_id = 'billing' where id = $1", found)
    return found


async def test_requests_are_read_page_by_page_and_retried_by_a_selection(
    console: Console, operator: httpx.AsyncClient, record: asyncpg.Connection, here: Settings
) -> None:
    await clear(record)
    await declare_topology(here)
    at = datetime.now(UTC) - timedelta(minutes=5)
    rows = [
        Planted(at + timedelta(seconds=n), org="org-7", code="rejected", reason="no room", payload={"n": n})
        for n in range(5)
    ]
    ids = [str(row.request_id) for row in await plant(record, rows)]
    seen: list[str] = []
    path = f"{BASE}/requests?org=org-7&status=failed&limit=2"
    while path:
        part = (await operator.get(path)).json()
        assert (part["matching"], part["exact"], part["reasons"]) == (5, True, {"no room": 5 - len(seen)})
        seen += [each["request_id"] for each in part["items"]]
        path = part["next"]
    assert seen == ids[::-1]
    explained = (await operator.get(f"{BASE}/requests/{ids[0]}/explanation")).json()
    assert (explained["command"], explained["broken"]) == (f"session-worker requests retry {ids[0]}", [])
    shown = (await operator.get(f"{BASE}/requests/{ids[0]}")).json()
    assert (shown["request"]["status"], shown["response"]) == ("failed", None), "no payload without the right"
    lacks = await operator.get(f"{BASE}/requests/{ids[0]}/documents")
    assert (lacks.status_code, lacks.json()["right"]) == (403, "payloads")
    anna = await console.bearer("anna")
    assert '"n": 0' in (await anna.get(f"{BASE}/requests/{ids[0]}/documents")).json()["request"]
    (group,) = (await operator.get(f"{BASE}/failures?since=1h")).json()["items"]
    assert (group["code"], group["reason"], group["number"]) == ("rejected", "no room", 5)
    gone = await operator.get(f"{BASE}/requests?after={UUID(int=9)}")
    assert (gone.status_code, kind_of(gone)) == (410, "page-gone")

    wrongs: tuple[dict[str, Any], ...] = (
        {},
        {"filter": {}},
        {"ids": ids, "filter": {"org": "org-7"}},
        {"ids": ids, "answer": "none"},
    )
    for wrong in wrongs:
        refused = await change(operator, "/selections", action="resend", **wrong)
        assert refused.status_code == 400, wrong
    made = await change(operator, "/selections", action="retry", filter={"org": "org-7", "status": "failed"})
    assert made.status_code == 201, made.text
    one = made.json()
    assert (one["state"], one["chosen"], one["preview"]["requests"]) == ("prepared", 5, 5)
    where = f"/selections/{one['id']}"
    assert (await change(operator, f"{where}/stop")).status_code == 409, "nobody works on it"
    begun = await change(operator, f"{where}/continue", reason="rooms are back")
    assert begun.status_code == 200, begun.text

    async def done() -> dict[str, Any] | None:
        now: dict[str, Any] = (await operator.get(BASE + where)).json()
        return now if now["state"] == "done" else None

    ended = await eventually(done)
    assert (ended["done"], ended["left"], ended["trouble"]) == (5, 0, None)
    assert (await change(operator, f"{where}/drop")).status_code == 409, "it stays on record"
    entry = (await operator.get(f"{BASE}/audit?limit=1")).json()["items"][0]
    assert (entry["who"], entry["action"], entry["reason"]) == (
        "operator via console", "requests.retry", "rooms are back",
    )  # fmt: skip


async def test_dead_letters_are_looked_at_dropped_and_restored_and_limits_set(
    console: Console, operator: httpx.AsyncClient, letter: UUID
) -> None:
    which = {"app": "billing"}
    (group,) = (await operator.get(f"{BASE}/dead-letters/groups?app=billing")).json()["items"]
    assert (group["messages"], group["apps"], group["example"]) == (1, ["billing"], str(letter))
    anna = await console.bearer("anna")
    assert (await operator.get(f"{BASE}/dead-letters/{letter}")).json()["body"] is None
    body = (await anna.get(f"{BASE}/dead-letters/{letter}")).json()["body"]
    assert body == "password=(masked)"
    looked = await change(operator, "/dead-letters/replay", which=which, dry_run=True)
    (judged,) = looked.json()["items"]
    assert (looked.status_code, looked.json()["work"], judged["prospect"]) == (202, None, "still unreadable")
    for wrong in ({}, {"all": True, "app": "billing"}):
        assert (await change(operator, "/dead-letters/drop", which=wrong)).status_code == 400, wrong
    dropped = await change(operator, "/dead-letters/drop", which=which)
    assert dropped.json() == {"done": "dropped", "messages": 1, "selected": 1}
    assert (await change(operator, "/dead-letters/drop", which=which)).status_code == 409
    restored = await change(operator, "/dead-letters/restore", which={"ids": [str(letter)]})
    assert restored.json() == {"done": "restored", "messages": 1, "selected": 1}
    sent = await change(operator, "/dead-letters/replay", which=which)

    async def done() -> dict[str, Any] | None:
        now: dict[str, Any] = (await operator.get(f"{BASE}/works/{sent.json()['work']}")).json()
        return now if now["state"] == "done" else None

    left = (await eventually(done))["progress"]["left"]
    assert [why.partition(":")[0] for why in left] == ["still unreadable"]

    limits: tuple[dict[str, Any], ...] = ({}, {"scope": "all", "org": "org-7", "rate": 1}, {"org": "org-7"})
    for no_limit in limits:
        assert (await change(operator, "/limits", **no_limit)).status_code == 400, no_limit
    limit = await change(operator, "/limits", org="org-7", rate=0.5, running=2)
    assert (limit.json()["rate"], limit.json()["running"]) == (0.5, 2)
    assert [each["name"] for each in (await operator.get(f"{BASE}/limits")).json()["items"]] == ["org-7"]
    assert (await change(operator, "/limits/clear", org="org-7")).json()["before"]["rate"] == 0.5
    assert (await change(operator, "/limits/clear", org="org-7")).status_code == 409
    assert (await change(operator, "/keys/rotate", **{"from": "k1", "to": "k2"})).json()["right"] == "admin"
