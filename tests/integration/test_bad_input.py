"""Bad input whose id can be found gets a failed response with the reason and a row; the next is served."""

import gzip
import json
import time
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
from support.harness import Desk, NewWorker, good_request, metric_becomes, response_in, row_of

from worker.rabbitmq.topology import names_for

MARK = "conspicuous-text"


class Bad(NamedTuple):
    name: str
    body: bytes | str
    reason: str  # part of the response's error
    fields: tuple[str, ...] = ()
    code: str = "invalid_request"
    properties: dict[str, Any] = {}  # noqa: RUF012 — read only


ID = str(uuid4())  # each test has a database of its own
GOOD = good_request(UUID(ID), name=MARK)
TEXT = json.dumps(GOOD)
TOMORROW = int((time.time() + 86_400) * 1000)
BY_CORRELATION = {"correlation_id": ID}


def with_metadata(text: str) -> str:
    return f'{TEXT[:-1]}, "metadata": {text}}}'


def nested(depth: int) -> str:
    return with_metadata(f'{{"deep": {"[" * depth}{"]" * depth}}}')


CASES = [
    Bad("empty body", b"", "the body is empty", properties=BY_CORRELATION),
    Bad("blank body", b" \n\t ", "the body is empty", properties=BY_CORRELATION),
    Bad("not JSON", f"hello {MARK}", "the body is not JSON", properties=BY_CORRELATION),
    Bad("JSON cut short", TEXT[:-1], "the body is not JSON"),
    Bad("two documents", TEXT + TEXT, "the body is not JSON: Extra data"),
    Bad("JSON array", f"[{TEXT}]", "not an object"),
    Bad("JSON string", json.dumps(MARK), "not an object", properties=BY_CORRELATION),
    Bad("JSON null", "null", "not an object", properties=BY_CORRELATION),
    Bad(
        "wrong types",
        json.dumps(GOOD | {"org_id": 5, "payload": {"name": True, "expiration_seconds": MARK}}),
        "not valid",
        ("org_id", "payload.name", "payload.expiration_seconds"),
    ),
    Bad("missing fields", json.dumps({"request_id": ID}), "not valid", ("org_id", "operation", "payload")),
    Bad("payload is an array", json.dumps(GOOD | {"payload": []}), "not valid", ("payload",)),
    Bad("unknown field", json.dumps(GOOD | {"color": MARK}), "not valid", ("color",)),
    Bad("unknown operation", json.dumps(GOOD | {"operation": MARK}), "not valid", ("operation",)),
    Bad(
        "id not a UUID but the correlation_id is",
        json.dumps(GOOD | {"request_id": MARK}),
        "not valid",
        ("request_id",),
        properties=BY_CORRELATION,
    ),
    Bad(
        "id missing but the correlation_id is one",
        json.dumps({key: value for key, value in GOOD.items() if key != "request_id"}),
        "not valid",
        ("request_id",),
        properties=BY_CORRELATION,
    ),
    Bad(
        "ten MiB", f'{TEXT[:-1]}, "metadata": {{"x": "{"y" * 10_485_760}"}}}}', "more than", code="too_large"
    ),
    Bad("10,000 deep", nested(10_000), "nested deeper than 100 levels"),
    Bad("40,000 deep", nested(40_000), "nested deeper than 100 levels"),
    Bad("100,000 deep", nested(100_000), "more than 50000 objects and arrays"),
    Bad("one level too deep", nested(99), "nested deeper than 100 levels"),
    Bad("NUL in a value", json.dumps(GOOD | {"org_id": f"{MARK}\0"}), "org_id holds the character NUL"),
    Bad("NUL in a key", with_metadata('{"a\\u0000b": 1}'), "a key holds a character"),
    Bad("NUL in metadata", with_metadata('{"a": ["\\u0000"]}'), "metadata.a.0 holds the character NUL"),
    Bad("raw NUL", TEXT.replace(MARK, f"{MARK}\0"), "the body is not JSON: Invalid control character"),
    Bad("half a surrogate pair", with_metadata('{"a": "\\ud83d"}'), "metadata.a holds half of a surrogate"),
    Bad("the other half", json.dumps(GOOD | {"user_id": "\udc00"}), "user_id holds half of a surrogate"),
    Bad("half a pair in a key", with_metadata('{"\\udfff": 1}'), "a key holds a character"),
    Bad("NaN", with_metadata('{"a": NaN}'), "the body holds NaN, which is not JSON"),
    Bad("Infinity", with_metadata('{"a": Infinity}'), "the body holds Infinity"),
    Bad("-Infinity", with_metadata('{"a": -Infinity}'), "the body holds -Infinity"),
    Bad("1e999", with_metadata('{"a": 1e999}'), "beyond the range of a double"),
    Bad("5,000 digits", with_metadata(f'{{"a": {"9" * 5000}}}'), "beyond the range of a double"),
    Bad("a key twice", f'{TEXT[:-1]}, "org_id": "org-2"}}', "the key 'org_id' is there twice"),
    Bad("a key twice further in", with_metadata('{"a": {"b": 1, "b": 1}}'), "the key 'b' is there twice"),
    Bad("a key in both spellings", f'{TEXT[:-1]}, "orgId": "org-2"}}', "not valid", ("orgId",)),
    Bad("not UTF-8", TEXT.replace(MARK, "caf\xe9").encode("latin-1"), "not UTF-8 text"),
    Bad("UTF-16", TEXT.encode("utf-16"), "not UTF-8 text", properties=BY_CORRELATION),
    Bad("byte order mark", "\ufeff" + TEXT, "it begins with a byte order mark"),
    Bad(
        "gzip without saying so",
        gzip.compress(TEXT.encode()),
        "it looks gzip-compressed",
        properties=BY_CORRELATION,
    ),
]

