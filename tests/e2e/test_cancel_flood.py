"""`session-worker cancel` works while all calls of the handler are busy and thousands of requests wait."""

import asyncio
import json
from uuid import uuid4

import aio_pika
import asyncpg
from support.commands import Outcome, Shell
from support.handlers import steer
from support.harness import Desk, NewWorker, declare_topology, good_request, response_in

from schemas import CreateSessionRequest, CreateSessionResponse
from worker.handlers import Context
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

FLOOD = 3_000


async def test_a_cancel_overtakes_all_requests_and_reaches_one_still_in_the_queue(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """Only cancellations move: the one call that the handler may make does not end."""
    called, go_on = asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        called.set()
        await go_on.wait()

    await declare_topology(settings)
    ids = [str(uuid4()) for _ in range(FLOOD)]
    for start in range(0, FLOOD, 500):
        flood = [good_request() | {"request_id": one} for one in ids[start : start + 500]]
        await asyncio.gather(*map(desk.send, flood))
    # Without fair shares: else all but the one would be put in line.
    await new_worker(handler=steer(act), handler_concurrency=1, fair_shares=False)
    await called.wait()
    in_call = str(await db.fetchval("select request_id from requests"))
    waiting = [one for one in ids if one != in_call]
    shell = Shell(
        AMQP_URL=settings.amqp_url.get_secret_value(), WORKER_PREFIX=desk.prefix, WORKER_LOG_LEVEL="warning"
    )

    async def cancel(request_id: str) -> Outcome:
        return await shell.run("cancel", request_id, "--json", "--reason", "sold out", "--timeout", "30")

    cancelled = [in_call, waiting[0], waiting[-1]]
    outcomes = [await cancel(one) for one in cancelled]

    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    assert [outcome.records[0]["request_id"] for outcome in outcomes] == cancelled
    assert await desk.count(names_for(desk.prefix).requests) > FLOOD - 100, "they all waited meanwhile"
    go_on.set()
    await new_worker()  # takes what is left
    answers: dict[str, CreateSessionResponse] = {}
    while len(answers) < FLOOD:
        response = response_in(await desk.next())
        answers[str(response.request_id)] = response
    failed = {one: answer.error for one, answer in answers.items() if answer.status == "failed"}
    assert failed == dict.fromkeys(cancelled, "cancelled: sold out")
    assert await db.fetchval("select count(*) from sessions") == FLOOD - len(cancelled)


async def test_what_comes_by_the_other_key_is_understood(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    """A cancellation may come among the requests, and requests among the cancellations, in turn."""
    running, most = 0, 0

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await new_worker(handler=steer(act), handler_concurrency=1)
    unwanted = good_request()
    told = await desk.ask({"request_id": unwanted["request_id"], "operation": "cancel_session"})
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
    strays = [good_request() for _ in range(10)]
    for stray in [*strays, strays[0]]:
        message = aio_pika.Message(json.dumps(stray).encode(), reply_to=desk.reply_to)
        await exchange.publish(message, routing_key="cancel", mandatory=True)
    # The copy has an answer of its own only if it is looked at when the first one has ended.
    answers = await desk.answers_to(stray["request_id"] for stray in strays)

    assert (told.status, told.metadata) == ("failed", {"code": "cancelled"})
    assert {answer.status for answer in answers.values()} == {"completed"}
    assert most == 1
    await desk.send(unwanted)
    (refused,) = (await desk.answers_to([unwanted["request_id"]])).values()
    assert refused.metadata == {"code": "cancelled"}
    assert await db.fetchval("select count(*) from sessions") == 10
