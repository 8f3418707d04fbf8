"""A worker that stops finishes what it began or gives it back unharmed, whichever server is away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import asyncpg
import pytest
from support.faults.load import Books, Producers, keeping_books, subscribe, waiting_for
from support.faults.processes import Event, WorkerProcess, worker_processes
from support.faults.proxy import Proxy, proxy_to
from support.faults.scene import Scene
from support.faults.watching import assert_unharmed
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, response_in

from schemas import CreateSessionRequest
from worker import app
from worker.handlers import Context, RetryLater
from worker.operations.promises import verify
from worker.rabbitmq.depths import Depths
from worker.rabbitmq.topology import names_for
from worker.steps.pipeline import Pipeline

BUSY = {"WORKER_HANDLER": "support.faults.handlers:takes_a_moment"}
GATED = {"WORKER_HANDLER": "support.faults.handlers:waits_for_the_gate"}
# After the grace what is held is given back, and connections are closed. A worker for which that takes ten
# seconds ends itself with an error; the rest is for a busy machine, which is slow to end a process.
CLOSING_SECONDS = 20
LEASE_SECONDS = 120.0
LATE_SECONDS = LEASE_SECONDS / 2  # a busy machine is not late, a lease that had to run out is
GIVEN_BACK = (
    "select count(*) from requests join leases on lease = id where status = 'processing' and attempt = 1 "
    "and leases.worker is null and lease_until <= now() and not spends_attempt"
)

# These writes wait for whoever holds the lock.
LEASES_WAIT = """
create function wait_in_line() returns trigger language plpgsql as $$
begin perform pg_advisory_xact_lock_shared(7); return coalesce(new, old); end $$;
create trigger wait_in_line before {} on leases for each row execute function wait_in_line()
"""
HOLD_LEASES = "select pg_advisory_xact_lock(7)"
LEASE_WAITS = (
    "select exists (select from pg_stat_activity where datname = current_database() "
    "and wait_event_type = 'Lock' and wait_event = 'advisory')"
)
AT_WORK = "select count(*) > 0 from requests where status = 'processing'"

pytestmark = pytest.mark.timeout(400)


async def terminated(worker: WorkerProcess) -> float:
    """Stops a worker in order; returns how long that took."""
    begun = time.monotonic()
    worker.terminate()
    async with asyncio.timeout(60):
        code = await worker.wait()
    assert code == 0, worker.events[-5:]  # the last one says where it waits
    return time.monotonic() - begun


@asynccontextmanager
async def steady_flow(
    scene: Scene, books: Books, per_second: float, open_at_most: int = 5_000
) -> AsyncIterator[None]:
    """Sends requests while this is open; some have been answered when it begins."""
    producers = Producers(scene.amqp_url, scene.prefix, books, open_at_most)
    producers.per_second = per_second
    enough = asyncio.Event()

    async def send() -> None:
        while not enough.is_set():
            await producers.send(50)

    sending = asyncio.create_task(send())
    try:
        await books.until(lambda: len(books.answered) >= 50, 90, "at work")
        yield
        enough.set()
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_sigterm_under_load_finishes_and_acknowledges_what_was_begun(
    scene: Scene, db: asyncpg.Connection
) -> None:
    async with keeping_books(scene.amqp_url, scene.prefix) as books:
        environ = {**scene.environ, **BUSY}
        async with worker_processes(1, environ) as [first], steady_flow(scene, books, 150):
            await scene.until_rows(db, AT_WORK)
            await terminated(first)
            assert not first.has_logged("worker.grace_over")
            assert await db.fetchval("select count(*) from requests where finished_at is null") == 0
            assert await db.fetchval("select count(*) from leases") == 0
            assert await db.fetchval("select count(*) from workers") == 0
            begun = await db.fetchval("select count(*) from requests")
            await books.until(lambda: len(books.answered) >= begun, 90, "answered, of those begun")
        assert books.open > 0
        async with worker_processes(1, scene.environ) as [second]:
            await books.until_all_answered(90)
            names = {event["event"] for event in second.events}
        assert "request.duplicate" not in names, "what was begun had been acknowledged"
    await assert_unharmed(scene.database_url, books)


async def test_what_outlasts_the_grace_is_given_back_and_costs_no_attempt(
    scene: Scene, db: asyncpg.Connection, gate: Path
) -> None:
    environ = {**scene.environ, **GATED, "WORKER_GRACE_SECONDS": "2"}
    async with keeping_books(scene.amqp_url, scene.prefix) as books:
        async with worker_processes(1, environ) as [first]:
            producers = Producers(scene.amqp_url, scene.prefix, books, 100)
            await producers.send(40, waiting_for(gate))
            await scene.until_rows(db, "select count(*) = 40 from requests where status = 'processing'")
            took = await terminated(first)
            assert 2 <= took < 2 + CLOSING_SECONDS, took
            await first.event("worker.grace_over")
        assert await db.fetchval(GIVEN_BACK) == 40
        assert not books.answered
        gate.touch()  # noqa: ASYNC240 — one call
        async with worker_processes(1, environ) as [second]:
            await books.until_all_answered(90)
            taken = await second.event("lease.taken_over")
            assert (taken["holder_silent"], taken["new_attempt"]) == (False, False)
    await assert_unharmed(scene.database_url, books)


@pytest.mark.parametrize(
    ("statement", "attempt"),
    [
        pytest.param("delete", 2, id="a note that a lease is done with"),
        pytest.param("insert", 1, id="a retry that is being taken"),
    ],
)
async def test_what_is_being_written_is_on_record_before_it_stops(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    attempt: int,
) -> None:
    """Else a lease would stay: the next worker would publish the response again, or call this one lost."""
    monkeypatch.setattr(app, "_SIGN_OFF_SECONDS", 0.2)  # after which a worker that did not wait has ended
    called, go_on = asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.attempt == attempt:
            called.set()
            await go_on.wait()
        if context.attempt == 1:
            raise RetryLater

    await db.execute(LEASES_WAIT.format(statement))
    worker = await new_worker(handler=steer(act), retry_base_seconds=0.02)
    await desk.send(good_request())
    await called.wait()
    await eventually(
        lambda: db.fetchval("select count(*) = 1 from leases")
    )  # the note of the first is written
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.execute(HOLD_LEASES)
        go_on.set()
        await eventually(lambda: holder.fetchval(LEASE_WAITS))
        worker.stop_event.set()
        ended, _ = await asyncio.wait([worker.task], timeout=2)
    await holder.close()
    await worker.task

    assert not ended
    assert response_in(await desk.next()).status == "completed"
    assert await db.fetchval("select count(*) from leases") == 0
    assert await db.fetchval("select published_at is not null and attempt = 2 from listed_requests")


@pytest.mark.parametrize(
    ("of", "name"), [(aio_pika.Connection, "connect"), (Depths, "ask")], ids=["connecting", "in a service"]
)
async def test_it_stops_though_a_library_loses_a_cancellation(
    of: type[Any], name: str, new_worker: NewWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, lost = asyncio.Event(), asyncio.Event()
    original = getattr(of, name)

    async def loses_it(*args: Any, **kwargs: Any) -> Any:
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        return await original(*args, **kwargs)

    monkeypatch.setattr(of, name, loses_it)
    worker = await new_worker(until_ready=False)
    await asyncio.wait_for(reached.wait(), 60)
    async with asyncio.timeout(CLOSING_SECONDS):
        await worker.stop()
    assert lost.is_set()


async def test_it_stops_though_a_batch_loses_a_cancellation(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, lost = asyncio.Event(), asyncio.Event()

    async def loses_it(*_: object) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()  # for a server that is away

    monkeypatch.setattr(Pipeline, "run", loses_it)
    worker = await new_worker(grace_seconds=0.1)
    await desk.send(good_request())
    await asyncio.wait_for(reached.wait(), 60)
    async with asyncio.timeout(CLOSING_SECONDS):
        await worker.stop()
    assert lost.is_set()


async def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(
    scene: Scene, db: asyncpg.Connection, gate: Path
) -> None:
    environ = {**scene.environ, **GATED, "WORKER_GRACE_SECONDS": "60"}
    async with keeping_books(scene.amqp_url, scene.prefix) as books:
        async with worker_processes(1, environ) as [first]:
            await Producers(scene.amqp_url, scene.prefix, books, 100).send(40, waiting_for(gate))
            await scene.until_rows(db, "select count(*) = 40 from requests where status = 'processing'")
            first.terminate()
            await first.event("worker.stopping")
            begun = time.monotonic()
            first.terminate()
            assert await first.wait() == 130
            assert time.monotonic() - begun < CLOSING_SECONDS
        gate.touch()  # noqa: ASYNC240 — one call
        async with worker_processes(1, environ):
            await books.until_all_answered(90)
    assert await verify(scene.database_url, books.confirmed, books.received) == []
    assert await db.fetchval("select count(*) from sessions") == 40


def refused(network: Proxy) -> None:
    assert network.cut(refuse=True) > 0


def stalled(network: Proxy) -> None:
    assert network.stall() > 0


@pytest.mark.parametrize("how", [refused, stalled])
@pytest.mark.parametrize("which", ["postgres", "rabbitmq", "both"])
async def test_it_stops_in_time_though_a_server_is_away(
    which: str, how: Callable[[Proxy], None], scene: Scene, db: asyncpg.Connection
) -> None:
    async with (
        proxy_to(scene.amqp_url) as (to_rabbitmq, amqp_url),
        proxy_to(scene.database_url) as (to_postgres, database_url),
        keeping_books(scene.amqp_url, scene.prefix) as books,
    ):
        away = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url, "WORKER_GRACE_SECONDS": "3", **BUSY}
        async with worker_processes(1, {**scene.environ, **away}) as [first], steady_flow(scene, books, 150):
            broken = [
                network
                for name, network in (("postgres", to_postgres), ("rabbitmq", to_rabbitmq))
                if which in (name, "both")
            ]
            await scene.until_rows(db, AT_WORK)
            for network in broken:
                how(network)
            stuck = len(books.answered) + 100
            await books.until(lambda: len(books.confirmed) > stuck, 90, "more sent than answered")
            took = await terminated(first)
            assert took < 3 + CLOSING_SECONDS, took
            for network in broken:
                network.heal()
        async with worker_processes(1, scene.environ):
            await books.until_all_answered(90)
    assert await verify(scene.database_url, books.confirmed, books.received) == []


@pytest.mark.parametrize("how", ["refused", "stalled"])
@pytest.mark.parametrize("which", ["postgres", "rabbitmq"])
async def test_it_stops_promptly_while_it_waits_for_a_server_at_its_start(
    which: str, how: str, scene: Scene
) -> None:
    async with (
        proxy_to(scene.amqp_url) as (to_rabbitmq, amqp_url),
        proxy_to(scene.database_url) as (to_postgres, database_url),
    ):
        network = to_postgres if which == "postgres" else to_rabbitmq
        if how == "refused":
            network.cut(refuse=True)
        else:
            network.stall()
        away = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url}
        worker = WorkerProcess({**scene.environ, **away})
        try:
            await worker.start(until_ready=False)
            await worker.event("worker.starting")
            if how == "refused":
                await worker.event("postgres.waiting" if which == "postgres" else "broker.lost")
            else:
                await scene.until(lambda: network.held_bytes > 0, "the worker waits for an answer")
            took = await terminated(worker)
            assert took < CLOSING_SECONDS, took
        finally:
            await worker.end()


async def test_it_stops_promptly_while_postgres_takes_no_writes_at_its_start(
    scene: Scene, db: asyncpg.Connection
) -> None:
    name = await db.fetchval("select current_database()")
    await db.execute(f"alter database {name} set default_transaction_read_only = on")
    worker = WorkerProcess(scene.environ)
    try:
        await worker.start(until_ready=False)
        assert "ReadOnly" in (await worker.event("postgres.waiting"))["reason"]
        took = await terminated(worker)
        assert took < CLOSING_SECONDS, took
    finally:
        await worker.end()


class TimedBooks(Books):
    """Also notes how long each response took, from the confirm of its request."""

    def __init__(self) -> None:
        super().__init__()
        self._confirmed_at: dict[str, float] = {}
        self.took: dict[str, float] = {}

    def confirm(self, request_id: UUID) -> None:
        self._confirmed_at[str(request_id)] = time.monotonic()
        super().confirm(request_id)

    def receive(self, message_id: str, body: bytes) -> None:
        if message_id not in self.took:
            now = time.monotonic()
            self.took[message_id] = now - self._confirmed_at.get(message_id, now)
        super().receive(message_id, body)


async def test_a_rolling_restart_under_load_shows_no_failed_and_no_late_response(scene: Scene) -> None:
    books = TimedBooks()
    # What a worker left to its lease would be late.
    environ = {**scene.environ, **BUSY, "WORKER_LEASE_SECONDS": str(LEASE_SECONDS)}
    async with worker_processes(3, environ) as workers:
        listening = asyncio.create_task(subscribe(scene.amqp_url, names_for(scene.prefix).responses, books))
        try:
            async with steady_flow(scene, books, 200, open_at_most=500):  # no backlog, however slow it is
                for worker in workers:
                    before = len(books.answered)
                    await terminated(worker)
                    await worker.start()
                    await books.until(lambda: len(books.answered) > before, 90, "answered meanwhile")  # noqa: B023 — awaited here
                await books.until_answered(201, 90, "enough to judge by")
            await books.until_all_answered(90)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
    slowest = max(books.took.values())
    assert slowest < LATE_SECONDS, slowest
    assert len(books.took) > 200
    await assert_unharmed(scene.database_url, books)


async def test_a_supervisor_replaces_a_killed_worker_and_stops_all_under_load(scene: Scene) -> None:
    parent = WorkerProcess({**scene.environ, **BUSY}, "--processes", "2")
    try:
        await parent.start()
        async with keeping_books(scene.amqp_url, scene.prefix) as books:
            async with steady_flow(scene, books, 75):
                await parent.heard(lambda _: len(of(parent, "worker.ready")) == 2, "two workers")
                os.kill(of(parent, "worker.starting")[0]["pid"], signal.SIGKILL)
                assert (await parent.event("worker.died"))["code"] == -signal.SIGKILL
                await parent.heard(lambda _: len(of(parent, "worker.starting")) == 3, "a third worker")
                newest = of(parent, "worker.starting")[-1]["worker"]
                await parent.event("worker.ready", worker=newest)
            await books.until_all_answered(90)
            await terminated(parent)
            assert (await parent.event("supervisor.stopped"))["codes"] == [0, 0]
    finally:
        await parent.end()
    assert await verify(scene.database_url, books.confirmed, books.received) == []


def of(parent: WorkerProcess, name: str) -> list[Event]:
    return [event for event in parent.events if event["event"] == name]
