"""create_session returns a typed response, or raises an error that says what happened."""

import asyncio
import json
import random
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest
from aiormq.channel import Channel
from support.nobodys_port import nobodys_port
from support.responder import Responder, completed, content_of, failed, request_id_of

from schemas import CreateSessionPayload, CreateSessionRequest, FailureCode, is_session_id
from worker.client import (
    BrokerUnreachable,
    Client,
    ClientClosed,
    RequestInFlight,
    RequestTimedOut,
    RequestUnroutable,
    ResponseUnreadable,
    SessionFailed,
    request_id_for,
)
from worker.client.request import Request, message_of
from worker.rabbitmq.topology import names_for
from worker.stack import Stack


async def test_a_response_is_typed(responder: Responder, client: Client) -> None:
    responder.rule = completed

    response = await client.create_session(org_id="org-1", payload={"name": "Support"})

    assert response == completed(response.request_id).model_copy(
        update={"payload": response.payload, "timestamp": response.timestamp}
    )
    assert is_session_id(response.payload.session_id)


async def test_a_request_goes_out_as_the_contract_says(
    responder: Responder, client: Client, prefix: str
) -> None:
    responder.rule = completed
    before = datetime.now(UTC)

    response = await client.create_session(
        org_id="org-1",
        user_id="user-1",
        payload=CreateSessionPayload(name="Support", assistant_id="asst_1"),
        metadata={"source": "test"},
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        timeout=20,
    )

    (message,) = responder.taken
    document = json.loads(message.body)
    asked_at = document.pop("timestamp")
    assert before <= datetime.fromisoformat(asked_at) <= datetime.now(UTC)
    assert len(asked_at) == len("2026-01-02T03:04:05.678901+00:00"), "to the microsecond"
    assert document == {
        "request_id": str(response.request_id),
        "org_id": "org-1",
        "user_id": "user-1",
        "operation": "create_session",
        "payload": {"name": "Support", "assistant_id": "asst_1"},
        "metadata": {"source": "test"},
    }
    assert (message.exchange, message.routing_key) == (f"{prefix}.requests", "create")
    assert (message.content_type, message.type) == ("application/json", "CreateSessionRequest")
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert (message.app_id, message.correlation_id) == ("shop", str(response.request_id))
    assert UUID(message.message_id)
    assert message.timestamp is not None
    assert str(message.headers["traceparent"]).startswith("00-4bf9")
    assert 19_000 < int(str(message.headers["deadline"])) - before.timestamp() * 1000 < 30_000


async def test_no_session_is_an_error_with_code_and_fields(responder: Responder, client: Client) -> None:
    responder.rule = failed

    with pytest.raises(SessionFailed, match=r"payload\.name must be a string") as raised:
        await client.create_session(org_id="org-1", payload={"name": 1})

    assert raised.value.code is FailureCode.INVALID_REQUEST
    assert raised.value.reason == "the request is not valid"
    assert raised.value.errors == [{"field": "payload.name", "reason": "must be a string"}]
    assert raised.value.response.request_id == raised.value.request_id


async def test_after_a_timeout_the_same_request_is_asked_again(responder: Responder, client: Client) -> None:
    await client.connect()
    asked = asyncio.create_task(client.create_session(org_id="org-1", timeout=2))
    first = await responder.next()
    with pytest.raises(RequestTimedOut, match="safe to ask again") as raised:
        await asked
    request_id = raised.value.request_id

    again = asyncio.create_task(client.create_session(org_id="org-1", request_id=request_id))
    second = await responder.next()
    await responder.answer(second, completed(request_id))

    assert (await again).request_id == request_id
    assert content_of(first) == content_of(second)
    assert first.message_id != second.message_id


async def test_a_request_without_a_timeout_has_no_deadline(responder: Responder, client: Client) -> None:
    responder.rule = completed

    await client.create_session(org_id="org-1", timeout=None)

    assert "deadline" not in responder.taken[0].headers


async def test_a_call_waits_for_a_time_to_begin_within_its_timeout_alone(
    responder: Responder, client: Client
) -> None:
    responder.rule = completed
    begins_at = datetime.now(UTC) + timedelta(seconds=60)

    with pytest.raises(ValueError, match="a longer timeout"):
        await client.create_session(org_id="org-1", not_before=begins_at)
    assert responder.taken == []

    for timeout in (90, None):
        await client.create_session(org_id="org-1", not_before=begins_at, timeout=timeout)
        assert responder.taken.pop().headers["not_before"] == int(begins_at.timestamp() * 1000)


