"""Workers that treat the requests of one queue in different ways say so, each of them."""

import base64
import os
import socket
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.handlers import PATH
from support.harness import NewWorker, eventually, told

from worker.monitoring import log
from worker.settings import Settings

ME = f"{socket.gethostname()}:{os.getpid()}"
QUICK = {"lease_seconds": 3}  # who is silent for so long is no peer any more: a machine may stall


@pytest.fixture(autouse=True)
def _talkative(settings: Settings) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))


async def test_another_handler_on_the_same_queue_is_told_by_both_until_it_is_gone(
    new_worker: NewWorker,
) -> None:
    with capture_logs() as events:
        await new_worker(**QUICK)
        second = await new_worker(**QUICK, handler=PATH)
        await told(events, "workers.differ", 2)
        await second.stop()
        await told(events, "workers.alike", 1)

    first, other = sorted(
        (event for event in events if event["event"] == "workers.differ"),
        key=lambda event: str(event["handler"]),
    )
    assert (first["handler"], other["handler"]) == ("built-in", PATH)
    assert first["here_and_there"] == {"handler": ("built-in", PATH)}
    assert other["here_and_there"] == {"handler": (PATH, "built-in")}
    assert (first["workers"], first["count"], first["log_level"]) == ([ME], 1, "warning")


async def test_it_is_told_once_for_as_long_as_it_lasts(new_worker: NewWorker, db: asyncpg.Connection) -> None:
    with capture_logs() as events:
        for _ in range(2):
            await new_worker(**QUICK)
        for attempts in (7, 7, 9):
            await new_worker(**QUICK, max_attempts=attempts)
        await eventually(lambda: _beats(db, 5))
        seen = [event for event in events if event["event"] == "workers.differ"]

    here = [event["here_and_there"]["max_attempts"] for event in seen]
    assert sorted(set(here)) == [(5, 7), (5, 9), (7, 5), (7, 9), (9, 5), (9, 7)]
    assert len(here) == 2 * 2 + 2 * 2 + 2, "each worker tells each way once"


async def test_workers_that_are_alike_and_one_of_an_older_version_are_no_news(
    new_worker: NewWorker, db: asyncpg.Connection
) -> None:
    await db.execute(  # as a version before wrote it
        "insert into workers (id, host, pid, version) values ($1, 'old', 1, '0.1.0')", uuid4()
    )
    with capture_logs() as events:
        for _ in range(2):
            await new_worker(**QUICK, handler=PATH)
        await eventually(lambda: _beats(db, 2))

    assert [event for event in events if event["event"].startswith("workers.")] == []
    assert await db.fetchval("select count(*) from workers where handler = $1", PATH) == 2


async def test_seal_keys_differ_by_name_and_nothing_of_them_is_stored_or_said(
    new_worker: NewWorker, db: asyncpg.Connection
) -> None:
    keys = [f"k{number}:{base64.b64encode(os.urandom(32)).decode()}" for number in (1, 2)]
    with capture_logs() as events:
        await new_worker(**QUICK, seal_keys=SecretStr(keys[0]))
        await new_worker(**QUICK, seal_keys=SecretStr(",".join(keys)))
        event = await told(events, "workers.differ", 2)

    assert event["here_and_there"]["seal_keys"] in (("k1", "k1,k2"), ("k1,k2", "k1"))
    rows = await db.fetch("select to_jsonb(workers)::text from workers")
    for key in keys:
        assert key.partition(":")[2] not in f"{rows}{events}"


async def _beats(db: asyncpg.Connection, workers: int) -> Any:
    """Tells whether each worker has had time to look at the others more than once."""
    return await db.fetchval(
        "select count(*) >= $1 from workers where heartbeat > started_at + interval '3 s'", workers
    )
