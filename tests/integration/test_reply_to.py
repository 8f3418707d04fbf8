"""No answer goes to a queue of the worker's own, or where operators want none; no response is a request."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractIncomingMessage
from support.commands import Shell
from support.console import open_console, reached
from support.harness import Desk, NewWorker, eventually, good_request, response_in, row_of

from worker.cli import exits
from worker.client import Client
from worker.console.api.call import BASE
from worker.rabbitmq.topology import CANCEL_KEY, REQUEST_KEY, design, names_for
from worker.settings import Settings


@pytest_asyncio.fixture
async def own(prefix: str) -> list[str]:
    """The names of all exchanges and queues of the topology."""
    return sorted({thing.name for thing in design(prefix, limits_from_policy=False).declared})


@pytest_asyncio.fixture
async def shell(settings: Settings) -> Shell:
    return Shell(
        AMQP_URL=settings.amqp_url.get_secret_value(),
        DATABASE_URL=settings.database_url.get_secret_value(),
        WORKER_PREFIX=settings.prefix,
    )


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


async def send_cancel(desk: Desk, request_id: str, reply_to: str) -> None:
    body = json.dumps({"request_id": request_id, "operation": "cancel_session"}).encode()
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
    await exchange.publish(aio_pika.Message(body, reply_to=reply_to), routing_key=CANCEL_KEY)


async def refused(desk: Desk, body: dict[str, Any] | bytes, reply_to: str, **properties: Any) -> None:
    """Asks for an answer there, and finds in the response queue that it is refused for that."""
    await desk.send(body, reply_to=reply_to, **properties)
    answer = await desk.take_from(names_for(desk.prefix).responses)
    response = response_in(answer)
    assert (answer.correlation_id, answer.reply_to) == (properties["correlation_id"], None)
    assert (response.metadata["code"], response.metadata["recorded"]) == ("invalid_request", False)
    assert [error["field"] for error in response.metadata["errors"]] == ["reply_to"]


async def test_no_answer_goes_to_a_queue_of_the_worker_s_own(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, own: list[str], client: Client
) -> None:
    names = names_for(desk.prefix)
    first = await new_worker()
    kept = good_request()
    assert set(names) <= set(own)
    for name in (*own, f"\0{names.requests}"):
        await refused(desk, kept, name, correlation_id="valid")
        await refused(desk, {**kept, "payload": 5}, name, correlation_id="not valid")
        await refused(desk, kept, name, correlation_id="late", headers={"deadline": True})
        await refused(desk, b"{", name, correlation_id=kept["request_id"])
        await send_cancel(desk, kept["request_id"], name)
        cancel = await desk.take_from(names.dead)
        assert "nothing was cancelled: the reply_to names one of" in str(cancel.headers["x-reason"])
        await desk.send(b"nobody's", reply_to=name)
        assert "no request id was found in it" in str((await desk.take_from(names.dead)).headers["x-reason"])
    await first.stop()
    assert [await desk.count(name) for name in names] == [0] * len(names)
    assert await db.fetchval("select count(*) from requests") == 0

    await new_worker(reply_to_pattern=r"mine\..+")
    await refused(desk, kept, "not.mine.either", correlation_id="nor this")
    await refused(desk, kept, names.responses, correlation_id="nor this")
    asked = await client.create_session(org_id="org-1")
    assert asked.status == "completed", "at a queue that the broker has named"
    mine = await desk.channel.declare_queue("mine." + desk.prefix, exclusive=True)
    await desk.send(kept, reply_to=mine.name)
    assert response_in(await desk.take_from(mine.name)).status == "completed"


async def test_operators_send_no_answer_there_either(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    own: list[str],
    shell: Shell,
    settings: Settings,
    client: Client,
    tmp_path: Path,
) -> None:
    names = names_for(desk.prefix)
    await new_worker(max_dead_letters=100)
    request = good_request()
    await desk.ask(request)
    await desk.send(b"nobody's", reply_to=None)
    await eventually(lambda: db.fetchval("select count(*) = 1 from dead_letters"))
    why = ("--because", "why", "--yes")

    with pytest.raises(ValueError, match="one of the worker's own queues"):
        await client.submit(org_id="org-1", reply_to=names.requests)
    resent = await shell.run("requests", "resend", request["request_id"], "--to", names.requests, *why)
    assert (resent.code, "one of the worker's own queues" in resent.err) == (exits.USAGE, True)
    redirected = await shell.run("dead", "redirect", "--all", "--to", names.requests, *why)
    assert (redirected.code, "one of the worker's own queues" in redirected.err) == (exits.USAGE, True)
    async with open_console(settings, tmp_path) as console:
        operator = await (await reached(console)).bearer("operator")
        for name in own:
            for path, body in (
                ("selections", {"action": "resend", "ids": [request["request_id"]]}),
                ("dead-letters/redirect", {"which": {"all": True}}),
            ):
                if (path, name) == ("selections", names.responses):
                    continue
                answer = await operator.post(
                    f"{BASE}/{path}", json={**body, "to": name, "reason": "why"}, headers=key()
                )
                assert answer.status_code == 400, answer.text
                assert "Nothing was done" in answer.json()["detail"]
    assert await db.fetchval("select count(*) from selections") == 0

    # The response queue stands for its exchange.
    resent = await shell.run("requests", "resend", request["request_id"], "--to", names.responses, *why)
    assert resent.code == exits.OK, resent.err
    assert (await desk.take_from(names.responses)).exchange == names.responses

    # On record since a time when such a queue was taken.
    await db.execute("set session_replication_role = replica")
    await db.execute("update requests set reply_to = $1", names.requests)
    old = await shell.run("requests", "resend", request["request_id"], *why)
    assert (old.code, "answers may not go to its queue" in old.out) == (exits.FAILED, True)
    assert (await row_of(db, request["request_id"]))["reply_to"] == names.requests
    assert [await desk.count(name) for name in (names.requests, names.cancels, names.undelivered)] == [0] * 3


async def test_a_loop_through_a_program_that_moves_responses_back_ends(
    new_worker: NewWorker, desk: Desk
) -> None:
    """One moves them as they are; one moves the body alone, and wants an answer where it would move it on."""
    names = names_for(desk.prefix)
    await new_worker()
    exchange = await desk.channel.get_exchange(names.requests, ensure=False)
    moved: list[AbstractIncomingMessage] = []

    async def as_it_is(message: AbstractIncomingMessage) -> None:
        moved.append(message)
        await exchange.publish(message, routing_key=REQUEST_KEY)

    async def the_body_alone(message: AbstractIncomingMessage) -> None:
        moved.append(message)
        kind, call = "CreateSessionRequest", message.correlation_id
        asks = aio_pika.Message(message.body, reply_to=bodies.name, correlation_id=call, type=kind)
        await exchange.publish(asks, routing_key=REQUEST_KEY)

    shovels = await desk.channel.declare_queue(exclusive=True)
    bodies = await desk.channel.declare_queue(exclusive=True)
    await shovels.consume(as_it_is, no_ack=True)
    await bodies.consume(the_body_alone, no_ack=True)
    for queue in (shovels, bodies):
        await desk.send(good_request(), reply_to=queue.name)
        await desk.send({**good_request(), "payload": 5}, reply_to=queue.name)
        await desk.send({**good_request(), "org_id": 5}, reply_to=queue.name, headers={"deadline": True})

    dead = [await desk.take_from(names.dead) for _ in range(6)]
    assert all("it is a response, not a request" in str(one.headers["x-reason"]) for one in dead)
    assert (await desk.ask(good_request())).status == "completed", "all that came before has been seen to"
    assert len(moved) == 6
    assert await desk.count(names.dead) == 0