async def test_the_same_key_is_the_same_request(responder: Responder, client: Client) -> None:
    responder.rule = completed

    first = await client.create_session(org_id="org-1", key="order-17")
    again = await client.create_session(org_id="org-1", key="order-17")
    elsewhere = await client.create_session(org_id="org-2", key="order-17")

    assert first.request_id == again.request_id == request_id_for("org-1", "order-17")
    assert elsewhere.request_id != first.request_id
    assert content_of(responder.taken[0]) == content_of(responder.taken[1])
    with pytest.raises(ValueError, match="not both"):
        await client.create_session(org_id="org-1", key="order-17", request_id=uuid4())


async def test_two_calls_for_one_request_share_its_response(responder: Responder, client: Client) -> None:
    async def ask() -> UUID:
        return (await client.create_session(org_id="org-1", key="order-17")).request_id

    calls = [asyncio.create_task(ask()) for _ in range(3)]
    message = await responder.next()
    with pytest.raises(RequestInFlight):
        await client.create_session(org_id="org-1", key="order-17", payload={"name": "Other"})
    calls[0].cancel()
    await responder.answer(message, completed(request_id_of(message)))

    assert await calls[1] == await calls[2] == request_id_of(message)
    assert responder.taken == [message]
    with pytest.raises(asyncio.CancelledError):
        await calls[0]


async def test_thousands_of_calls_share_one_reply_queue(responder: Responder, client: Client) -> None:
    async def ask(number: int) -> bool:
        request_id = uuid4()
        answer = await client.create_session(org_id=f"org-{number}", request_id=request_id)
        return answer.request_id == request_id

    calls = [asyncio.create_task(ask(number)) for number in range(2000)]
    messages = [await responder.next() for _ in calls]
    random.shuffle(messages)
    await asyncio.gather(*(responder.answer(each, completed(request_id_of(each))) for each in messages))

    assert all(await asyncio.gather(*calls))
    assert len({message.reply_to for message in messages}) == 1


async def test_replies_that_nobody_waits_for_do_no_harm(responder: Responder, client: Client) -> None:
    call = asyncio.create_task(client.create_session(org_id="org-1"))
    message = await responder.next()
    request_id = request_id_of(message)

    await responder.publish(message.reply_to or "", b"{}", correlation_id="unknown")
    await responder.publish(message.reply_to or "", b"{}")
    await responder.answer(message, completed(request_id))
    await responder.answer(message, completed(request_id))

    assert (await call).request_id == request_id
    responder.rule = completed
    await client.create_session(org_id="org-1")


async def test_a_reply_that_is_no_response_is_an_error(responder: Responder, client: Client) -> None:
    call = asyncio.create_task(client.create_session(org_id="org-1"))
    await responder.answer(await responder.next(), b'{"status": "completed"}')

    with pytest.raises(ResponseUnreadable):
        await call


async def test_without_the_exchange_nothing_was_sent(client: Client) -> None:
    with pytest.raises(RequestUnroutable, match="topology apply"):
        await client.create_session(org_id="org-1")
    with pytest.raises(RequestUnroutable):
        await client.submit(org_id="org-1")


async def test_an_exchange_without_its_queue_is_told_too(responder: Responder, client: Client) -> None:
    await responder.channel.queue_delete(responder.names.requests)

    with pytest.raises(RequestUnroutable):
        await client.create_session(org_id="org-1")


async def test_a_full_queue_is_waited_for(stack: Stack, client: Client, prefix: str) -> None:
    connection = await aio_pika.connect(stack.amqp_url)
    async with connection:
        channel = await connection.channel()
        names = names_for(prefix)
        exchange = await channel.declare_exchange(names.requests, "direct", durable=True)
        queue = await channel.declare_queue(
            names.requests, durable=True,
            arguments={"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"},
        )  # fmt: skip
        await queue.bind(exchange, "create")
        await client.submit(org_id="org-1", key="first")

        second = asyncio.create_task(client.submit(org_id="org-1", key="second"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(second), 1)
        await queue.purge()

        assert await second == request_id_for("org-1", "second")


async def test_closing_ends_the_calls_that_wait(responder: Responder, stack: Stack, prefix: str) -> None:
    async with Client(stack.amqp_url, prefix) as client:
        call = asyncio.create_task(client.create_session(org_id="org-1"))
        await responder.next()
    with pytest.raises(ClientClosed):
        await call
    with pytest.raises(ClientClosed):
        await client.create_session(org_id="org-1")


async def test_closing_ends_calls_that_wait_for_the_first_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"amqp://127.0.0.1:{silent.getsockname()[1]}/")
        calls = [
            asyncio.create_task(client.create_session(org_id="org-1")),
            asyncio.create_task(client.submit(org_id="org-1")),
        ]
        connection, _ = await asyncio.to_thread(silent.accept)  # it is being connected
        with connection:
            await client.close()
            for call in calls:
                with pytest.raises(ClientClosed):
                    await call


