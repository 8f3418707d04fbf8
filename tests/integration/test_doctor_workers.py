"""The doctor finds what is wrong with workers, settings and keys: each fault is planted."""

import asyncio
import base64
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from support.contract.secret_payloads import PHONE
from support.doctor import examined, planted, visited
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request

from schemas import CreateSessionRequest
from worker.handlers import Context, RetryLater
from worker.operations.doctor.checks import handlers, keys, queues, rabbitmq, workers
from worker.operations.doctor.checks import settings as of_settings
from worker.operations.doctor.finding import Finding, Severity
from worker.operations.doctor.site import Need, Site
from worker.settings import Settings

HEALTHY = {
    "retry_seconds": 7200, "mode": "production", "http_port": 8080, "max_dead_letters": 1000,
    "lease_seconds": 30,
}  # fmt: skip
WITHOUT_MANAGEMENT = [
    check.id
    for part in (workers, handlers, of_settings, keys, rabbitmq, queues)
    for check in part.CHECKS
    if Need.MANAGEMENT not in check.needs
]
OLD_ONES = """
update workers set version = '0.0.1', started_at = now() - interval '1 day' where handler = '';
update workers set started_at = now() - interval '2 h' where handler <> '';
"""
SHARDS = """
insert into workers (id, host, pid, version) values ('9e0e7b4c-0000-4000-8000-000000000001', 'reads', 7, '1');
insert into shards values (2), (3);
insert into shard_readers
values ('9e0e7b4c-0000-4000-8000-000000000001', now(), 3, '{1,3}', now() + interval '1 h');
"""
LOAD = "select {} from workers, jsonb_to_record(load) as l (blocked float, place text, full_seconds float)"
FROZEN = """
insert into workers (id, host, pid, version, heartbeat)
values (gen_random_uuid(), 'frozen', 7, '1', now() - interval '1 min'),
  (gen_random_uuid(), 'given up', 8, '1', now() - interval '1 h')
"""


def new_key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


def with_token() -> dict[str, Any]:
    return good_request(None, phone_number={**PHONE, "twilio_auth_token": "canary-token"})


async def slow(_request: object, _context: Context) -> Mapping[str, Any]:
    await asyncio.sleep(2)
    return {}


async def never(_request: object, _context: Context) -> Mapping[str, Any]:
    await asyncio.Event().wait()
    return {}


async def put_off(_request: object, _context: Context) -> Mapping[str, Any]:
    raise RetryLater(after=3600, reason="later")


async def test_workers_that_are_gone_or_differ_are_found_and_healthy_ones_have_nothing_wrong(
    settings: Settings, new_worker: NewWorker, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "a_moment", lambda: asyncio.sleep(0))
    healthy = settings.model_copy(update=HEALTHY)
    async with visited(healthy, Need.TABLES, Need.BROKER) as site:
        (none,) = (await planted(site, "worker-none"))["worker-none"]
        assert f"no worker of {settings.prefix!r} lives, and its queue is not there" in none.what

        await new_worker(retry_seconds=7200)
        report = await examined(site, *WITHOUT_MANAGEMENT)
        assert (report.findings, report.unlooked) == ([], [])

        await new_worker(handler=steer(slow), handler_timeout_seconds=1000)
        await db.execute(OLD_ONES)
        found = await planted(
            site, "settings-differ", "worker-old", "broker-time-out", "attempts-too-few", "metrics-port"
        )
        (differ,) = found["settings-differ"]
        assert "handler 'built-in' and not 'support.handlers:steered'" in differ.what
        assert "retry_seconds 7200 and not 0" in differ.what
        assert "run 0.0.1; " in found["worker-old"][0].what
        assert "has run for 2 h" in found["worker-old"][0].what
        assert "may take 1,000 s, and a delivery is held for 2,000 s" in found["broker-time-out"][0].what
        (few,) = found["attempts-too-few"]
        assert "WORKER_MAX_ATTEMPTS 5 and WORKER_RETRY_SECONDS 0" in few.what
        assert "after about 8 s" in few.what
        assert "2 workers live on" in found["metrics-port"][0].what

        await db.execute(FROZEN)
        (frozen,) = (await planted(site, "worker-silent"))["worker-silent"]
        assert re.search(r"frozen:7 has given no sign of life for 6\d s, and holds 0 requests: ", frozen.what)


async def test_a_shard_that_no_worker_reads_is_found(settings: Settings, db: asyncpg.Connection) -> None:
    async with visited(settings, Need.TABLES) as site:
        await db.execute(SHARDS)
        (found,) = (await planted(site, "shard-unserved"))["shard-unserved"]
        assert f"1 shard of 3 that no worker reads: {settings.prefix}.requests.2" in found.what
        await db.execute("update shard_readers set holds_until = now()")
        (found,) = (await planted(site, "shard-unserved"))["shard-unserved"]
        assert "3 shards of 3 that no worker reads: " in found.what
        await db.execute("delete from shards")
        assert (await examined(site, "shard-unserved")).findings == []


@asynccontextmanager
async def ringed(settings: Settings, *ring: str) -> AsyncIterator[Site]:
    """Opens the tables with these keys in this environment."""
    with_keys = settings.model_copy(update={"seal_keys": SecretStr(",".join(ring))})
    async with visited(with_keys, Need.TABLES) as site:
        yield site


