"""A worker that is paused takes nothing, gives back what it has not begun, and stays ready."""

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import aio_pika
import asyncpg
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.faults.proxy import proxy_to
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    eventually,
    good_request,
    http_get,
    metric_becomes,
    ready_and_readers,
    response_in,
    row_of,
    told,
)

from schemas import CreateSessionRequest
from worker.handlers import Context, RetryLater
from worker.monitoring import log
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.stack import Stack
from worker.testing.running import RunningWorker

PAUSE = "insert into pauses (scope, name, reason, paused_by) values ($1, $2, 'a look at it', 'me@here')"


async def id_of_the_one(db: asyncpg.Connection) -> str:
    """Returns the id of the only worker that there is."""
    rows = await db.fetch("select id from workers")
    assert len(rows) == 1
    return str(rows[0]["id"])


async def until_paused(worker: RunningWorker, status: str = "paused") -> dict[str, Any]:
    """Waits until the worker says so; returns what it says."""

    async def look() -> dict[str, Any] | None:
        code, page = await http_get(worker, "/readyz")
        shown: dict[str, Any] = json.loads(page)
        return shown if (code, shown["status"]) == (200, status) else None

    return await eventually(look)


async def consumers(desk: Desk) -> int:
    _, readers = await ready_and_readers(desk.channel, names_for(desk.prefix).requests)
    return readers


async def until_consumers(desk: Desk, number: int) -> None:
    async def look() -> bool:
        return await consumers(desk) == number

    await eventually(look)


async def send_cancellation(desk: Desk, request_id: str) -> None:
    body = json.dumps({"operation": "cancel_session", "request_id": request_id})
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
    await exchange.publish(aio_pika.Message(body.encode(), reply_to=desk.reply_to), routing_key="cancel")


async def test_what_a_paused_worker_has_not_begun_is_worked_on_by_another(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, settings: Settings
) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))
    go_on = asyncio.Event()
    calls = 0

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await go_on.wait()

    async def done() -> tuple[int, int]:
        """Returns how many the first worker has done, and the other one."""
        by = "select count(*) filter (where worker = $1), count(*) filter (where worker <> $1) "
        row = await db.fetchrow(by + "from listed_requests where published_at is not null", UUID(name))
        return row[0], row[1]

    async def have_done(first: int, second: int) -> None:
        async def look() -> bool:
            return await done() == (first, second)

        await eventually(look)

    one_call = {"handler_concurrency": 1, "prefetch": 20}
    first = await new_worker(handler=steer(act), **one_call)
    requests = [good_request() for _ in range(6)]
    for request in requests:
        await desk.send(request)
    await metric_becomes(5, first, "worker_buffered_requests")
    name = await id_of_the_one(db)
    second = await new_worker(handler=steer(act), **one_call)

    with capture_logs() as events:
        await db.execute(PAUSE, "worker", name)
        answers = [response_in(await desk.next()) for _ in range(5)]
        await have_done(0, 5)
        shown = await until_paused(first)
        assert shown == {
            "status": "paused", "scope": "worker", "reason": "a look at it", "by": "me@here", "until": None,
        }  # fmt: skip
        assert await http_get(second, "/readyz") == (200, '{"status": "ready"}')
        await metric_becomes(1, first, "worker_paused", scope="worker")
        await metric_becomes(0, second, "worker_paused", scope="worker")
        go_on.set()
        answers.append(response_in(await desk.next()))
        answers += [await desk.ask(good_request()) for _ in range(5)]
        await have_done(1, 10)  # what was running has ended as ever
        await second.stop()
        await db.execute("delete from pauses")
        answers.append(await desk.ask(good_request()))
        await told(events, "worker.resumed", 1)

    await have_done(2, 10)
    assert {answer.status for answer in answers} == {"completed"}
    (paused,) = [one for one in events if one["event"] == "worker.paused"]
    assert (paused["scope"], paused["reason"], paused["by"]) == ("worker", "a look at it", "me@here")
    assert await db.fetchval("select max(attempt) from requests") == 1
    assert await db.fetchval("select count(*) from attempts") == 0
    assert await desk.count(names_for(desk.prefix).dead) == 0
    assert await desk.count(names_for(desk.prefix).undelivered) == 0


