"""One worker of an installation asks for queues, tables and locks; when it is gone, another one does."""

import asyncio
import re

import aio_pika
import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.harness import NewWorker, eventually, metric_becomes, metric_of
from support.sealed import put_dead_letter, put_request, ring

from worker.monitoring import log
from worker.monitoring.watched import Watched
from worker.postgres.database import Database
from worker.postgres.election import Elected, Election
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.volumes import Volumes
from worker.services import surveying, watching
from worker.settings import Settings
from worker.testing.running import RunningWorker

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
    await asyncio.wait_for(first, 60)
    idle: list[str] = []

    async def ask(one: Elected) -> None:
        idle.append(await one.connection.fetchval("show idle_session_timeout"))

    async def elected_again() -> bool:
        """A process that ends tells so before it gives back its lock."""
        await Election(opened).hold(ask)
        return bool(idle)

    await eventually(elected_again)
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
    assert {"sessions", "recorded_transitions"} <= sizes[0].keys()
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
    await metric_becomes(2, second, "worker_live_workers", prefix=settings.prefix)
    assert await those_who_show(first, second) == [first]

    await first.stop()
    await eventually(lambda: those_who_show(second))


async def test_the_elected_one_shows_what_the_management_api_tells_of_queues_and_which_keys_rows_need(
    managed: tuple[str, str],
    settings: Settings,
    new_worker: NewWorker,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("VOLUMES_SECONDS", "SEALED_SECONDS"):
        monkeypatch.setattr(surveying, name, 0.2)
    amqp_url, management_url = (SecretStr(url) for url in managed)
    for keys in (ring("k1"), ring("k2", "k1")):
        await put_request(db, keys)
    await put_request(db, ring("k1"), "waiting")
    await put_dead_letter(db, b"no JSON", ring("k1"))
    worker = await new_worker(amqp_url=amqp_url, management_url=management_url)
    queue = names_for(settings.prefix).responses
    async with await aio_pika.connect(managed[0]) as connection:
        channel = await connection.channel()
        for _ in range(3):
            await channel.default_exchange.publish(aio_pika.Message(b"x" * 100), queue)
        await (await channel.get_queue(queue)).get()  # and does not acknowledge it
        await metric_becomes(1, worker, "worker_queue_messages", queue=queue, state="unacknowledged")
        await metric_becomes(2, worker, "worker_queue_messages", queue=queue, state="ready")
        await metric_becomes(300, worker, "worker_queue_bytes", queue=queue)
    await metric_becomes(3, worker, "worker_sealed_rows", key="k1")
    await metric_becomes(1, worker, "worker_sealed_rows", key="k2")


async def test_a_management_api_that_does_not_tell_is_logged_once_and_shows_nothing(
    managed: tuple[str, str], settings: Settings
) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))
    nowhere, stranger = "http://127.0.0.1:1", re.sub("//[^:]+:", "//nobody:", managed[1])
    assert stranger != managed[1]
    for url in (nowhere, stranger, "amqp://127.0.0.1"):
        volumes = Volumes(url, "/", None, lambda: names_for(settings.prefix))
        with capture_logs() as events:
            assert [await volumes.ask() for _ in range(2)] == [[], []]
            volumes._url = managed[1]
            await volumes.ask()
        assert [event["event"] for event in events] == ["management.away", "management.back"]
        assert "MANAGEMENT_URL" in events[0]["remedy"]


def test_of_many_keys_those_that_most_rows_need_have_a_series_each() -> None:
    """What looks like a name of a key may be anybody's text."""
    registry = CollectorRegistry()
    watched = Watched(registry)

    watched.show_sealed({f"k{number}": 100 - number for number in range(25)})

    assert registry.get_sample_value("worker_sealed_rows", {"key": "k19"}) == 81
    assert registry.get_sample_value("worker_sealed_rows", {"key": "k20"}) is None
    assert registry.get_sample_value("worker_sealed_rows", {"key": "other"}) == 80 + 79 + 78 + 77 + 76
    watched.forget()
    assert registry.get_sample_value("worker_sealed_rows", {"key": "k1"}) is None
