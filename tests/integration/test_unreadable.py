"""Messages without a request id become dead letters, with the reason and nothing else."""

import asyncio
import gzip
import json
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pamqp import commands as spec
from structlog.testing import capture_logs
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    metric_becomes,
    metric_of,
    response_in,
    told,
)

from worker import app
from worker.messages.dead_letters import dead_letter_properties
from worker.messages.envelope import Message
from worker.monitoring import tally
from worker.process.identity import package_version
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.steps import answering, lanes
from worker.steps.accepting import Accepted, Accepting
from worker.values import Arrival

MARK = "conspicuous-text"
SENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOWHERE = "; and no request id was found in it"

NO_UUID = (
    "the request is not valid: request_id must be a UUID of 36 characters, 8-4-4-4-12, "
    "org_id is required, operation is required"
)

UNREADABLE = [
    pytest.param(b"", {}, "the body is empty", id="empty"),
    pytest.param(MARK.encode(), {}, "the body is not JSON: Expecting value at character 0", id="not JSON"),
    pytest.param(f'["{MARK}"]'.encode(), {}, "the body is JSON, but not an object", id="array"),
    pytest.param(
        f'{{"a": "{MARK}"}}'.encode(),
        {},
        "the request is not valid: request_id is required, org_id is required, operation is required",
        id="another kind of object",
    ),
    pytest.param(f'{{"request_id": "{MARK}"}}'.encode(), {}, NO_UUID, id="no UUID"),
    pytest.param(b'{"request_id": 7}', {"correlation_id": MARK}, NO_UUID, id="neither is a UUID"),
    pytest.param(
        gzip.compress(json.dumps(good_request()).encode()),
        {},
        "the body is not UTF-8 text (it looks gzip-compressed: send it plain)",
        id="gzip without saying so",
    ),
    pytest.param(
        b"\x89PNG" + MARK.encode(),
        {"content_type": "image/png"},
        "the body is not UTF-8 text",
        id="a picture",
    ),
    pytest.param(
        b"x" * 2_000_000, {}, "the message has 2000000 bytes, more than the 1048576 allowed", id="too large"
    ),
]


@pytest.mark.parametrize(("body", "properties", "reason"), UNREADABLE)
async def test_an_unreadable_message_is_a_dead_letter_that_says_why(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    body: bytes,
    properties: dict[str, Any],
    reason: str,
) -> None:
    worker = await new_worker()
    before = datetime.now(UTC)

    with capture_logs() as events:
        await desk.send(body, message_id="theirs-1", timestamp=SENT, **properties)
        dead = await desk.take_from(names_for(desk.prefix).dead)

    headers = dict(dead.headers)
    headers.pop("x-delivery-count", None)  # RabbitMQ's own
    assert before <= datetime.fromisoformat(str(headers.pop("x-failed-at"))) <= datetime.now(UTC)
    assert headers == {
        "x-reason": reason + NOWHERE,
        "x-code": "unreadable",
        "x-worker": f"{socket.gethostname()}:{os.getpid()}",
        "x-version": package_version(),
        "x-original-message-id": "theirs-1",
        "x-original-app-id": "",
        "x-original-user-id": "",
        "x-original-exchange": names_for(desk.prefix).requests,
        "x-original-routing-key": "create",
    }
    assert dead.body == body
    assert dead.correlation_id == properties.get("correlation_id")
    assert (dead.reply_to, dead.timestamp) == (desk.reply_to, SENT)
    assert dead.delivery_mode == 2
    assert UUID(str(dead.message_id))
    field = "request_id" if "request_id" in reason else None if "allowed" in reason else "(body)"
    assert events == [
        {
            "event": "request.unreadable",
            "log_level": "warning",
            "reason": reason + NOWHERE,
            "field": field,
            "app_id": None,
            "routing_key": "create",
            "bytes": len(body),
            "dead_letter": dead.message_id,
        }
    ]
    assert MARK not in str(events)
    told = await desk.next()
    answer = response_in(told)
    assert (answer.status, answer.error) == ("failed", reason + NOWHERE)
    assert answer.metadata["code"] == ("too_large" if len(body) > 1_048_576 else "invalid_request")
    assert answer.metadata["recorded"] is False
    assert told.correlation_id == properties.get("correlation_id", str(answer.request_id))
    assert (await desk.ask(good_request())).status == "completed"
    assert desk.arrived.empty()
    assert await db.fetchval("select count(*) from requests") == 1
    assert await desk.count(names_for(desk.prefix).requests) == 0
    await metric_becomes(1, worker, "worker_dead_letters_total")