ABOUT_A_PROPERTY = [
    Bad(
        "gzip",
        gzip.compress(TEXT.encode()),
        "the content_encoding is not supported",
        properties=BY_CORRELATION | {"content_encoding": "gzip"},
    ),
    Bad("a deadline of words", TEXT, "header `deadline`", properties={"headers": {"deadline": "tomorrow"}}),
    Bad("a deadline of tables", TEXT, "header `deadline`", properties={"headers": {"deadline": {"a": [1]}}}),
    Bad(
        "a deadline of bytes",
        TEXT,
        "header `deadline`",
        properties={"headers": {"deadline": bytearray(b"\xff\xfe")}},
    ),
    Bad("an endless deadline", TEXT, "header `deadline`", properties={"headers": {"deadline": 2**62}}),
    Bad(
        "a beginning of words", TEXT, "`not_before` is neither", properties={"headers": {"not_before": MARK}}
    ),
    Bad("a beginning that is true", TEXT, "is neither", properties={"headers": {"not_before": True}}),
    # As a float, RabbitMQ takes it from nobody.
    Bad("no number", TEXT, "is neither", properties={"headers": {"not_before": "NaN"}}),
    Bad("years ahead", TEXT, "more than 366 days", properties={"headers": {"not_before": "9999-12-31"}}),
    Bad(
        "a beginning after the deadline",
        TEXT,
        "`not_before` is not earlier than the deadline",
        properties={"headers": {"not_before": TOMORROW, "deadline": TOMORROW}},
    ),
    Bad(
        "a beginning after the expiration",
        TEXT,
        "`not_before` is not earlier than the deadline",
        properties={"headers": {"not_before": TOMORROW}, "expiration": 3600},
    ),
]


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
async def test_bad_input_is_answered_with_its_reason_and_the_next_request_is_served(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, bad: Bad
) -> None:
    worker = await new_worker()

    await desk.send(bad.body, **bad.properties)
    message = await desk.next()

    response = response_in(message)
    assert str(response.request_id) == ID
    assert response.status == "failed"
    assert response.metadata["code"] == bad.code
    assert bad.reason in (response.error or "")
    listed = [error["field"] for error in response.metadata.get("errors", [])]
    assert set(bad.fields) <= set(listed), response.metadata
    assert MARK.encode() not in message.body
    row = await row_of(db, ID)
    assert (row["status"], row["error_code"], row["attempt"]) == ("failed", bad.code, 1)
    assert row["response"].encode() == message.body
    assert row["body"] is None
    assert MARK not in str(row)
    history = await db.fetch("select status from request_transitions order by at, attempt")
    assert [step["status"] for step in history] == ["pending", "processing", "failed"]
    assert (await desk.ask(good_request())).status == "completed"
    assert await db.fetchval("select count(*) from sessions") == 1
    assert await desk.count(names_for(desk.prefix).dead) == 0
    await metric_becomes(1, worker, "worker_requests_total", status="failed", code=bad.code)