async def test_a_handler_that_takes_long_is_found_and_one_that_takes_too_long(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker(handler=steer(slow), handler_timeout_seconds=3.9)
    async with visited(settings, Need.TABLES) as site:
        await asyncio.gather(*(desk.send(good_request()) for _ in range(20)))
        for _ in range(20):
            await desk.next()
        (long,) = (await planted(site, "handler-slow"))["handler-slow"]
        assert re.search(r"1 in 100 of the newest 20 requests of this hour took [23]\.\d s", long.what)

        await worker.stop()
        await new_worker(handler=steer(never), handler_timeout_seconds=0.1)
        await desk.send(good_request())
        await eventually(lambda: db.fetchval("select count(*) > 0 from attempts where kind = 'timeout'"))
        (too_long,) = (await planted(site, "handler-slow"))["handler-slow"]
        assert "for the newest 21 requests of this hour took longer than" in too_long.what


async def test_a_handler_that_blocks_the_event_loop_is_found_and_one_whose_calls_are_all_in_use(
    settings: Settings,
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "_FULL_SECONDS", 1.0)
    go_on = asyncio.Event()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.org_id == "hangs":
            await go_on.wait()
        else:
            time.sleep(0.4)  # noqa: ASYNC251 — the fault

    await new_worker(handler=steer(act), handler_concurrency=1, lease_seconds=6)
    async with visited(settings, Need.TABLES) as site:
        assert (await examined(site, "handler-blocking", "handler-limit")).findings == []

        async def with_its_place() -> Finding | None:
            """A beat that comes between a call's end and the next look knows no place."""
            await desk.send(good_request())
            async with db.transaction():
                await db.execute("select from workers for update")  # the next beat waits, and changes nothing
                if not await db.fetchval(LOAD.format("blocked >= 0.1 and place <> ''")):
                    return None
                (found,) = (await planted(site, "handler-blocking"))["handler-blocking"]
                return found

        blocking = await eventually(with_its_place)
        assert re.search(
            r"in [1-9]\d+% of the time since its last beat, and for (0\.[1-9]|[1-9]\.\d) s at worst; "
            rf"at test_doctor_workers\.py:{act.__code__.co_firstlineno + 4} test_a_handler_that",
            blocking.what,
        )

        await desk.send(good_request() | {"org_id": "hangs"})
        await eventually(lambda: db.fetchval(LOAD.format("full_seconds >= 1")))
        (full,) = (await planted(site, "handler-limit"))["handler-limit"]
        assert re.search(r": as many as 1, for up to [1-9]\d* s", full.what)
    go_on.set()


async def test_settings_that_are_for_tests_or_open_to_all_are_told_as_those_of_this_environment(
    settings: Settings,
) -> None:
    url = settings.amqp_url.get_secret_value()
    published = url.replace(url.rpartition("@")[0].rpartition(":")[2], "local-only")
    careless = settings.model_copy(
        update={
            "http_host": "0.0.0.0",  # noqa: S104 — nothing listens there
            "http_port": 0, "log_format": "console", "log_level": "debug",
        }
    )  # fmt: skip
    async with visited(careless, Need.TABLES) as site:
        found = await planted(site, "debug", "http-open", "log-format", "metrics-port")
        assert [each.severity for each in found["debug"]] == [Severity.WARNING, Severity.NOTE]
        assert "any free port" in found["metrics-port"][0].what
        report = await examined(site, "attempts-too-few")
        assert "in the settings of this environment" in report.findings[0].what
    async with visited(settings) as site:
        hidden = site.settings.model_copy(update={"amqp_url": SecretStr(published)})
        (known,) = (await planted(replace(site, settings=hidden), "default-password"))["default-password"]
        far = site.settings.model_copy(
            update={
                "amqp_url": SecretStr("amqp://u:hidden@[::1],broker/%2F"),
                "database_url": SecretStr("postgresql://u:hidden@[::1]:5432,db:5433/x?sslmode=require"),
            }
        )
        told = (await planted(replace(site, settings=far), "in-the-clear"))["in-the-clear"]
    assert [each.what.partition(" in the settings")[0] for each in told] == [
        "RabbitMQ at broker is spoken to in the clear",
        "whoever answers for Postgres at db is not verified (sslmode require)",
    ]
    assert "AMQP_URL in the settings of this environment" in known.what
    assert "local-only" not in f"{known}"


async def test_keys_that_are_missing_idle_or_not_there_at_all_are_told(
    settings: Settings,
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    k1, k2, k3 = map(new_key, ("k1", "k2", "k3"))
    async with visited(settings, Need.TABLES) as site:
        keyless = await new_worker()
        assert (await desk.ask(with_token())).status == "failed"
        (none,) = (await planted(site, "keys-none"))["keys-none"]
        assert "1 request on record, with credentials, came to secrets_refused" in none.what
        await keyless.stop()

        first = await new_worker(seal_keys=SecretStr(k1))
        assert (await desk.ask(with_token())).status == "completed"
        await first.stop()
        async with ringed(settings, k2, k3) as later:
            found = await planted(later, "keys-missing", "keys-unused")
            (gone,) = found["keys-missing"]
            assert gone.severity is Severity.WARNING
            assert "the key 'k1' is not in WORKER_SEAL_KEYS of this environment" in gone.what
            assert "1 finished" in gone.what
            assert "1 sessions" in gone.what
            assert "nothing is sealed with 'k3'" in found["keys-unused"][0].what

        second = await new_worker(seal_keys=SecretStr(k1), handler=steer(put_off))
        await desk.send(with_token())
        await eventually(lambda: db.fetchval("select count(*) > 0 from requests where due_at is not null"))
        live = await new_worker(seal_keys=SecretStr(k2))
        monkeypatch.setattr(keys, "_MOST_READ", 0)
        stuck = (await planted(site, "keys-missing"))["keys-missing"]
        assert stuck[0].severity is Severity.ERROR
        assert "1 unfinished" in stuck[0].what
        report = await examined(site, "keys-unused")
        assert not report.findings
        assert "session-worker keys report" in report.unlooked[0].why
        await asyncio.gather(second.stop(), live.stop())
