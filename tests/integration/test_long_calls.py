"""Whoever looks at a request sees how far its call is, from the record; afterwards nothing of it is left."""

import asyncio
import re
from uuid import UUID

import asyncpg
import pytest
from support.commands import Shell
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request

from schemas import CreateSessionRequest
from worker.handlers import Context
from worker.operations.explaining import explain
from worker.operations.record import find
from worker.postgres.database import Database
from worker.services import telling
from worker.settings import Settings
from worker.steps import progress

LEFT = """
insert into long_calls (request_id, attempt, worker, began_at)
select $1, 1, id, now() from workers
"""


async def test_how_far_a_call_is_stands_beside_its_request_until_it_ends(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, opened: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.05)
    monkeypatch.setattr(telling, "INTERVAL_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def act(request: CreateSessionRequest, context: Context) -> None:
        if request.payload.name == "long":
            context.progress(0.4, "warming \x1b[2J the cache")
            await go_on.wait()

    worker = await new_worker(handler=steer(act))
    request = good_request(None, name="long")
    key = UUID(request["request_id"])

    async def told() -> str | None:
        record = await find(opened, key)
        return (await explain(opened, record, "prod.responses")).call if record else None

    await desk.send(request)
    assert re.fullmatch(
        r"attempt 1 has been at work for \d+ s: 40%, warming \x1b\[2J the cache \(\d+ s ago\); "
        r"the last sign of life of its worker was \d+ s ago",
        await eventually(told),
    )
    shown = await Shell(
        DATABASE_URL=settings.database_url.get_secret_value(), WORKER_PREFIX=settings.prefix
    ).run("requests", "explain", str(key))
    assert "call     attempt 1 has been at work for" in shown.out
    assert "\x1b[2J" not in shown.out
    for other in ("attempt = attempt + 1", "attempt = 1, worker = gen_random_uuid()"):
        await db.execute(f"update long_calls set {other}")  # noqa: S608 — one of these two
        assert await told() is None, "a row of another attempt, or of another worker"

    await db.execute("update long_calls set worker = (select id from workers)")
    go_on.set()
    await desk.next()
    await eventually(lambda: db.fetchval("select count(*) = 0 from long_calls"))
    assert await told() is None

    await db.execute(LEFT, key)
    await worker.stop()
    assert await db.fetchval("select count(*) from long_calls") == 0, (
        "those of a worker that stops go with it"
    )
    await db.execute("insert into long_calls values ($1, 1, gen_random_uuid(), now())", key)
    await opened.call("forget_workers", 86_400, None, 10)
    assert await db.fetchval("select count(*) from long_calls") == 0, "and those of one that was killed"