async def test_a_paused_worker_claims_no_retry_and_no_waiting_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    calls = Counter[int]()

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        calls[context.attempt] += 1
        if calls == {1: 1}:
            await db.execute(PAUSE, "worker", name)
            await until_paused(worker)
            raise RetryLater(0.05, "now that it is paused")

    worker = await new_worker(handler=steer(act))
    name = await id_of_the_one(db)
    await db.execute(PAUSE, "org", "held")
    await metric_becomes(1, worker, "worker_paused", scope="org")
    held = good_request() | {"org_id": "held"}
    await desk.send(held)

    async def waits() -> bool:
        return bool(await db.fetchval("select count(*) from requests where waits_in = 'held'"))

    await eventually(waits)
    await desk.send(request := good_request())
    await until_paused(worker)
    await eventually(lambda: db.fetchval("select true from requests where due_at < now()"))
    await db.execute("delete from pauses where scope = 'org'")
    await metric_becomes(0, worker, "worker_paused", scope="org")
    await metric_becomes(1, worker, "worker_retries_due")
    row = await row_of(db, held["request_id"])
    assert (calls, row["status"]) == ({1: 1}, "pending")

    await db.execute("delete from pauses")
    answers = [response_in(await desk.next()) for _ in range(2)]
    assert {str(one.request_id): one.status for one in answers} == {
        request["request_id"]: "completed",
        held["request_id"]: "completed",
    }


async def test_a_paused_worker_goes_on_cancelling(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE, "org", "org-1")
    worker = await new_worker()
    await desk.send(request := good_request())

    async def waits() -> bool:
        return bool(await db.fetchval("select count(*) from requests where waits_in is not null"))

    await eventually(waits)
    await db.execute(PAUSE, "worker", await id_of_the_one(db))
    await until_paused(worker)
    await send_cancellation(desk, request["request_id"])

    assert response_in(await desk.next()).metadata["code"] == "cancelled"


async def test_a_paused_worker_stays_so_on_a_new_connection_and_stops_at_once(
    stack: Stack, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async with proxy_to(stack.amqp_url) as (proxy, url):
        worker = await new_worker(amqp_url=SecretStr(url))
        await until_consumers(desk, 1)
        await db.execute(PAUSE, "worker", await id_of_the_one(db))
        await until_paused(worker)
        await until_consumers(desk, 0)
        down = asyncio.create_task(worker.readiness.until_down("requests"))
        assert proxy.cut(refuse=True)
        await asyncio.wait_for(down, 60)
        assert (await http_get(worker, "/readyz"))[0] == 503, "a part that is down counts before a pause"
        proxy.heal()
        await asyncio.wait_for(worker.readiness.until_up(), 60)
        await until_paused(worker)
        await desk.send(request := good_request())
        await desk.until_there_are(1, names_for(desk.prefix).requests)
        assert await consumers(desk) == 0

        await asyncio.wait_for(worker.stop(), 20)
    await new_worker()  # of another id: it is not paused
    answer = response_in(await desk.next())
    assert (str(answer.request_id), answer.status) == (request["request_id"], "completed")


async def test_what_is_held_for_want_of_room_is_given_back_by_a_paused_worker(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE, "org", "org-1")
    worker = await new_worker(max_waiting=0)
    await desk.send(good_request())
    await metric_becomes(1, worker, "worker_in_flight_requests")
    await db.execute(PAUSE, "worker", await id_of_the_one(db))

    await desk.until_there_are(1, names_for(desk.prefix).requests)


async def test_while_all_is_paused_a_worker_is_ready_and_requests_wait_on_record(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, settings: Settings
) -> None:
    worker = await new_worker()
    await db.execute(
        "insert into pauses (scope, reason, paused_by, ends_at) values ('all', 'r', 'me', now() + $1)",
        timedelta(hours=1),
    )
    shown = await until_paused(worker)
    later = await new_worker()
    await desk.send(request := good_request())

    async def waits() -> bool:
        return bool(await db.fetchval("select count(*) from requests where waits_in is not null"))

    await eventually(waits)
    assert shown["scope"] == "all"
    assert shown["until"]
    assert await until_paused(later) == shown
    assert await desk.count(names_for(settings.prefix).requests) == 0
    await db.execute("update pauses set ends_at = now() + interval '0.5 s'")
    assert str(response_in(await desk.next()).request_id) == request["request_id"], "it ends by itself"
    await until_paused(worker, "ready")
