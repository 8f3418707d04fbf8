"""The end-to-end time agrees with the requester's own clock, and its count with the answers."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter, time
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
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

from schemas import CreateSessionRequest
from worker.client import Client
from worker.handlers import Context, Rejected, RetryLater
from worker.monitoring.metrics import Metrics
from worker.monitoring.tracing import OFF
from worker.postgres.store import Store
from worker.process.identity import Identity
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.writing import Outgoing
from worker.settings import Settings
from worker.stack import Stack
from worker.steps.answering import Answering
from worker.testing.running import RunningWorker
from worker.values import Answer, Beginning, Receipt, Route

TRIES = 4
_SUM = "worker_end_to_end_seconds_sum"
_COUNT = "worker_end_to_end_seconds_count"
CANCELLED_AND_NOTED = "select count(published_at) = 3 from listed_requests where code = 'cancelled'"


@pytest_asyncio.fixture
async def client(stack: Stack, prefix: str) -> AsyncIterator[Client]:
    async with Client(stack.amqp_url, prefix) as opened:
        yield opened


async def test_it_is_what_the_client_s_own_clock_says(new_worker: NewWorker, client: Client) -> None:
    """The two agree within 5 %, also after a retry. Few run at once, and long: this process is client and
    worker, so a wait for its turn would not be the worker's."""

    async def wait(_request: CreateSessionRequest, context: Context) -> None:
        await asyncio.sleep(0.4)
        if context.attempt == 1 and context.deadline_at is None:
            raise RetryLater(0.05)

    took = {"direct": 0.0, "retried": 0.0}
    shown = took.copy()
    worker = await new_worker(handler=steer(wait))

    async def ask(path: str, times: int) -> None:
        for _ in range(times):
            begun = perf_counter()
            await client.create_session(org_id="org-1", timeout=30 if path == "direct" else None)
            took[path] += perf_counter() - begun

    async def all_agree(times: int) -> bool:
        before = took.copy(), shown.copy()
        await asyncio.gather(*(ask("direct", 8) for _ in range(4)), ask("retried", 3), ask("retried", 3))
        agree = []
        for path, count in {"direct": 32, "retried": 6}.items():
            await metric_becomes(count * times, worker, _COUNT, path=path, status="completed")
            shown[path] = await metric_of(worker, _SUM, path=path, status="completed") or 0.0
            by_client, by_worker = took[path] - before[0][path], shown[path] - before[1][path]
            agree.append(by_worker == pytest.approx(by_client, rel=0.05))
        return all(agree)

    await client.connect()
    # A machine that stood still, or was busy, while answers were on their way has another try.
    for times in range(1, TRIES + 1):
        if await all_agree(times):
            return
    raise AssertionError(f"{took} by the client's clock, {shown} by the worker's")


async def act(request: CreateSessionRequest, context: Context) -> None:
    match request.payload.name:
        case "rejected":
            raise Rejected("no")
        case "retried" if context.attempt == 1:
            raise RetryLater(0.01)
        case "exhausted":
            raise KeyError
        case "cancelled":
            await asyncio.Event().wait()
        case "recovered" if context.attempt == 1:
            await asyncio.Event().wait()


