"""With each program in its own role, a request goes its whole way, and the console steers what came of it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.access import administrator, as_user, broker_users, forget_roles, roles
from support.console import open_console_as, reached
from support.harness import delete_topology, eventually, run_in_process

from schemas import FailureCode
from worker.cli.own_role import as_worker
from worker.client import Client, Request
from worker.console.api.call import BASE
from worker.operations.doctor.finding import Severity
from worker.operations.doctor.run import chosen, needs_of, run
from worker.operations.doctor.site import visit
from worker.postgres.grants import Kind
from worker.rabbitmq.access import Actor
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.stack import Stack


class Roles(NamedTuple):
    """What each program of one installation is started with."""

    worker: Settings
    console: Settings
    producer: str
    subscriber: str


@pytest_asyncio.fixture
async def programs(
    settings: Settings, database_url: str, prefix: str, managed: tuple[str, str]
) -> AsyncIterator[Roles]:
    amqp_url, management_url = managed
    async with AsyncExitStack() as opened:
        admin = await opened.enter_async_context(administrator(management_url))
        users = await opened.enter_async_context(broker_users(admin, prefix))
        names = await opened.enter_async_context(roles(database_url, prefix))
        opened.push_async_callback(delete_topology, amqp_url, prefix)

        def program(actor: Actor, kind: Kind) -> Settings:
            return settings.model_copy(
                update={
                    "amqp_url": SecretStr(as_user(amqp_url, users[actor])),
                    "database_url": SecretStr(as_user(database_url, names[kind])),
                    "management_url": SecretStr(as_user(management_url, users[actor])),
                    "max_dead_letters": 100,
                }
            )

        yield Roles(
            program(Actor.WORKER, Kind.WORKER),
            program(Actor.CONSOLE, Kind.CONSOLE),
            as_user(amqp_url, users[Actor.PRODUCER]),
            as_user(amqp_url, users[Actor.SUBSCRIBER]),
        )


@pytest.mark.parametrize("shards", [1, 3])
async def test_a_request_goes_its_whole_way_with_each_program_in_its_role(
    programs: Roles, prefix: str, db: asyncpg.Connection, tmp_path: Path, shards: int
) -> None:
    with capture_logs() as events:
        async with (
            run_in_process(programs.worker) as start,
            Client(programs.producer, prefix) as producer,
            Client(programs.subscriber, prefix) as subscriber,
        ):
            await start(events=True, shards=shards)
            async with producer.watch(key="a", org_id="org-1") as steps:
                done = await producer.create_session(org_id="org-1", key="a")
                assert [event.kind.value async for event in steps] == ["accepted", "processing", "completed"]
            ending = await producer.cancel(key="b", org_id="org-1", reason="sold out")
            assert ending.response.metadata["code"] == FailureCode.CANCELLED
            async with (
                subscriber.subscribe(copies=True, limit=1) as copies,
                subscriber.subscribe(limit=1) as taken,
            ):
                asked = await producer.submit(Request(org_id="org-1", payload={"name": 17}))
                assert [response.request_id async for response in copies] == [asked]
                assert [response.request_id async for response in taken] == [asked]
            await _publish(programs.producer, prefix, {"request": str(uuid4()), "org_id": "org-1"})
            await eventually(lambda: db.fetchval("select id from dead_letters where state = 'kept'"))
            past = datetime.now(UTC) - timedelta(minutes=1)
            late = await producer.submit(Request(org_id="org-1", deadline=past))
            failed = "select status = 'failed' from requests where request_id = $1"
            await eventually(lambda: db.fetchval(failed, late))

            async with open_console_as(programs.console, tmp_path) as opened:
                console = await (await reached(opened)).bearer("operator")
                assert len((await console.get(f"{BASE}/queues")).json()["items"]) == 5
                assert await _steer(console, "retry", late) == (1, 0)
                assert await _steer(console, "resend", done.request_id, late) == (2, 0)
                assert await _steer(console, "cancel", late) == (0, 1)
    troubles = {"postgres.lost", "service.failed", "batch.failed"}
    assert not {event["event"] for event in events} & troubles, events


async def _publish(url: str, prefix: str, body: dict[str, Any]) -> None:
    """Sends what no worker can read: the producer names its fields in its own way."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(names_for(prefix).requests, ensure=False)
        await exchange.publish(aio_pika.Message(json.dumps(body).encode()), "create", mandatory=True)


async def _steer(console: httpx.AsyncClient, action: str, *ids: UUID) -> tuple[int, int]:
    """Does something to these requests; returns how many messages that took, and how many it left alone."""

    async def change(path: str, **body: Any) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid4())}
        answer = await console.post(BASE + path, json={"reason": "a test", **body}, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    made = await change("/selections", action=action, ids=[str(each) for each in ids])
    await change(f"/selections/{made['id']}/continue")

    async def ended() -> dict[str, Any] | None:
        now: dict[str, Any] = (await console.get(f"{BASE}/selections/{made['id']}")).json()
        assert now["trouble"] is None, now
        return now if now["state"] == "done" else None

    now = await eventually(ended)
    return now["done"], now["skipped"]


async def test_the_doctor_tells_a_console_s_role_from_a_worker_s(programs: Roles) -> None:
    async with run_in_process(programs.worker) as start:
        await start()
        checks = chosen(("pg-rights", "broker-rights", "topology", "broker-alarm", "bindings", "policies"))
        found = {}
        for name, settings in (("worker", programs.worker), ("console", programs.console)):
            url = settings.management_url.get_secret_value()
            async with visit(settings, needs_of(checks), 10, url) as site:
                report = await run(site, checks)
                told = [each for each in report.findings if "look into" not in each.what]
                found[name] = {(each.check, each.severity) for each in told}
                assert not report.unlooked

    assert found["worker"] == set()
    assert found["console"] == {("pg-rights", Severity.NOTE), ("broker-rights", Severity.NOTE)}


async def test_the_worker_of_a_stack_that_was_started_has_a_role_of_its_own(
    settings: Settings, database_url: str, prefix: str, managed: tuple[str, str], db: asyncpg.Connection
) -> None:
    stack = Stack(managed[0], database_url, "programs", managed[1])
    own = await as_worker(stack, settings, {})
    name = str(urlsplit(own.database_url.get_secret_value()).username)
    try:
        async with run_in_process(own) as start, Client(managed[0], prefix) as client:
            await start()
            assert await client.create_session(org_id="org-1")
            seen = "select count(*) from pg_stat_activity where usename = $1 and datname = current_database()"
            assert await db.fetchval(seen, name) > 0
    finally:
        await forget_roles(database_url, name)
        async with administrator(managed[1]) as admin:
            assert (await admin.get("users", name))["tags"] in (["monitoring"], "monitoring")
            await admin.delete("users", name)
            await delete_topology(managed[0], prefix)
    given = Stack(managed[0], database_url, "environment")
    assert await as_worker(given, settings, {"DATABASE_URL": database_url}) == settings
