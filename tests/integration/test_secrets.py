"""Credentials in a request are sealed before they reach Postgres, and are nowhere else."""

import asyncio
import base64
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.contract.secret_payloads import PHONE, SecretCase, secret_payloads
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, response_in, row_of
from support.secret_search import everything_in, traces_of

from schemas import CreateSessionPayload, CreateSessionRequest
from worker.errors import SealError
from worker.handlers import Context, RetryLater
from worker.messages.decoding import restore
from worker.messages.sealing import SealKeys, parse_seal_keys

CASES = secret_payloads()


def new_key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


OLD, NEW = new_key("k1"), new_key("k2")


def with_token(token: str) -> dict[str, Any]:
    return good_request(None, phone_number={**PHONE, "twilio_auth_token": token})


def value_at(document: Any, path: str) -> Any:
    """Returns the value at the path of a case; a key may hold dots."""
    if not path:
        return document
    if isinstance(document, list):
        head, _, rest = path.partition(".")
        return value_at(document[int(head)], rest)
    key = max((key for key in document if path == key or path.startswith(f"{key}.")), key=len)
    return value_at(document[key], path[len(key) + 1 :])


async def ask_all(desk: Desk, requests: list[dict[str, Any]]) -> dict[str, bytes]:
    """Sends all requests; returns the response bodies by request id."""
    await asyncio.gather(*(desk.send(request) for request in requests))
    bodies = [(await desk.next()).body for _ in requests]
    return {json.loads(body)["request_id"]: body for body in bodies}