@pytest.mark.parametrize("bad", ABOUT_A_PROPERTY, ids=lambda bad: bad.name)
async def test_what_is_refused_for_a_property_is_answered_and_can_be_sent_again_with_the_same_id(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, bad: Bad
) -> None:
    await new_worker()

    await desk.send(bad.body, **bad.properties)
    message = await desk.next()

    response = response_in(message)
    assert (str(response.request_id), response.status) == (ID, "failed")
    assert response.metadata["code"] == "invalid_request"
    assert response.metadata["recorded"] is False
    assert bad.reason in (response.error or "")
    assert len(response.metadata["errors"]) == 1
    assert str(message.message_id).startswith(f"{ID}.")
    assert await db.fetchval("select count(*) from requests") == 0
    assert (await desk.ask(TEXT)).status == "completed"


async def test_a_refused_request_in_another_order_at_another_time_is_the_same(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    refused = GOOD | {"bogus": 1}
    await desk.send(refused)
    first = await desk.next()

    again = {key: refused[key] for key in reversed(refused)} | {"timestamp": "2027-01-01T00:00:00Z"}
    await desk.send(json.dumps(again, indent=1))

    assert (await desk.next()).body == first.body
    assert await db.fetchval("select count(*) from requests") == 1


GOOD_ENOUGH = [
    pytest.param(nested(98), {}, id="as deep as allowed"),
    pytest.param(TEXT, {"content_type": "application/json; charset=utf-8"}, id="content type and charset"),
    pytest.param(TEXT, {"content_type": "application/vnd.acme+json"}, id="a JSON type of one's own"),
    pytest.param(TEXT, {"content_type": "text/plain"}, id="declared to be text"),
    pytest.param(TEXT, {"content_type": "application/octet-stream"}, id="declared to be anything"),
    pytest.param(TEXT, {"content_encoding": "UTF8"}, id="UTF8"),
    pytest.param(TEXT, {"content_encoding": "utf-8"}, id="the encoding of text as content encoding"),
    pytest.param(f"\n  {TEXT}\n", {}, id="space around it"),
    pytest.param(with_metadata('{"a": "\\ud83d\\ude00"}'), {}, id="a whole surrogate pair"),
    pytest.param(with_metadata('{"a": "\\\\u0000"}'), {}, id="an escaped backslash before u0000"),
    pytest.param(with_metadata(f'{{"a": {"9" * 308}}}'), {}, id="308 digits"),
    pytest.param(with_metadata('{"a": 1e-999, "b": -0.0, "c": 1e308}'), {}, id="the ends of a double"),
    pytest.param(with_metadata("null"), {}, id="metadata is null"),
    pytest.param(TEXT, {"headers": {"x": {"y": [1, bytearray(b"\xff"), None]}}}, id="headers of every type"),
]


@pytest.mark.parametrize(("body", "properties"), GOOD_ENOUGH)
async def test_what_only_looks_bad_is_served(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, body: str, properties: dict[str, Any]
) -> None:
    await new_worker()

    response = await desk.ask(body, **properties)

    assert (response.status, response.error) == ("completed", None)
    assert await db.fetchval("select id from sessions") == response.payload.session_id


async def test_a_batch_is_served_around_the_bad_ones_in_it(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(batches=1)
    bad_ids = set()
    for bad in CASES:
        if bad.code != "too_large" and not bad.properties:
            bad_ids.add(another := str(uuid4()))
            body = bad.body.encode() if isinstance(bad.body, str) else bad.body
            await desk.send(body.replace(ID.encode(), another.encode()))
            await desk.send(good_request())
    assert len(bad_ids) > 20

    answers = [response_in(await desk.next()) for _ in range(2 * len(bad_ids))]

    assert {str(answer.request_id) for answer in answers if answer.status == "failed"} == bad_ids
    assert await db.fetchval("select count(*) from sessions") == len(bad_ids)


async def test_a_bad_request_sent_again_is_answered_again(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()
    await desk.send(TEXT[:-1])
    first = await desk.next()

    await desk.send(TEXT[:-1])

    assert (await desk.next()).body == first.body
    assert (await desk.ask(TEXT)).metadata["code"] == "request_id_conflict"