async def test_the_same_content_in_another_order_is_the_same_request(
    responder: Responder, client: Client
) -> None:
    responder.rule = completed
    one, other = {"name": "a", "status": "active"}, {"status": "active", "name": "a"}

    first, second = await asyncio.gather(
        *(client.create_session(org_id="org-1", key="order-17", payload=each) for each in (one, other))
    )

    assert first == second


@pytest.mark.usefixtures("responder")
async def test_a_cancellation_that_nobody_answers_is_to_be_repeated(client: Client) -> None:
    with pytest.raises(RequestTimedOut, match=r"the cancellation of .* Cancel it again"):
        await client.cancel(uuid4(), timeout=0.2)


@pytest.mark.parametrize("seconds", [float("inf"), 1e12])
async def test_a_time_out_beyond_the_calendar_is_no_deadline(
    responder: Responder, client: Client, seconds: float
) -> None:
    call = asyncio.create_task(client.create_session(org_id="org-1", timeout=seconds))

    request = await responder.next()
    await responder.answer(request, completed(request_id_of(request)))

    assert "deadline" not in request.headers
    assert (await call).status == "completed"


async def test_a_broker_that_is_not_there(stack: Stack) -> None:
    with nobodys_port() as port:
        async with Client(f"amqp://127.0.0.1:{port}/", connect_timeout=0.5) as client:
            with pytest.raises(BrokerUnreachable, match="cannot be reached"):
                await client.create_session(org_id="org-1")
    stranger = stack.amqp_url.replace("//", "//nobody:", 1)
    async with Client(stranger) as client:
        with pytest.raises(BrokerUnreachable, match="user, password or vhost"):
            await client.create_session(org_id="org-1")


@pytest.mark.parametrize("url", ["http://localhost/", "localhost:5672", "amqp://", "amqp://a,/"])
def test_what_is_no_url_is_told_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="amqp"):
        Client(url)


async def test_what_json_cannot_hold_is_told_at_once(client: Client) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        await client.create_session(org_id="org-1", payload={"expiration_seconds": float("nan")})
    with pytest.raises(ValueError, match="more than"):
        await client.create_session(org_id="org-1", payload={"name": "x" * (16 << 20)})
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"name": nested}
    with pytest.raises(ValueError, match="nested too deep"):
        await client.create_session(org_id="org-1", payload=nested)
    with pytest.raises(ValueError, match="traceparent"):
        await client.create_session(org_id="org-1", traceparent="0" * 200_000)


def test_the_client_needs_aio_pika_alone() -> None:
    """With the extra `client`, libraries that only the worker needs are not installed."""
    not_there = (
        "asyncpg", "cryptography", "jinja2", "prometheus_client", "pydantic_settings", "rich", "starlette",
        "structlog", "uvicorn", "uvloop",
    )  # fmt: skip
    code = f"import sys; sys.modules |= dict.fromkeys({not_there}); import worker.client"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 — this interpreter


def test_the_request_is_one_of_the_contract() -> None:
    message = message_of(Request(org_id="org-1", payload={"expirationSeconds": 60}))
    request = CreateSessionRequest.model_validate_json(message.body)
    assert (request.request_id, request.payload.expiration_seconds) == (message.request_id, 60)


async def test_a_call_that_ends_before_there_is_a_connection_says_so() -> None:
    with nobodys_port() as port:
        async with Client(f"amqp://guest:hidden@127.0.0.1:{port}/") as client:
            with pytest.raises(RequestTimedOut, match="without a connection to RabbitMQ") as late:
                await client.create_session(org_id="org-1", timeout=1)
    assert "hidden" not in str(late.value)


async def test_a_connection_that_ends_without_an_error_is_a_lost_one(
    responder: Responder, client: Client
) -> None:
    responder.rule = completed
    await client.connect()
    line = client._calls.sender._line
    assert line is not None
    assert isinstance(line.channel, Channel)
    call = asyncio.create_task(client.create_session(org_id="org-1", timeout=20))
    while not line.channel.write_queue.qsize():  # noqa: ASYNC110 — until its publish is on its way
        await asyncio.sleep(0)
    await line.channel.connection.close(
        None
    )  # as the library does at an end of file: what waits gets a bare Exception

    assert (await call).status == "completed"