@pytest.mark.parametrize("seen_first", [True, False], ids=["its size is seen", "the broker refuses it"])
async def test_what_the_broker_does_not_take_is_buried_bare(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch, seen_first: bool
) -> None:
    """If its reason or properties exceed a frame, it is buried without them, and no delivery is held."""

    def far_too_much(message: Message, *given: Any) -> spec.Basic.Properties:
        properties = dead_letter_properties(message, *given)
        properties.headers = (properties.headers or {}) | {"x-reason": "k" * 200_000}
        return properties

    monkeypatch.setattr(answering, "dead_letter_properties", far_too_much)
    if not seen_first:
        monkeypatch.setattr(Publisher, "carries", lambda _self, _properties: True)
    worker = await new_worker()
    with capture_logs() as events:
        await desk.send(b"nothing", reply_to=None, correlation_id="theirs")

        dead = await desk.take_from(names_for(desk.prefix).dead)
        assert (await desk.ask(good_request())).status == "completed"

    assert dead.body == b"nothing"
    assert dead.headers["x-code"] == "unreadable"
    assert "did not take the reason" in str(dead.headers["x-reason"])
    lost = [one for one in events if one["event"] == "broker.lost"]
    assert (lost == []) == seen_first, "the connection of all is kept where that can be"
    await metric_becomes(1, worker, "worker_dead_letters_total")
    await metric_becomes(0, worker, "worker_in_flight_requests")


async def test_many_with_names_as_long_as_a_frame_stop_nobody(new_worker: NewWorker, desk: Desk) -> None:
    """They are more than a worker may hold, each with a name of 132 KB in it and no id."""
    worker = await new_worker(prefetch=64)
    with capture_logs() as events:
        for _ in range(80):
            await desk.send(json.dumps({"k" * 132_000: chr(0)}), reply_to=None)
        assert (await desk.ask(good_request())).status == "completed"

        async def buried() -> bool:
            return await desk.count(names_for(desk.prefix).dead) == 80

        await eventually(buried)

    assert not [one for one in events if one["event"] in ("broker.lost", "dead_letter.unpublishable")]
    assert max(len(str(one)) for one in events) < 2000
    await metric_becomes(80, worker, "worker_dead_letters_total")


async def test_unreadable_messages_do_not_use_up_the_room_of_a_handler(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker(handler="support.handlers:harmless", handler_concurrency=2)

    for _ in range(10):
        await desk.send(b"nothing", reply_to=None)

    for _ in range(10):
        await desk.take_from(names_for(desk.prefix).dead)
    assert (await desk.ask(good_request())).status == "completed"


async def test_a_dead_letter_that_finds_no_queue_is_held_until_there_is_one(
    settings: Settings, new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "UNBURIED_SECONDS", 0.05)
    monkeypatch.setattr(tally, "SECONDS", 0.05)
    names = names_for(desk.prefix)
    worker = await new_worker()
    await desk.channel.queue_delete(names.dead)

    with capture_logs() as events:
        await desk.send(b"nothing", reply_to=None)
        refused = [await told(events, "dead_letter.no_queue", count) for count in (1, 3)]
        assert worker.readiness.reasons.keys() == {"dead_letters"}
        assert (await desk.ask(good_request())).status == "completed", "it holds up nobody"

    assert "topology apply" in refused[0]["remedy"]
    assert await metric_of(worker, "worker_dead_letters_total") == 0
    await declare_topology(settings)
    assert (await desk.take_from(names.dead)).body == b"nothing"
    await asyncio.wait_for(worker.readiness.until_up(), 60)
    await worker.stop()
    assert await desk.count(names.requests) == 0


async def test_a_dead_letter_that_finds_no_queue_is_none_twice_when_its_batch_fails(
    settings: Settings, new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "UNBURIED_SECONDS", 0.05)
    monkeypatch.setattr(tally, "SECONDS", 0.05)
    monkeypatch.setattr(lanes, "_PAUSE_SECONDS", 0.05)
    names, batches = names_for(desk.prefix), 0
    first_begun, gate = asyncio.Event(), asyncio.Event()
    accept = Accepting.accept

    async def failing_second(self: Accepting, arrivals: Sequence[Arrival], lease: int) -> Accepted:
        nonlocal batches
        batches += 1
        if batches == 1:
            first_begun.set()
            await gate.wait()  # meanwhile the others become one batch
        if batches == 2:
            raise RuntimeError
        return await accept(self, arrivals, lease)

    monkeypatch.setattr(Accepting, "accept", failing_second)
    worker = await new_worker(batches=1)
    await desk.channel.queue_delete(names.dead)
    with capture_logs() as events:
        await desk.send(good_request())
        await first_begun.wait()
        await desk.send(b"nothing", reply_to=None)
        await desk.send(good_request())
        await metric_becomes(2, worker, "worker_buffered_requests")
        gate.set()
        for _ in range(2):
            assert response_in(await desk.next()).status == "completed"
        await told(events, "batch.failed", 1)
        await told(events, "dead_letter.no_queue", 4)
    await declare_topology(settings)
    assert (await desk.take_from(names.dead)).body == b"nothing"
    assert (await desk.ask(good_request())).status == "completed"
    await worker.stop()
    assert await desk.count(names.dead) == 0
    assert not [event for event in events if event["event"] == "broker.lost"]


async def test_a_dead_letter_that_finds_no_queue_outlives_its_worker(
    settings: Settings, new_worker: NewWorker, desk: Desk
) -> None:
    names = names_for(desk.prefix)
    worker = await new_worker()
    await desk.channel.queue_delete(names.dead)
    with capture_logs() as events:
        await desk.send(b"nothing", reply_to=None)
        await told(events, "dead_letter.no_queue", 1)

    await worker.stop()

    async def given_back() -> bool:
        return await desk.count(names.requests) == 1

    await eventually(given_back)
    await declare_topology(settings)
    await new_worker()
    assert (await desk.take_from(names.dead)).body == b"nothing"
