"""Responses for a full queue wait on record, and no other responses wait with them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from pamqp.common import FieldTable
from structlog.testing import capture_logs
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    http_get,
    metric_becomes,
    metric_of,
    response_in,
)

from worker.monitoring import tally
from worker.postgres import waiting_answers
from worker.rabbitmq.topology import names_for
from worker.services import unanswered
from worker.settings import Settings
from worker.testing.running import RunningWorker

MANY, ROOM = 1200, 40
PREFETCH, MORE_THAN_PREFETCH = 20, 60
WAITING = "select count(*) from requests where answer_at is not null"


async def make_small(desk: Desk, room: int) -> None:
    """Replaces the response queue by a small one, as after a policy with such a `max-length`."""
    responses = names_for(desk.prefix).responses
    await desk.channel.queue_delete(responses)
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": room}
    queue = await desk.channel.declare_queue(
        responses, durable=True, arguments=arguments | {"x-overflow": "reject-publish"}
    )
    await queue.bind(responses, "#")


async def send_many(desk: Desk, count: int) -> set[str]:
    requests = [good_request(uuid4()) for _ in range(count)]
    for start in range(0, count, 100):
        await asyncio.gather(*(desk.send(one, reply_to=None) for one in requests[start : start + 100]))
    return {request["request_id"] for request in requests}


async def read_until(desk: Desk, wanted: set[str]) -> dict[str, set[bytes]]:
    """Reads the response queue until all of these have come; returns the bodies by message id."""
    copies: dict[str, set[bytes]] = {}
    channel = desk.channel
    async with asyncio.timeout(90):
        queue = await channel.get_queue(names_for(desk.prefix).responses, ensure=False)
        while not wanted <= copies.keys():
            if message := await queue.get(no_ack=True, fail=False):
                copies.setdefault(str(message.message_id), set()).add(message.body)
            else:
                await asyncio.sleep(0.01)  # the queue is empty: what is sent next sets no event here
    return copies


def counts(db: asyncpg.Connection, query: str, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        found: int = await db.fetchval(query)
        return found == wanted

    return look


async def reasons(worker: RunningWorker) -> dict[str, str]:
    told: dict[str, str] = json.loads((await http_get(worker, "/readyz"))[1]).get("reasons", {})
    return told


async def test_a_full_response_queue_stops_nobody_and_all_is_sent_when_there_is_room(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unanswered, "COUNT_SECONDS", 0.2)
    worker = await new_worker()
    victim = await new_worker()
    await make_small(desk, ROOM)
    with capture_logs() as events:
        wanted: set[str] = set()

        async def one_is_refused() -> bool:
            """Sends a few: the broker takes some batches more than there is room for."""
            wanted.update(await send_many(desk, ROOM))
            return any(one["event"] == "responses.refused" for one in events)

        await eventually(one_is_refused)
        wanted |= await send_many(desk, MANY)
        done = "select count(*) from requests where finished_at is not null"
        await eventually(counts(db, done, len(wanted)))

        for _ in range(20):
            assert (await desk.ask(good_request())).status == "completed", "it stops nobody"

        await victim.vanish()
        await eventually(lambda: db.fetchval(f"select ({WAITING}) >= {MANY // 2}"))

        async def counted() -> bool:
            shown = await metric_of(worker, "worker_unanswered_responses", state="refused")
            return bool(shown == await db.fetchval(WAITING))

        await eventually(counted)
        assert (await metric_of(worker, "worker_oldest_unanswered_seconds") or 0) > 0
        found = await eventually(lambda: reasons(worker))  # the other one may have been told before
        assert found.keys() == {"response_queue"}
        assert "is it full" in found["response_queue"]
        assert await metric_of(worker, "worker_part_up", part="response_queue") == 0

        copies = await read_until(desk, wanted)

    assert copies.keys() == wanted
    bodies = {
        str(row["request_id"]): row["response"].encode()
        for row in await db.fetch("select request_id, response from requests")
    }
    assert all(found == {bodies[one]} for one, found in copies.items()), "each copy has the same bytes"
    await eventually(counts(db, WAITING, 0))
    unpublished = "select count(*) from listed_requests where delivered <> 'confirmed'"
    await eventually(counts(db, unpublished, 0))
    await asyncio.wait_for(worker.readiness.until_up(), 60)
    assert len([one for one in events if one["event"] == "responses.refused"]) < MANY // 20, (
        "a count, not each one"
    )


async def test_what_waits_outlives_all_workers_and_a_queue_that_was_deleted(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    first = await new_worker()
    await make_small(desk, 5)
    wanted = await send_many(desk, 100)
    await eventually(counts(db, "select count(*) from requests where finished_at is not null", 100))
    await first.vanish()
    responses = names_for(desk.prefix).responses
    queue = await desk.channel.get_queue(responses, ensure=False)
    had: set[str] = set()
    while message := await queue.get(no_ack=True, fail=False):
        had.add(str(message.message_id))
    await desk.channel.queue_delete(responses)
    await declare_topology(settings)

    await new_worker(lease_seconds=3)

    assert had | (await read_until(desk, wanted - had)).keys() == wanted
    await eventually(counts(db, WAITING, 0))


async def test_a_conflict_waits_for_room_as_well_and_no_delivery_is_held_for_it(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker(prefetch=PREFETCH)
    request = good_request()
    await desk.ask(request)
    await make_small(desk, 1)
    kept = "select count(*) from other_answers"
    sent = 0

    async def send_conflict() -> None:
        nonlocal sent
        sent += 1
        await desk.send(request | {"user_id": f"other-{sent}"}, reply_to=None)

    async def one_is_refused() -> bool:
        await send_conflict()
        return bool(await db.fetchval(kept))

    await eventually(one_is_refused)
    for _ in range(MORE_THAN_PREFETCH):
        await send_conflict()
    await eventually(lambda: db.fetchval(f"select ({kept}) > {MORE_THAN_PREFETCH}"))
    assert (await desk.ask(good_request())).status == "completed", "more than the prefetch stop nobody"

    conflicts: set[str] = set()
    while len(conflicts) < sent:
        message = await desk.take_from(names_for(desk.prefix).responses)
        assert response_in(message).metadata["code"] == "request_id_conflict"
        conflicts.add(str(message.message_id))
    await eventually(counts(db, kept, 0))
    await metric_becomes(0, worker, "worker_in_flight_requests")


async def test_a_reply_queue_that_stays_full_is_tried_ever_more_seldom_and_given_up_after_a_day(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unanswered, "REPLIES_SECONDS", 0.05)
    # None of them is due again before the test makes it so: how often one is tried does not depend on how
    # long it takes to send all.
    monkeypatch.setattr(waiting_answers, "FIRST_WAIT_SECONDS", 600)
    limits: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = await desk.channel.declare_queue(exclusive=True, arguments=limits)
    await full.channel.default_exchange.publish(aio_pika.Message(b"not read"), full.name)
    worker = await new_worker()

    async def age(by: str) -> None:
        await db.execute("set session_replication_role = replica")  # nobody else may change these
        await db.execute(
            "with these as (select request_id as id from requests where answer_at is not null "
            "order by 1 for update) "  # as the worker does, which may put them off at this moment
            "update requests set finished_at = now() - $1::text::interval, answer_at = now() "
            "from these where request_id = id",
            by,
        )
        await db.execute("set session_replication_role = origin")

    with capture_logs() as events:
        await desk.send(good_request(), reply_to=full.name)
        await eventually(counts(db, WAITING, 1))
        for _ in range(39):
            await desk.send(good_request(), reply_to=full.name)
        await eventually(counts(db, WAITING, 40))
        before = await metric_of(worker, "worker_responses_total", result="refused") or 0
        assert before < 40, "one of them finds out for the others"
        await age("1 hour")
        soon = "select count(*) from requests where answer_at > now() + interval '23 minutes'"
        await eventually(counts(db, soon, 40))
        assert await db.fetchval("select max(answer_at) < now() + interval '37 minutes' from requests")
        await age("25 hours")
        await eventually(counts(db, WAITING, 0))

    given_up = await db.fetch("select undelivered, published_at from requests where undelivered is not null")
    assert {tuple(row) for row in given_up} == {("refused", None)}
    assert len(given_up) == 40
    await metric_becomes(40, worker, "worker_given_up_responses_total")
    told_of = [one for one in events if one["event"] == "response.refused"]
    assert 1 <= len(told_of) < 20, "a count, not each of forty"
    assert (await desk.ask(good_request())).status == "completed"
    assert tally.SECONDS >= 30


async def test_what_an_older_version_let_wait_under_a_lease_is_sent(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    request = good_request()
    await desk.ask(request)
    published = "select count(*) from listed_requests where published_at is not null"
    await eventually(counts(db, published, 1))
    async with db.transaction():  # a lease in which nothing is would be gone at once
        await db.execute("insert into leases (id, lease_until) values (1, now())")
        await db.execute("set local session_replication_role = replica")
        await db.execute(
            "update requests set lease = 1, published_at = null where request_id = $1",
            UUID(request["request_id"]),
        )

    assert str(response_in(await desk.next()).request_id) == request["request_id"]