async def test_its_count_is_that_of_the_answers(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts each request's first confirmed response by path and status, as `published_at` does."""
    calm = {"handler": steer(act), "lease_seconds": 1, "retry_base_seconds": 0.01, "retry_cap_seconds": 0.01}
    first = await new_worker(**calm, max_attempts=2)
    for name in ("completed", "completed", "rejected", "retried", "exhausted"):
        for _ in range(3):
            await desk.ask(good_request(None, name=name))
    for _ in range(3):
        await desk.ask(good_request(None, name=17))  # invalid
        await desk.ask(good_request(), headers={"deadline": 1})
        await desk.send(good_request(), reply_to="nobody-reads-this")  # no answer is confirmed
    again = good_request()
    for _ in range(3):
        await desk.ask(again)
        await desk.ask(again | {"org_id": "org-2"})  # a conflict is no answer of the request's
    cancelled = [good_request(None, name="cancelled") for _ in range(3)]
    for request in cancelled:
        await desk.send(request)
    await running(first, 3)
    for request in cancelled:
        await cancel(desk, request["request_id"])
        assert {json.loads((await desk.next()).body)["request_id"] for _ in range(2)} == {
            request["request_id"]
        }
    recovered = [good_request(None, name="recovered") for _ in range(3)]
    unanswered = {request["request_id"] for request in recovered}
    for request in recovered:
        await desk.send(request)
    await running(first, 6)  # those of cancelled requests are not ended
    await eventually(lambda: db.fetchval(CANCELLED_AND_NOTED))  # or another one answers them again
    counts = await ways(first)
    with monkeypatch.context() as patched:
        patched.setattr("worker.app._sign_off", say_nothing)
        await first.vanish()

    second = await new_worker(**calm, max_attempts=2)
    while unanswered:
        # In between there are the cancelled ones, whose deliveries came again: not for the first time.
        unanswered -= {json.loads((await desk.next()).body)["request_id"]}
    await desk.ask(again)  # answered again by another worker

    answered = await eventually(  # which is noted after it is counted
        lambda: db.fetchval(
            "select count(published_at) from listed_requests having count(published_at) = count(*) - 3"
        )
    )
    counts += await ways(second)
    assert counts == {
        ("direct", "completed"): 7,
        ("direct", "failed"): 3 + 3 + 3 + 3,
        ("retried", "completed"): 3,
        ("retried", "failed"): 3,
        ("recovered", "completed"): 3,
    }
    assert sum(counts.values()) == answered


async def test_a_response_that_only_recovery_could_publish_is_counted(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """Its worker had finished it, and died before the broker had the response."""
    worker = await new_worker(lease_seconds=1)
    request = good_request()
    await desk.ask(request)
    await worker.stop()
    await db.execute("delete from confirmed_leases")
    worker = await new_worker()

    await desk.ask(request)

    await metric_becomes(1, worker, _COUNT, path="recovered", status="completed")
    assert await ways(worker) == {("recovered", "completed"): 1}


async def test_one_that_goes_apart_is_counted_as_any_other() -> None:
    metrics, noted = Metrics(), list[UUID]()

    async def apart(outgoing: Sequence[Outgoing]) -> list[Receipt]:
        return [Receipt.CONFIRMED for _ in outgoing]

    dispatcher: Any = SimpleNamespace(publish_apart=apart)
    nobody: Any = None
    me = Identity(uuid4(), "host", 1, "1")

    def note(request_ids: Sequence[UUID], _lease: int | None) -> None:
        noted.extend(request_ids)

    answering = Answering(me, names_for("p"), nobody, dispatcher, nobody, note, nobody, metrics, OFF)
    request_id = uuid4()
    route = Route("amq.rabbitmq.reply-to.x", None, None)
    since = Beginning(time() - 2, "recovered")

    await answering.answer_apart([Answer(request_id, "completed", None, "{}", str(request_id), route, since)])

    assert noted == [request_id]
    took = metrics.registry.get_sample_value(_SUM, {"path": "recovered", "status": "completed"})
    assert took is not None
    assert 2 <= took < 10


@pytest.mark.parametrize(
    ("stamp", "header", "expected"),
    [
        pytest.param(100.5, None, 100.5, id="the body's"),
        pytest.param(100.5, 50.25, 100.5, id="the body's before the header's"),
        pytest.param(100, None, 0, id="whole seconds in the body"),
        pytest.param(100, 50.25, 50.25, id="the header's"),
        pytest.param(-86_400.5, None, 0, id="tomorrow"),
        pytest.param(200_000.5, None, 0, id="days ago"),
    ],
)
async def test_where_it_begins(
    new_worker: NewWorker, desk: Desk, stamp: float, header: float | None, expected: float
) -> None:
    worker = await new_worker()
    now = int(time())
    made = datetime.fromtimestamp(now, UTC) - timedelta(seconds=stamp)
    request = good_request() | {"timestamp": made.isoformat().replace("+00:00", "Z")}

    await desk.ask(
        request,
        headers=None if header is None else {"timestamp_in_ms": int((now - header) * 1000)},
        timestamp=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),  # the property, in whole seconds
    )

    took = await eventually(lambda: metric_of(worker, _SUM))  # noted once the confirm is there
    assert expected <= took < expected + 8


async def test_the_wait_in_the_queue_of_what_is_tried_again_is_in_it(
    settings: Settings, new_worker: NewWorker, desk: Desk
) -> None:
    """The record is enough to tell when it was asked for."""
    await declare_topology(settings)
    made = datetime.now(UTC).replace(microsecond=1) - timedelta(seconds=100)  # whole seconds do not count
    await desk.send(good_request(None, name="retried") | {"timestamp": made.isoformat()})
    worker = await new_worker(handler=steer(act))
    await desk.next()

    took = await eventually(lambda: metric_of(worker, _SUM, path="retried"))
    assert 100 <= took < 120


async def cancel(desk: Desk, request_id: UUID | str) -> None:
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
    body = {"request_id": str(request_id), "operation": "cancel_session"}
    message = aio_pika.Message(json.dumps(body).encode(), reply_to=desk.reply_to, correlation_id=str(uuid4()))
    await exchange.publish(message, routing_key="cancel", mandatory=True)


async def say_nothing(_store: Store) -> None:
    """Signs off as a killed worker does: it says nothing."""


async def running(worker: RunningWorker, calls: int) -> None:
    async def look() -> bool:
        return await metric_of(worker, "worker_handler_running") == calls

    await eventually(look)


async def ways(worker: RunningWorker) -> Counter[tuple[str, str]]:
    """Counts the answers by path and status."""
    _, text = await http_get(worker, "/metrics")
    return Counter(
        {
            (sample.labels["path"], sample.labels["status"]): int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == _COUNT
        }
    )
