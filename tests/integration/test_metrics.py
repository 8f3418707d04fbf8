"""A worker's metrics count each kind of request."""

import asyncio
import re
from pathlib import Path
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    http_get,
    metric_becomes,
    metric_of,
)
from support.metrics_table import documented

from schemas import CreateSessionRequest
from worker.handlers import Context, Rejected, RetryLater
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
ABOUT_CODE = "architecture.md"  # it names functions
PAGES = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if page.name != ABOUT_CODE)]
SERIES = re.compile(r"\bworker_[a-z_]+|(?<=`)_[a-z]+(?=`)")  # a name, or the end of one, such as `_total`
STAGES = ("decode", "accept", "create", "finish", "publish", "settle")


async def act(request: CreateSessionRequest, context: Context) -> None:
    if request.payload.name == "reject":
        raise Rejected("no")
    if request.payload.name == "again" and context.attempt == 1:
        raise RetryLater(0.01)


async def test_a_worker_tells_the_metrics_of_the_table_and_no_other(
    new_worker: NewWorker, desk: Desk
) -> None:
    worker = await new_worker(handler=steer(act))
    await desk.ask(good_request())

    status, text = await http_get(worker, "/metrics")

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert status == 200
    assert {name for name in families if name.startswith("worker_")} == {
        name.removesuffix("_total") for name in documented()
    }
    assert all(family.documentation for family in families.values())
    assert "_created" not in text, "when a series was made says nothing, and doubles the page"
    assert {sample.labels["part"]: sample.value for sample in families["worker_part_up"].samples} == {
        "postgres": 1,
        "requests": 1,
        "responses": 1,
        "response_queue": 1,
        "dead_letters": 1,
    }


async def test_the_documentation_names_no_series_that_a_worker_does_not_have(
    new_worker: NewWorker, desk: Desk
) -> None:
    worker = await new_worker(handler=steer(act))
    await desk.ask(good_request())

    _, text = await http_get(worker, "/metrics")
    families = list(text_string_to_metric_families(text))
    there = {sample.name for family in families for sample in family.samples}
    there |= {f"{family.name}_total" if family.type == "counter" else family.name for family in families}

    named = {name for page in PAGES for name in SERIES.findall(page.read_text("utf-8"))}
    assert len(named) > 25
    assert {name for name in named if not any(series.endswith(name) for series in there)} == set()


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
    await desk.send(b"nothing", reply_to=None)
    await desk.take_from(names_for(desk.prefix).dead)

    async def count(name: str, **labels: str) -> float | None:
        return await metric_of(worker, name, **labels)

    await metric_becomes(12, worker, "worker_responses_total", result="confirmed")
    await metric_becomes(1, worker, "worker_dead_letters_total")
    await metric_becomes(1, worker, "worker_retried_total")
    await metric_becomes(0, worker, "worker_in_flight_requests")  # each of these follows its message
    assert await count("worker_requests_total", status="completed", code="") == 5
    assert await count("worker_requests_total", status="failed", code="invalid_request") == 2
    assert await count("worker_requests_total", status="failed", code="deadline_exceeded") == 1
    assert await count("worker_requests_total", status="failed", code="rejected") == 1
    assert await count("worker_duplicates_total", kind="answered_again") == 1
    assert await count("worker_duplicates_total", kind="conflict") == 1
    assert await count("worker_retries_total") == 1
    assert await count("worker_retried_total") == 1
    assert await count("worker_recovered_total", kind="tried_again") is None, "nobody crashed"
    assert await count("worker_dead_letters_total") == 1
    assert await count("worker_responses_total", result="confirmed") == 11 + 1, "and the dead letter"
    assert await count("worker_batch_requests_count") == 12
    assert await count("worker_batch_requests_sum") == 12
    for stage in STAGES:
        seen = await count("worker_stage_seconds_count", stage=stage)
        assert seen is not None
        assert seen >= 9, stage
    assert await count("worker_buffered_requests") == 0
    assert await count("worker_in_flight_requests") == 0


async def test_a_stage_counts_once_for_each_batch(
    settings: Settings, new_worker: NewWorker, desk: Desk
) -> None:
    """It counts once, in however many groups the batch's calls end."""
    await declare_topology(settings)
    turns = [asyncio.Event() for _ in range(8)]

    async def one_after_the_other(request: CreateSessionRequest, _context: Context) -> None:
        await turns[int(request.payload.name or "")].wait()

    for number in range(8):
        await desk.send(good_request(None, name=str(number)))
    worker = await new_worker(handler=steer(one_after_the_other))
    for turn in turns:
        turn.set()
        await desk.next()

    async def counts() -> dict[str, float | None] | None:
        found = {
            stage: await metric_of(worker, "worker_stage_seconds_count", stage=stage) for stage in STAGES
        }
        return found if found["settle"] == 8 and found["create"] == found["decode"] else None

    found = await eventually(counts)
    batches = await metric_of(worker, "worker_batch_requests_count") or 0
    assert 1 <= batches < 8, "some were in one batch"
    assert found == {
        "decode": batches, "accept": batches, "create": batches, "finish": 8, "publish": 8, "settle": 8,
    }  # fmt: skip


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
    await asyncio.wait_for(three.wait(), 60)

    assert await metric_of(worker, "worker_in_flight_requests") == 3

    go_on.set()
    for _ in range(3):
        await desk.next()
