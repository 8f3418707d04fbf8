"""What programs get and change over HTTP: the same as on the pages, with a token, and each change once."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from support.console import Console, reached

from worker.console.api.call import BASE, MOST_BYTES
from worker.console.problems import TYPES


@pytest.fixture
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
    options = await nobody.options(f"{BASE}/limits")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    wrong = await viewer.delete(f"{BASE}/limits")
    assert (kind_of(wrong), wrong.headers["allow"]) == ("method-not-allowed", "GET, HEAD, OPTIONS, POST")
    in_address = await viewer.get(f"{BASE}/requests?token={console.tokens['viewer']}")
    assert kind_of(in_address) == "token-in-address"
