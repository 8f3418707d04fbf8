"""Takes the worker's place, so that a test decides what is answered, when and how often."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from support.harness import ANSWER_SECONDS, ready_and_readers

from schemas import (
    CreateSessionResponse,
    FailureCode,
    SessionCreatedPayload,
    session_id,
)
from schemas.status import RequestStatus
from worker.rabbitmq import topology
from worker.rabbitmq.topology import names_for


class Responder:
    """Takes requests as they come. With a `rule` it answers at once, else when the test calls `answer`."""

    def __init__(self, channel: AbstractChannel, prefix: str) -> None:
        self.channel = channel
        self.names = names_for(prefix)
        self.taken: list[AbstractIncomingMessage] = []
        self.rule: Callable[[UUID], CreateSessionResponse] | None = None
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def next(self) -> AbstractIncomingMessage:
        """Returns the next request, in the order of arrival."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._arrived.get()

    async def answer(self, request: AbstractIncomingMessage, response: CreateSessionResponse | bytes) -> None:
        body = response if isinstance(response, bytes) else response.model_dump_json().encode()
        await self.publish(request.reply_to or "", body, correlation_id=request.correlation_id)

    async def publish(self, queue: str, body: bytes, **properties: Any) -> None:
        properties.setdefault("message_id", str(uuid4()))
        message = aio_pika.Message(body, **properties)
        await self.channel.default_exchange.publish(message, routing_key=queue, mandatory=False)

    async def respond(self, response: CreateSessionResponse, message_id: str | None = None) -> None:
        """Publishes a response to the queue that all subscribers share."""
        body = response.model_dump_json().encode()
        await self.publish(self.names.responses, body, message_id=message_id or str(uuid4()))

    async def left_in(self, queue: str) -> int:
        """Counts the messages that lie ready in a queue."""
        ready, _ = await ready_and_readers(self.channel, queue)
        return ready

    async def take(self, message: AbstractIncomingMessage) -> None:
        await message.ack()
        self.taken.append(message)
        if self.rule is None:
            self._arrived.put_nowait(message)
        else:
            await self.answer(message, self.rule(request_id_of(message)))


def completed(request_id: UUID) -> CreateSessionResponse:
    return CreateSessionResponse(
        request_id=request_id,
        status=RequestStatus.COMPLETED,
        payload=_payload(request_id),
        metadata={"by": "test"},
    )


def failed(request_id: UUID, code: FailureCode = FailureCode.INVALID_REQUEST) -> CreateSessionResponse:
    return CreateSessionResponse(
        request_id=request_id,
        status=RequestStatus.FAILED,
        payload=_payload(request_id),
        error="the request is not valid",
        metadata={"code": code, "errors": [{"field": "payload.name", "reason": "must be a string"}]},
    )


def request_id_of(message: AbstractIncomingMessage) -> UUID:
    return UUID(json.loads(message.body)["request_id"])


def content_of(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Returns a request without the time at which it was made."""
    document: dict[str, Any] = json.loads(message.body)
    del document["timestamp"]
    return document


def _payload(request_id: UUID) -> SessionCreatedPayload:
    now = datetime.now(UTC)
    return SessionCreatedPayload(session_id=session_id(request_id, now.date()), created_at=now.isoformat())


@asynccontextmanager
async def responder_at(amqp_url: str, prefix: str) -> AsyncIterator[Responder]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        await topology.apply(connection, topology.design(prefix, limits_from_policy=False))
        channel = await connection.channel()
        responder = Responder(channel, prefix)
        queue = await channel.get_queue(responder.names.requests, ensure=False)
        await queue.consume(responder.take)
        yield responder
