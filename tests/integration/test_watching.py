"""One worker of an installation asks for queues, tables and locks; when it is gone, another one does."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from support.harness import NewWorker, RunningWorker, eventually, metric_of

from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.database import Database
from worker.postgres.election import Elected, Election
from worker.rabbitmq.topology import names_for
from worker.services import watching
from worker.settings import Settings

OLD_BUT_FINISHED_OR_FOR_LATER = """
insert into requests (request_id, fingerprint, body, session_id, status, attempt, lease, received_at,
  started_at, finished_at, response, waits_in, waits_for, begins_at)
values
  (gen_random_uuid(), '', '{}', 'ts_1', 'completed', 1, 7, now() - interval '9 h',
   now(), now(), '{}', null, null, null),
  (gen_random_uuid(), '', '{}', 'ts_2', 'pending', 0, null, now() - interval '8 h',
   null, null, null, '', 'not_before', now() + interval '1 h')
"""
UNFINISHED = """
insert into requests (request_id, fingerprint, body, session_id, status, attempt, lease, received_at,
  started_at, due_at, waits_in, waits_for, begins_at)
values
  (gen_random_uuid(), '', '{}', 'ts_3', 'pending', 0, null, now() - interval '8 h',
   null, null, '', 'not_before', now() - interval '1 min'),
  (gen_random_uuid(), '', '{}', 'ts_4', 'processing', 1, null, now() - interval '2 min',
   now(), now() + interval '1 h', null, null, null),
  (gen_random_uuid(), '', '{}', 'ts_5', 'processing', 1, 7, now() - interval '3 min',
   now(), null, null, null, null)
"""


@pytest_asyncio.fixture
async def opened(settings: Settings) -> AsyncIterator[Database]:
    connected = Database(settings.database_url.get_secret_value(), 2, None, Readiness([database.PART]))
    await connected.open("public")
    yield connected
    await connected.close()


async def test_one_is_elected_and_the_next_one_once_its_connection_is_lost(
    opened: Database, db: asyncpg.Connection
) -> None:
    elected: asyncio.Queue[Elected] = asyncio.Queue()

    async def stay(one: Elected) -> None:
        await elected.put(one)
        while True:
            await one.lock_wait()
            await asyncio.sleep(0.01)

    first = asyncio.create_task(Election(opened).hold(stay))
    await elected.get()
    holder = (
        "select pid from pg_locks join pg_database d on d.oid = database where datname = current_database() "
        "and locktype = 'advisory' and objsubid = 2 and granted"
    )
    pid = await db.fetchval(holder)
    await Election(opened).hold(stay)  # returns at once: another one is elected
    assert elected.empty()

    await db.execute("select pg_terminate_backend($1)", pid)
    await asyncio.wait_for(first, 10)
    idle: list[str] = []

    async def ask(one: Elected) -> None:
        idle.append(await one._connection.fetchval("show idle_session_timeout"))

    await Election(opened).hold(ask)
    assert idle == ["20s"], "a frozen worker is not elected for ever"


async def test_what_the_elected_one_is_told_by_postgres(opened: Database, db: asyncpg.Connection) -> None:
    found: list[float | None] = []
    sizes: list[dict[str, int]] = []

    async def ask(one: Elected) -> None:
        found.append(await one.oldest_unfinished())
        await db.execute("set session_replication_role = replica")  # triggers are off
        await db.execute("insert into leases (id, lease_until) values (7, now())")
        for statement in (OLD_BUT_FINISHED_OR_FOR_LATER, UNFINISHED):
            await db.execute(statement)
            found.append(await one.oldest_unfinished())
        sizes.append(await one.table_bytes())
        async with db.transaction():
            await db.execute("lock table requests")
            found.append(await one.oldest_unfinished())
            sizes.append(await one.table_bytes())

    await Election(opened).hold(ask)

    nothing, done, unfinished, locked = found
    assert (nothing, done) == (0, 0)
    assert unfinished is not None
    assert 180 <= unfinished < 200
    assert sizes[0]["requests"] > 0
    assert {"sessions", "request_transitions"} <= sizes[0].keys()
    assert (locked, sizes[1]) == (None, {}), "a lock on the table does not hold it up"


async def test_of_two_workers_one_shows_the_queues_and_then_the_other(
    new_worker: NewWorker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.1)
    queue = names_for(settings.prefix).requests

    async def those_who_show(*workers: RunningWorker) -> list[RunningWorker]:
        return [
            one for one in workers if await metric_of(one, "worker_queue_consumers", queue=queue) is not None
        ]

    first = await new_worker()
    await eventually(lambda: those_who_show(first))
    second = await new_worker()

    async def both_consume() -> bool:
        return await metric_of(first, "worker_queue_consumers", queue=queue) == 2

    await eventually(both_consume)
    assert await metric_of(second, "worker_live_workers", prefix=settings.prefix) is not None
    assert await those_who_show(first, second) == [first]

    await first.stop()
    await eventually(lambda: those_who_show(second))
