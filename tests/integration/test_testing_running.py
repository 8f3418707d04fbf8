"""With real servers, `worker.testing` has queues and tables of its own, and leaves nothing behind."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from support.handlers import steer, steered

from schemas import CreateSessionRequest, CreateSessionResponse
from worker.errors import SettingsError
from worker.handlers import Context, RetryLater
from worker.postgres.installation import connected
from worker.rabbitmq import topology
from worker.rabbitmq.connection import Broker
from worker.settings import Settings
from worker.stack import Stack
from worker.testing import call, example_request
from worker.testing.installation import own_installation
from worker.testing.running import StartWorker


async def test_a_session_of_tests_has_its_own_and_each_test_begins_with_nothing(stack: Stack) -> None:
    called: list[UUID] = []
    begun = asyncio.Event()

    async def put_off(_request: CreateSessionRequest, _context: Context) -> None:
        begun.set()
        raise RetryLater(after=0)

    async def hangs(_request: CreateSessionRequest, _context: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def completes(request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
        called.append(request.request_id)
        return {"name": request.payload.name, "attempt": context.attempt}

    environ = {"AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.database_url}
    async with own_installation(print, environ) as settings:
        start = StartWorker(settings)
        steer(put_off)
        async with start(steered) as running:  # a request waits for its next attempt
            await running.client.submit(org_id="org-1")
            await begun.wait()
        begun.clear()
        steer(hangs)
        async with start(
            steered
        ) as running:  # one is in the hands of a worker that is gone, and one in the queue
            await running.client.submit(org_id="org-1")
            await begun.wait()
            await running.worker.vanish()
            await running.client.submit(org_id="org-1")

        steer(completes)
        asked = example_request()
        async with start("support.handlers:steered", handler_concurrency=2) as running:
            answered = await running.client.create_session(
                org_id=asked["org_id"], request_id=UUID(asked["request_id"]), payload=asked["payload"]
            )
            assert running.worker.settings.handler_concurrency == 2
            assert await _on_record(settings) == [answered.request_id]
        assert called == [answered.request_id]
        assert _without_times(answered) == _without_times((await call(steered, asked)).response)

        with pytest.raises(SettingsError, match="cannot load"):
            async with start("no_such_module:create"):
                pass
        with pytest.raises(TypeError, match="no function that stands in a module"):
            async with start(completes):
                pass
        assert await _there(settings) == (True, True)
    assert await _there(settings) == (False, False)


def _without_times(response: CreateSessionResponse) -> dict[str, Any]:
    return response.model_dump(exclude={"timestamp": True, "payload": {"created_at"}})


async def _on_record(settings: Settings) -> list[UUID]:
    async with connected(settings.database_url.get_secret_value(), schema=settings.prefix) as database:
        return [row["request_id"] for row in await database.fetch("select request_id from requests")]


async def _there(settings: Settings) -> tuple[bool, bool]:
    """Returns whether its schema and its queue are there."""
    database = await asyncpg.connect(settings.database_url.get_secret_value())
    broker = await Broker(settings.amqp_url.get_secret_value(), None, "tests").connect()
    try:
        schema = await database.fetchval("select true from pg_namespace where nspname = $1", settings.prefix)
        queue = await topology.depth(broker, topology.names_for(settings.prefix).requests)
    finally:
        await broker.close()
        await database.close()
    return schema is not None, queue is not None
