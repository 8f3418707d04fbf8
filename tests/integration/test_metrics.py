"""What a worker counts, after some requests of each kind."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from harness import Desk, NewWorker, good_request, http_get, metric_of
from prometheus_client.parser import text_string_to_metric_families
from steering import steer

from schemas import CreateSessionRequest
from worker.creator import Context
from worker.errors import Rejected, RetryLater
from worker.topology import names_for

NAMES = {
    "worker_requests", "worker_duplicates", "worker_retries", "worker_recovered", "worker_lost_fences",
    "worker_dead_letters", "worker_responses", "worker_stage_seconds", "worker_batch_requests",
    "worker_end_to_end_seconds", "worker_in_flight_requests", "worker_buffered_requests", "worker_part_up",
    "worker_expired_sessions", "worker_retired_requests",
}  # fmt: skip


async def act(request: CreateSessionRequest, context: Context) -> None:
    if request.payload.name == "reject":
        raise Rejected("no")
    if request.payload.name == "again" and context.attempt == 1:
        raise RetryLater(0.01)


async def test_every_metric_is_there(new_worker: NewWorker) -> None:
    worker = await new_worker()

    status, text = await http_get(worker, "/metrics")

    families = {
        family.name: family
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")  # the library's own: since when it counts
    }
    assert status == 200
    assert set(families) >= NAMES
    assert {name for name in families if name.startswith("worker_")} == NAMES
    assert all(families[name].documentation for name in NAMES)
    assert {sample.labels["part"]: sample.value for sample in families["worker_part_up"].samples} == {
        "postgres": 1,
        "requests": 1,
        "responses": 1,
    }


async def test_the_counts_are_right_after_some_of_each_kind(new_worker: NewWorker, desk: Desk) -> None:
    worker = await new_worker(handler=steer(act))
    good = good_request()
    for _ in range(3):
        await desk.ask(good_request())
    await desk.ask(good)
    await desk.ask(good)  # answered again
    await desk.ask(good | {"org_id": "org-2"})  # a conflict
    await desk.ask(good_request() | {"operation": "x"})
    await desk.ask(good_request() | {"operation": "y"})
    await desk.ask(good_request(), headers={"deadline": 1})
    await desk.ask(good_request(None, name="reject"))
    await desk.ask(good_request(None, name="again"))
    await desk.send(b"nothing")
    await desk.take_from(names_for(desk.prefix).dead)

    async def count(name: str, **labels: str) -> float | None:
        return await metric_of(worker, name, **labels)

    assert await count("worker_requests_total", status="completed", code="") == 5
    assert await count("worker_requests_total", status="failed", code="invalid_request") == 2
    assert await count("worker_requests_total", status="failed", code="deadline_exceeded") == 1
    assert await count("worker_requests_total", status="failed", code="rejected") == 1
    assert await count("worker_duplicates_total", kind="answered_again") == 1
    assert await count("worker_duplicates_total", kind="conflict") == 1
    assert await count("worker_retries_total") == 1
    assert await count("worker_recovered_total", kind="tried_again") == 1
    assert await count("worker_dead_letters_total") == 1
    assert await count("worker_responses_total", result="confirmed") == 11 + 1, "and the dead letter"
    assert await count("worker_batch_requests_count") == 12
    assert await count("worker_batch_requests_sum") == 12
    for stage in ("decode", "accept", "create", "finish", "publish", "settle"):
        seen = await count("worker_stage_seconds_count", stage=stage)
        assert seen is not None
        assert seen >= 9, stage
    assert await count("worker_buffered_requests") == 0
    assert await count("worker_in_flight_requests") == 0


async def test_the_end_to_end_time_counts_from_the_message_s_timestamp(
    new_worker: NewWorker, desk: Desk
) -> None:
    worker = await new_worker()

    await desk.ask(good_request())
    without = await metric_of(worker, "worker_end_to_end_seconds_sum")
    await desk.ask(good_request(), timestamp=datetime.now(UTC) - timedelta(seconds=100))

    assert without is not None
    assert 0 < without < 5
    assert await metric_of(worker, "worker_end_to_end_seconds_sum") == pytest.approx(100, abs=7)
    assert await metric_of(worker, "worker_end_to_end_seconds_count") == 2


async def test_what_is_in_flight_shows_while_it_is(new_worker: NewWorker, desk: Desk) -> None:
    three, go_on, calls = asyncio.Event(), asyncio.Event(), 0

    async def wait(_request: CreateSessionRequest, _context: Context) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            three.set()
        await go_on.wait()

    worker = await new_worker(handler=steer(wait), handler_concurrency=3)
    for _ in range(3):
        await desk.send(good_request(uuid4()))
    await asyncio.wait_for(three.wait(), 10)

    assert await metric_of(worker, "worker_in_flight_requests") == 3

    go_on.set()
    for _ in range(3):
        await desk.next()
