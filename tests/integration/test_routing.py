"""A response goes to the requester's queue, or to the exchange of the responses."""

import json

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
    metric_becomes,
    metric_of,
    response_in,
    row_of,
    told,
)
from support.raw_amqp import nested_table, send_raw, short_string, table

from worker.rabbitmq.topology import names_for
from worker.settings import Settings


async def listen(desk: Desk, key: str) -> aio_pika.abc.AbstractQueue:
    """Binds a queue of the test's own to the exchange of the responses."""
    queue = await desk.channel.declare_queue(exclusive=True)
    await queue.bind(names_for(desk.prefix).responses, key)
    return queue


async def test_without_a_reply_queue_a_response_is_routed_by_its_status(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    completed, failed = await listen(desk, "completed"), await listen(desk, "failed")
    good, bad = good_request(), good_request() | {"operation": "other"}

    await desk.send(good, reply_to=None)
    await desk.send(bad, reply_to=None)

    first, second = await desk.take_from(completed.name), await desk.take_from(failed.name)
    assert (first.routing_key, first.exchange) == ("completed", names_for(desk.prefix).responses)
    assert (second.routing_key, second.exchange) == ("failed", names_for(desk.prefix).responses)
    assert str(response_in(first).request_id) == good["request_id"]
    assert str(response_in(second).request_id) == bad["request_id"]
    for _ in range(2):
        await desk.take_from(names_for(desk.prefix).responses)
    assert await completed.get(fail=False) is None
    assert await failed.get(fail=False) is None


async def test_with_a_reply_queue_a_response_goes_there_and_nowhere_else(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    everything = await listen(desk, "#")

    await desk.send(good_request())

    answer = await desk.next()
    assert (answer.exchange, answer.routing_key) == ("", desk.reply_to)
    # What is published after it, on the same channel, has arrived: nothing was there before.
    await desk.send(last := good_request(), reply_to=None)
    assert str(response_in(await desk.take_from(everything.name)).request_id) == last["request_id"]
    await desk.until_there_are(1, names_for(desk.prefix).responses)


async def test_a_requester_who_is_gone_holds_up_nobody(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker()
    lost = good_request()

    with capture_logs() as events:
        await desk.send(lost, reply_to="nobody.here")
        await desk.ask(good_request())

        async def answered() -> bool:
            return await metric_of(worker, "worker_responses_total", result="unroutable") == 1

        await eventually(answered)

        async def noted() -> bool:
            return bool((await row_of(db, lost["request_id"]))["undelivered"])

        await eventually(noted)
    row = await row_of(db, lost["request_id"])
    assert row["response"]
    assert row["status"] == "completed"
    assert await db.fetchval("select count(*) from sessions") == 2
    await metric_becomes(1, worker, "worker_responses_total", result="confirmed")
    assert await desk.count(names_for(desk.prefix).responses) == 0
    assert events == [
        {
            "event": "response.unroutable",
            "log_level": "warning",
            "request_id": lost["request_id"],
            "queue": "nobody.here",
            "responses": 1,
        }
    ]
    assert (row["undelivered"], row["answer_at"], row["published_at"]) == ("unroutable", None, None)
    await metric_becomes(1, worker, "worker_given_up_responses_total")


async def test_a_requester_whose_queue_is_full_holds_up_nobody_and_is_answered_when_there_is_room(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    limits: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    small = await desk.channel.declare_queue(exclusive=True, arguments=limits)
    await new_worker(batches=1)
    with capture_logs() as events:
        for _ in range(3):
            await desk.send(good_request(), reply_to=small.name)
        for _ in range(3):
            assert (await desk.ask(good_request())).status == "completed"
        await told(events, "response.refused", 1)
        waiting = "select count(*) = 2 from requests where undelivered = 'refused' and answer_at is not null"
        await eventually(lambda: db.fetchval(waiting))
    heard = {str(response_in(await desk.take_from(small.name)).request_id)}
    while len(heard) < 3:  # the time that passes may find one that is not noted yet: it comes once more

        async def room_is_used() -> bool:
            await db.execute(
                "update requests set answer_at = now() where answer_at is not null"
            )  # time passes
            return (
                await desk.channel.declare_queue(small.name, passive=True)
            ).declaration_result.message_count == 1

        await eventually(room_is_used)
        heard.add(str(response_in(await desk.take_from(small.name)).request_id))
    rows = await db.fetch("select request_id from requests where reply_to = $1", small.name)
    assert heard == {str(row["request_id"]) for row in rows}


async def test_one_id_many_times_in_a_batch_is_one_session_and_as_many_answers(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    request = good_request()
    await declare_topology(settings)
    for _ in range(5):
        await desk.send(request)
    await desk.send(good_request())
    worker = await new_worker(batches=1)

    messages = [await desk.next() for _ in range(6)]

    same = [message for message in messages if message.message_id == request["request_id"]]
    assert len(same) == 5
    assert len({message.body for message in same}) == 1
    assert await db.fetchval("select count(*) from sessions") == 2
    assert await db.fetchval("select count(*) from requests") == 2
    assert await db.fetchval("select count(*) from request_transitions") == 6
    assert desk.arrived.empty()
    await metric_becomes(4, worker, "worker_duplicates_total", kind="answered_again")


LATIN = "Grüße".encode("latin-1")
SECONDS = (2**63 - 1).to_bytes(8, "big")


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param({"correlation_id": short_string(LATIN)}, id="correlation_id is no UTF-8"),
        pytest.param({"correlation_id": short_string(b"\xff" * 255)}, id="correlation_id is 255 wrong bytes"),
        pytest.param({"message_id": short_string(LATIN)}, id="message_id is no UTF-8"),
        pytest.param({"app_id": short_string(b"a\x00b")}, id="app_id holds NUL"),
        pytest.param({"correlation_id": short_string(b"a\x00b")}, id="correlation_id holds NUL"),
        pytest.param({"correlation_id": short_string(b"c" * 255)}, id="the longest correlation_id"),
        pytest.param({"timestamp": SECONDS}, id="a timestamp after the year 9999"),
        pytest.param({"timestamp": b"\xff" * 8}, id="the last timestamp there is"),
        pytest.param({"headers": table({LATIN: b"t\x01"})}, id="a header's key is no UTF-8"),
        pytest.param({"headers": table({b"h": b"T" + SECONDS})}, id="a header after the year 9999"),
        pytest.param({"headers": table({b"h": b"S\x00\x00\x00\x02\xff\x00"})}, id="a header is bytes"),
        pytest.param({"headers": table({b"h": b"A\x00\x00\x00\x02t\x01", b"v": b"V"})}, id="array and void"),
        pytest.param({"headers": nested_table(50)}, id="headers nested 50 deep"),
        pytest.param({"headers": nested_table(3000)}, id="headers nested 3000 deep"),
    ],
)
async def test_odd_properties_cost_nobody_the_connection(
    settings: Settings,
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    properties: dict[str, bytes],
) -> None:
    """RabbitMQ accepts them all. The client library would give up the connection over some, and with it the
    deliveries of every neighbour."""
    await declare_topology(settings, delivery_limit=2)
    await new_worker()
    odd = good_request()
    reply_to = short_string(desk.reply_to.encode())
    with capture_logs() as events:
        await send_raw(
            desk.channel, desk.prefix, json.dumps(odd).encode(), {"reply_to": reply_to} | properties
        )

        answer = await desk.next()

        assert response_in(answer).status == "completed"
        assert str(response_in(answer).request_id) == odd["request_id"]
        assert (await desk.ask(good_request())).status == "completed"
    assert events == []
    assert (await row_of(db, odd["request_id"]))["attempt"] == 1
    assert await desk.count(names_for(desk.prefix).undelivered) == 0
    assert await desk.count(names_for(desk.prefix).dead) == 0


async def test_a_correlation_id_is_given_back_as_far_as_it_can_be_read(
    new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    properties = {"reply_to": desk.reply_to.encode(), "correlation_id": LATIN}

    await send_raw(
        desk.channel,
        desk.prefix,
        json.dumps(good_request()).encode(),
        {name: short_string(value) for name, value in properties.items()},
    )

    assert (await desk.next()).correlation_id == "Gr??e"
