"""A response over which the broker closes the connection takes no other along."""

import base64
from uuid import uuid4

import aio_pika
import asyncpg
from harness import Desk, NewWorker, declare_topology, eventually, good_request, response_in
from pamqp import commands as spec
from servers import faulty_rabbit
from structlog.testing import capture_logs

from worker.apart import Apart
from worker.broker import Broker
from worker.publisher import Outgoing, Receipt
from worker.settings import Settings

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


async def test_apart_each_gets_its_own_receipt() -> None:
    async with faulty_rabbit() as rabbit:
        for setting in (
            "application:set_env(rabbit, max_message_size",
            "persistent_term:put(max_message_size",
        ):
            await rabbit.ctl("eval", f"{setting}, 1000).")  # where 3 and where 4 look for it
        async with await aio_pika.connect(rabbit.url) as connection:
            queue = (await (await connection.channel()).declare_queue(exclusive=True)).name

            def message(size: int, to: str = queue) -> Outgoing:
                return Outgoing("", to, b"x" * size, spec.Basic.Properties(message_id=str(uuid4())))

            receipts = await Apart(Broker(rabbit.url, None, "test"), 10).publish(
                [message(1), message(5000), message(2), message(1, "nowhere"), message(6000), message(7000)]
            )

    assert receipts == [
        Receipt.CONFIRMED, Receipt.UNPUBLISHABLE, Receipt.CONFIRMED, Receipt.UNROUTABLE,
        Receipt.UNPUBLISHABLE, Receipt.UNPUBLISHABLE,
    ]  # fmt: skip
