"""What a handler holds open is open around the life of its worker, and a failure of it is no secret."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.commands import Shell
from support.handlers import steer
from support.harness import Desk, NewWorker, good_request, http_get

from schemas import CreateSessionRequest
from worker.errors import LifespanFailed
from worker.handlers import Context
from worker.settings import Settings
from worker.steps import life

TESTS = str(Path(__file__).parents[1])


async def nothing(_request: CreateSessionRequest, _context: Context) -> None:
    """A handler that adds nothing."""


async def test_it_is_open_around_all_calls_and_is_closed_after_the_last_by_the_task_that_opened_it(
    new_worker: NewWorker, desk: Desk
) -> None:
    story: list[str] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def rooms() -> AsyncIterator[dict[str, int]]:
        async with asyncio.TaskGroup(), asyncio.timeout(600):  # belong to one task
            story.append("opened")
            yield {"calls": 0}
            story.append("closed")

    async def act(request: CreateSessionRequest, context: Context) -> dict[str, int]:
        context.state["calls"] += 1
        if request.payload.name == "slow":
            begun.set()
            await go_on.wait()
            story.append("the last call ends")
        return dict(context.state)

    worker = await new_worker(handler=steer(act, rooms))
    assert (await desk.ask(good_request())).metadata == {"calls": 1}
    await desk.send(good_request(None, name="slow"))
    await begun.wait()
    worker.stop_event.set()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(worker.task), 0.1)
    go_on.set()
    await worker.task

    assert story == ["opened", "the last call ends", "closed"]


async def test_a_worker_whose_lifespan_fails_at_the_start_ends_with_a_sentence(
    settings: Settings, db: asyncpg.Connection
) -> None:
    ended = await Shell(
        AMQP_URL=settings.amqp_url.get_secret_value(), DATABASE_URL=settings.database_url.get_secret_value(),
        WORKER_PREFIX=settings.prefix, WORKER_HTTP_HOST="127.0.0.1", WORKER_HTTP_PORT="0",
        WORKER_HANDLER="support.handlers:cannot_be_opened",
    ).run("run", PYTHONPATH=TESTS)  # fmt: skip

    assert ended.code == 1
    assert ended.err.splitlines()[-1] == (
        "session-worker: WORKER_HANDLER: the lifespan of 'support.handlers:cannot_be_opened' failed at the "
        "start: ConnectionRefusedError: postgresql://(masked)@rooms/rooms does not answer"
    )
    assert await db.fetchval("select count(*) from workers") == 0


async def test_a_worker_whose_lifespan_ends_by_itself_gives_back_what_it_has(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    lost, begun = asyncio.Event(), asyncio.Event()

    async def connection() -> None:
        await lost.wait()
        raise ConnectionResetError("by the service of rooms")

    @asynccontextmanager
    async def rooms() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(connection())
            yield

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = await new_worker(handler=steer(act, rooms))
    await desk.send(good_request())
    await begun.wait()
    lost.set()

    with pytest.raises(LifespanFailed, match="failed while the worker ran: ExceptionGroup"):
        await worker.task
    row = await db.fetchrow("select r.attempt, l.worker, l.spends_attempt from requests r, leases l")
    assert tuple(row or ()) == (1, None, False)


async def test_one_that_does_not_open_can_be_stopped_and_one_that_does_not_close_is_cut(
    new_worker: NewWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "_CUT_SECONDS", 0.05)
    opening, ends = asyncio.Event(), list[str]()

    @asynccontextmanager
    async def hangs_at_once() -> AsyncIterator[None]:
        opening.set()
        try:
            await asyncio.Event().wait()
            yield
        finally:
            ends.append("opening")

    @asynccontextmanager
    async def hangs_at_last() -> AsyncIterator[None]:
        yield
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("closing")

    @asynccontextmanager
    async def fails_at_last() -> AsyncIterator[None]:
        yield
        raise KeyError("canary")

    worker = await new_worker(until_ready=False, handler=steer(nothing, hangs_at_once))
    await opening.wait()
    assert [(await http_get(worker, path))[0] for path in ("/livez", "/readyz")] == [200, 503]
    with capture_logs() as events:
        await worker.stop()
        for lifespan in (hangs_at_last, fails_at_last):
            await (await new_worker(handler=steer(nothing, lifespan), grace_seconds=0.2)).stop()

    assert ends == ["opening", "closing"]
    told = [(event["event"], event.get("error")) for event in events if event["event"].startswith("handler.")]
    assert told == [("handler.close_cut", None), ("handler.close_failed", "KeyError")]
    assert "canary" not in str(events)