async def test_a_secret_in_any_place_is_sealed_in_the_database_and_opens_again(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(seal_keys=SecretStr(OLD))
    requests = [good_request(None, **case.payload) for case in CASES]

    answers = await ask_all(desk, requests)

    assert await db.fetchval("select count(*) from sessions") == len(CASES) > 300
    dump = await everything_in(db)
    assert "+14155550100" in dump
    keys = parse_seal_keys(OLD)
    for case, request in zip(CASES, requests, strict=True):
        answer = answers[request["request_id"]].decode()
        assert json.loads(answer)["status"] == "completed", answer
        assert traces_of(case.canary, dump + answer) == []
        await check_sealed(db, case, UUID(request["request_id"]), keys)


async def check_sealed(db: asyncpg.Connection, case: SecretCase, request_id: UUID, keys: SealKeys) -> None:
    body = (await row_of(db, request_id))["body"]
    document = json.loads(
        await db.fetchval("select document from sessions where request_id = $1", request_id)
    )
    for stored in (json.loads(body)["payload"], document):
        assert str(value_at(stored, case.path)).startswith("sealed:v1:k1:")
    sent = CreateSessionPayload.model_validate(case.payload).model_dump(mode="json", exclude_unset=True)
    assert keys.open_document(document, request_id) == sent
    restored, _ = restore(body, request_id, keys)
    assert restored.whole().payload.model_dump(mode="json", exclude_unset=True) == sent
    assert case.canary in json.dumps(sent)


async def test_without_a_key_a_request_with_a_secret_is_refused_and_none_of_it_is_stored(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    requests = [good_request(None, **case.payload) for case in CASES]

    with capture_logs() as events:
        answers = await ask_all(desk, requests)

    dump = await everything_in(db)
    for case, request in zip(CASES, requests, strict=True):
        answer = json.loads(answers[request["request_id"]])
        assert answer["metadata"] == {"code": "secrets_refused"}, case.path
        assert "WORKER_SEAL_KEYS" in answer["error"]
        assert traces_of(case.canary, f"{dump}{answer}{events}") == []
        row = await row_of(db, request["request_id"])
        assert (row["status"], row["error_code"], row["body"]) == ("failed", "secrets_refused", None)
    assert await db.fetchval("select count(*) from sessions") == 0


async def test_a_request_with_a_place_for_secrets_and_none_in_it_needs_no_key(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()

    response = await desk.ask(good_request(None, phone_number=PHONE, assistant={"name": "A"}))

    assert response.status == "completed"
    assert bytes(await db.fetchval("select fingerprint from requests")).startswith(b"plain:")


async def test_a_sealed_text_opens_in_its_own_request_and_place_alone(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(seal_keys=SecretStr(OLD))
    mine, other = with_token("mine"), with_token("other")
    await ask_all(desk, [mine, other])
    keys = parse_seal_keys(OLD)
    body = (await row_of(db, mine["request_id"]))["body"]
    assert restore(body, UUID(mine["request_id"]), keys)[0].whole().payload.phone_number is not None

    with pytest.raises(SealError, match="does not open with key 'k1'"):
        restore(body, UUID(other["request_id"]), keys)
    moved = json.loads(body)
    phone = moved["payload"]["phone_number"]
    phone["twilio_api_key"] = phone.pop("twilio_auth_token")
    with pytest.raises(SealError, match=r"phone_number\.twilio_api_key .* does not open"):
        restore(json.dumps(moved), UUID(mine["request_id"]), keys)
    with pytest.raises(SealError, match="needs key 'k1'"):
        restore(body, UUID(mine["request_id"]), parse_seal_keys(NEW))


async def test_after_a_rotation_old_texts_open_and_new_ones_are_sealed_with_the_new_key(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    first = await new_worker(seal_keys=SecretStr(OLD))
    before = with_token("before")
    await desk.send(before)
    answer = await desk.next()
    await first.stop()
    await new_worker(seal_keys=SecretStr(f"{NEW},{OLD}"))
    after = with_token("after")
    assert (await desk.ask(after)).status == "completed"

    ring = parse_seal_keys(f"{NEW},{OLD}")
    for request, token, key in ((before, "before", "k1"), (after, "after", "k2")):
        row = await row_of(db, request["request_id"])
        assert f"sealed:v1:{key}:" in row["body"]
        assert row["fingerprint"].startswith(f"{key}:".encode())
        restored, _ = restore(row["body"], row["request_id"], ring)
        number = restored.whole().payload.phone_number
        assert number is not None
        assert number.twilio_auth_token == token

    await desk.send(before)
    assert (await desk.next()).body == answer.body, "the same request, sealed with the old key"
    changed = before | {"payload": with_token("changed")["payload"]}
    assert (await desk.ask(changed)).metadata["code"] == "request_id_conflict"


async def test_a_later_attempt_gets_the_secret_back(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    tokens = []

    async def act(request: CreateSessionRequest, context: Context) -> None:
        assert request.payload.phone_number is not None
        tokens.append((context.attempt, request.payload.phone_number.twilio_auth_token))
        if context.attempt == 1:
            raise RetryLater(0.01)

    await new_worker(handler=steer(act), seal_keys=SecretStr(OLD))

    assert (await desk.ask(with_token("canary"))).status == "completed"

    assert tokens == [(1, "canary"), (2, "canary")]
    assert traces_of("canary", await everything_in(db)) == []
    assert await db.fetchval("select document::text like '%sealed:v1:k1:%' from sessions")


async def test_a_request_whose_key_is_missing_waits_for_it_and_spends_no_attempt(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    request = with_token("canary")

    async def act(given: CreateSessionRequest, context: Context) -> None:
        if context.attempt == 1:
            raise RetryLater(3600 if str(given.request_id) == request["request_id"] else 0.01)

    handler = steer(act)
    first = await new_worker(handler=handler, seal_keys=SecretStr(OLD), max_attempts=2)
    await desk.send(request)
    await eventually(lambda: db.fetchval("select true from requests where due_at is not null"))
    await first.stop()  # the broker is told of what is settled: nothing of it comes again
    assert (await row_of(db, request["request_id"]))["status"] == "processing"
    await db.execute("update requests set due_at = now() where due_at is not null")

    with capture_logs() as events:
        second = await new_worker(handler=handler, seal_keys=SecretStr(NEW), max_attempts=2)
        assert (await desk.ask(good_request())).status == "completed"

        async def noticed() -> bool:
            return any(event["event"] == "request.cannot_be_opened" for event in events)

        await eventually(noticed)
    await second.stop()
    noted = next(event for event in events if event["event"] == "request.cannot_be_opened")
    assert noted["request_id"] == request["request_id"]
    assert "add it to WORKER_SEAL_KEYS" in noted["reason"]
    assert (await row_of(db, request["request_id"]))["attempt"] == 1
    await db.execute("update requests set due_at = now() where due_at is not null")

    await new_worker(handler=handler, seal_keys=SecretStr(f"{NEW},{OLD}"), max_attempts=2)

    assert json.loads((await desk.next()).body)["request_id"] == request["request_id"]
    assert (await row_of(db, request["request_id"]))["status"] == "completed"


async def test_a_request_whose_key_is_missing_is_told_when_it_is_too_late(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise RetryLater(0.5)

    first = await new_worker(handler=steer(act), seal_keys=SecretStr(OLD), max_attempts=100)
    deadline = datetime.now(UTC) + timedelta(seconds=4)
    await desk.send(with_token("canary"), headers={"deadline": deadline.isoformat()})
    await eventually(lambda: db.fetchval("select true from requests where due_at is not null"))
    await first.stop()  # the broker is told of what is settled: nothing of it comes again
    await db.execute("update requests set due_at = now() + interval '5 seconds' where due_at is not null")

    await new_worker(handler=steer(act), seal_keys=SecretStr(NEW))

    assert json.loads((await desk.next()).body)["metadata"]["code"] == "deadline_exceeded"


async def test_what_a_newer_version_stored_waits_for_it_and_holds_up_no_other(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """This happens in a rolling upgrade: the contract lets a version add optional fields."""

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.attempt == 1:
            raise RetryLater(3600)

    first = await new_worker(handler=steer(act))
    requests = [good_request() for _ in range(8)]
    for request in requests:
        await desk.send(request)
    waiting = "select count(*) = 8 from requests where due_at is not null"
    await eventually(lambda: db.fetchval(waiting))
    await first.stop()  # the broker is told of what is settled: nothing of it comes again
    newer = UUID(requests[3]["request_id"])
    before, added = '"payload":{', '"payload":{"of_tomorrow":1,'
    await db.execute(
        "update requests set body = replace(body, $1, $2) where request_id = $3", before, added, newer
    )
    await db.execute("update requests set due_at = now()")

    with capture_logs() as events:
        await new_worker(handler=steer(act))
        answered = {response_in(await desk.next()).request_id for _ in range(7)}

    assert answered == {UUID(request["request_id"]) for request in requests} - {newer}
    assert (await row_of(db, newer))["status"] == "processing"
    noted = [event for event in events if event["event"] == "request.cannot_be_opened"]
    assert [(event["request_id"], event["reason"]) for event in noted] == [
        (str(newer), "this version cannot read it")
    ]
    assert not [event for event in events if event["event"] == "recovery.failed"]
