"""A response for which the broker closes the connection does not delay or lose others."""

import asyncio
import base64
import json
import time
from uuid import uuid4

import aio_pika
import asyncpg
from pamqp import commands as spec
from structlog.testing import capture_logs
from support.harness import Desk, NewWorker, declare_topology, eventually, good_request, response_in, row_of
from support.servers import FaultyRabbit

from worker.rabbitmq.connection import Broker
from worker.rabbitmq.direct_reply import can_be_decoded
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.writing import Outgoing
from worker.settings import Settings
from worker.stack import Stack
from worker.values import Receipt

LARGEST = (  # of a message, where RabbitMQ 3 looks for it, and where 4 does
    "application:set_env(rabbit, max_message_size, {0}), persistent_term:put(max_message_size, {0})."
)
SOON = 6.0  # seconds, on a machine that does other things as well; a reconnect's wait made it up to eight

# The address of a direct reply on a node that this broker has never heard of: an old one ends the channel's
# process over it, a newer one finds no route.
_PID_ELSEWHERE = b"\x83Xv\x00\rreply@1234567\x00\x00P\xe6\x00\x00\x00\x00k\x01\xdbq"
ELSEWHERE = f"amq.rabbitmq.reply-to.{base64.b64encode(_PID_ELSEWHERE).decode()}.wJ1sJ7Vcni5qoQxGaJJHPA=="


async def test_an_address_that_the_broker_stumbles_over_hurts_its_own_request_alone(
    new_worker: NewWorker, desk: Desk, settings: Settings, db: asyncpg.Connection
) -> None:
    await declare_topology(settings)
    stray = good_request()
    requests = [good_request() for _ in range(40)]
    for request in (*requests[:20], stray, *requests[20:]):
        await desk.send(request, reply_to=ELSEWHERE if request is stray else "mine")

    with capture_logs() as events:
        worker = await new_worker()
        answered: set[str] = set()
        while len(answered) < len(requests):
            answered.add(str(response_in(await desk.next()).request_id))
        await worker.readiness.until_up()
        again = await desk.ask(good_request())

        async def given_up() -> bool:
            return any(
                one["event"] in ("response.unpublishable", "response.unroutable")
                and one["request_id"] == stray["request_id"]
                for one in events
            )

        await eventually(given_up)

    assert answered == {request["request_id"] for request in requests}
    assert again.status == "completed"
    assert sum(one["event"] == "broker.lost" for one in events) <= 1
    assert await db.fetchval("select count(*) from requests where attempt > 1") == 0


async def test_forged_addresses_make_nobody_wait(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """They come one after the other, as from an attacker: malformed addresses, and one that is well-formed
    and is nobody's. Each costs others neither the connection nor a reconnect's wait."""
    worker = await new_worker()
    forged = [
        f"amq.rabbitmq.reply-to.g1h2AA8VcmVwbHlA{number:04d}==.yyyy==" if number % 2 else ELSEWHERE
        for number in range(8)
    ]
    with capture_logs() as events:
        slowest = 0.0
        for address in forged:
            await desk.send(good_request(), reply_to=address)
            for _ in range(5):
                begun = time.monotonic()
                assert (await desk.ask(good_request())).status == "completed"
                slowest = max(slowest, time.monotonic() - begun)
        given_up = (
            "select count(*) = $1 from requests where answer_at is null and published_at is null "
            "and undelivered in ('unpublishable', 'unroutable')"
        )
        await eventually(lambda: db.fetchval(given_up, len(forged)))
        lost = sum(one["event"] == "broker.lost" for one in events)

        await desk.send(good_request(), reply_to=forged[1])
        await eventually(lambda: db.fetchval(given_up, len(forged) + 1))
        assert sum(one["event"] == "broker.lost" for one in events) == lost, "a second one costs nothing"

    assert slowest < SOON
    assert not [one for one in events if one["event"] == "worker.not_ready"]
    assert not [one for one in events if one["event"] == "broker.lost" and one["part"] != "direct_replies"]
    assert worker.readiness.ready


async def test_a_direct_reply_that_is_asked_for_comes(
    stack: Stack, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """Its address has the right shape, and forged ones beside it delay it only for a moment."""
    await new_worker()
    async with await aio_pika.connect(stack.amqp_url) as connection:
        channel = await connection.channel()
        waiting = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
        arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        await waiting.consume(arrived.put, no_ack=True)
        exchange = await channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
        with capture_logs() as events:
            for _ in range(5):
                body = json.dumps(request := good_request()).encode()
                message = aio_pika.Message(body, reply_to="amq.rabbitmq.reply-to")
                await exchange.publish(message, routing_key="create")
                answer = await asyncio.wait_for(arrived.get(), 60)
                assert str(response_in(answer).request_id) == request["request_id"]
                address = (await row_of(db, request["request_id"]))["reply_to"]
                assert can_be_decoded(address), "an answer goes there with all others"
                await desk.send(good_request(), reply_to=ELSEWHERE)
    assert not [one for one in events if one["event"] == "worker.not_ready"]


def test_what_is_a_direct_reply_address_is_seen_by_its_shape() -> None:
    assert can_be_decoded(ELSEWHERE)
    start, dot, key = ELSEWHERE.rpartition(".")
    assert not can_be_decoded(start)
    assert not can_be_decoded(f"{start}{dot}{key[:-3]}")
    assert not can_be_decoded(f"{start[:-4]}{dot}{key}")
    assert not can_be_decoded("amq.rabbitmq.reply-to.g1h2AA8VcmVwbHlAxxxx==.yyyy==")
    assert not can_be_decoded("amq.rabbitmq.reply-to.")
    assert not can_be_decoded("amq.rabbitmq.reply-to.gw==.yyyy")


async def test_apart_each_gets_its_own_receipt(broker: FaultyRabbit) -> None:
    was = await broker.ctl("eval", "application:get_env(rabbit, max_message_size, 134217728).")
    await broker.ctl("eval", LARGEST.format(1000))
    try:
        async with await aio_pika.connect(broker.url) as connection:
            queue = (await (await connection.channel()).declare_queue(exclusive=True)).name

            def message(size: int, to: str = queue) -> Outgoing:
                return Outgoing("", to, b"x" * size, spec.Basic.Properties(message_id=str(uuid4())))

            receipts = await OneByOne(Broker(broker.url, None, "test"), 10).publish(
                [message(1), message(5000), message(2), message(1, "nowhere"), message(6000), message(7000)]
            )
    finally:
        await broker.ctl("eval", LARGEST.format(was.strip()))

    assert receipts == [
        Receipt.CONFIRMED, Receipt.UNPUBLISHABLE, Receipt.CONFIRMED, Receipt.UNROUTABLE,
        Receipt.UNPUBLISHABLE, Receipt.UNPUBLISHABLE,
    ]  # fmt: skip
