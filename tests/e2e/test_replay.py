"""Dead letters are sent on to where they belong; a response that strays among the requests answers nobody."""

import asyncio
import json
import sys
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
from structlog.testing import capture_logs
from support.contract.documents import ROOT
from support.harness import Desk, NewWorker, good_request, response_in

from worker.rabbitmq.topology import names_for
from worker.settings import Settings

NEVER = "it is a response, not a request"


async def replay(settings: Settings, *words: str) -> str:
    """Runs the script of the docs; returns its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "replay_dead_letters.py", *words, cwd=ROOT / "examples",
        env={"AMQP_URL": settings.amqp_url.get_secret_value(), "PREFIX": settings.prefix},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode().strip()


async def publish(desk: Desk, exchange: str, body: bytes, key: str = "", **properties: Any) -> None:
    found = await desk.channel.get_exchange(exchange, ensure=False)
    await found.publish(aio_pika.Message(body, **properties), routing_key=key, mandatory=True)


@pytest.mark.parametrize("with_type", [True, False])
async def test_a_response_among_the_requests_is_a_dead_letter_and_is_never_answered(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, with_type: bool
) -> None:
    await new_worker()
    request = good_request()
    await desk.send(request)
    response = await desk.next()
    strays = [response.body] if not with_type else [response.body, b"not even JSON", b"{}"]
    properties = {"type": "CreateSessionResponse"} if with_type else {}

    with capture_logs() as events:
        for body in strays:
            await desk.send(body, correlation_id=request["request_id"], **properties)
            await desk.send(body, correlation_id=str(uuid4()), **properties)
        dead = [await desk.take_from(names_for(desk.prefix).dead) for _ in range(2 * len(strays))]

    assert {letter.body for letter in dead} == set(strays)
    assert all(str(letter.headers["x-reason"]).startswith(NEVER) for letter in dead)
    noted = [event for event in events if event["event"] == "request.unreadable"]
    assert {event["dead_letter"] for event in noted} == {letter.message_id for letter in dead}
    assert all(str(event["reason"]).startswith(NEVER) for event in noted)
    assert (await desk.ask(good_request())).status == "completed"
    assert desk.arrived.empty(), "nobody was told anything"
    assert await db.fetchval("select count(*) from requests") == 2


async def test_a_replay_knows_what_it_moves(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker()
    names = names_for(desk.prefix)
    requests = [good_request() for _ in range(3)]
    for request in requests:
        await desk.send(request, reply_to=None)
    responses = [await desk.take_from(names.responses) for _ in requests]
    for response in responses:  # as the broker does with one that its readers rejected
        await publish(
            desk, names.dead, response.body, type=response.type, message_id=response.message_id,
            correlation_id=response.correlation_id, headers={"x-first-death-queue": names.responses},
        )  # fmt: skip
    privately = await desk.channel.declare_queue(exclusive=True)
    await publish(desk, names.dead, responses[0].body, reply_to=privately.name)
    await publish(desk, names.dead, responses[1].body, reply_to="gone")
    mended, unwanted = good_request(), good_request()
    reasons = {"x-reason": "why", "x-code": "unreadable", "traceparent": "00-1-2-01"}
    await publish(
        desk, names.dead, json.dumps(mended).encode(), reply_to=desk.reply_to, headers=reasons,
        type="CreateSessionRequest",
    )  # fmt: skip
    cancel = {"request_id": unwanted["request_id"], "operation": "cancel_session"}
    await publish(desk, names.dead, json.dumps(cancel).encode(), reply_to=desk.reply_to)
    await publish(desk, names.dead, b"nothing to be read")
    before = await db.fetch("select * from requests order by request_id")
    await desk.until_there_are(8, names.dead)  # the script takes no more than are there at its start

    first = await replay(settings, "4")
    rest = await replay(settings)

    assert (first, rest) == ("4 responses", "1 response, 2 requests, 1 cancel request")
    told = [await desk.next() for _ in range(2)]
    ends = {str(response_in(one).request_id): response_in(one) for one in told}
    assert ends[mended["request_id"]].status == "completed"
    assert ends[unwanted["request_id"]].metadata == {"code": "cancelled"}
    assert [one.headers.get("traceparent") for one in told if one.headers] == ["00-1-2-01"]
    again = [await desk.take_from(names.responses) for _ in range(4)]
    assert sorted(one.body for one in again) == sorted([*(one.body for one in responses), responses[1].body])
    assert {one.type for one in again} <= {"CreateSessionResponse", None}
    assert (await privately.get()).body == responses[0].body
    assert (await desk.take_from(names.dead)).body == b"nothing to be read"
    await worker.stop()
    ids = [row["request_id"] for row in before]
    after = await db.fetch("select * from requests where request_id = any($1) order by request_id", ids)
    assert [(row["status"], row["response"]) for row in after] == [
        (row["status"], row["response"]) for row in before
    ]
    assert desk.arrived.empty()
