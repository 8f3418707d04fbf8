"""A worker that has ended is named where it had a request, and is alive nowhere."""

import os
import socket
from uuid import UUID

import asyncpg
from support.doctor import visited
from support.handlers import steer
from support.harness import Desk, NewWorker, good_request, metric_becomes

from schemas import CreateSessionRequest
from worker.handlers import Context
from worker.operations import explaining, keys, listing, overview, record, steering
from worker.operations.doctor.checks.workers import seen
from worker.operations.doctor.site import Need
from worker.operations.filters import Filter, Page
from worker.postgres.database import Database
from worker.settings import Settings

PLACE = f"{socket.gethostname()}:{os.getpid()}"
KEPT = "select host from ended_workers order by host"
ENDED = """
insert into ended_workers (id, host, pid, version, started_at, ended_at)
select gen_random_uuid(), 'h' || days, 1, '1', now(), now() - days * interval '1 day'
from unnest($1::integer[]) as days
"""
SILENT = """
insert into workers (id, host, pid, version, handler_build, heartbeat)
values ($1, 'killed', 7, '1', 'b1', now() - interval '2 days'), ($2, 'lives', 8, '1', 'b1', now())
"""


async def test_what_it_had_is_found_by_its_place_and_build_and_it_lives_nowhere(
    new_worker: NewWorker, desk: Desk, opened: Database, settings: Settings
) -> None:
    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.org_id == "org-7":
            raise KeyError

    first = await new_worker(handler=steer(act), max_attempts=1)
    failed = await desk.ask(good_request() | {"org_id": "org-7"})
    (its,) = await overview.workers(opened, 30)
    await steering.pause(opened, "worker", str(its.id), reason="a bad build", by="me")
    await first.stop()
    second = await new_worker()
    assert (await desk.ask(good_request())).status == "completed"

    for wanted in (
        Filter(build=its.build),
        Filter(worker=PLACE, status="failed"),
        Filter(worker=str(its.id)),
    ):
        found = await listing.page(opened, wanted, Page())
        assert [(each.request_id, each.worker, each.build) for each in found.requests] == [
            (failed.request_id, PLACE, its.build)
        ]
        assert found.builds == [(its.build, 1)]
    assert failed.request_id is not None
    whole = await record.find(opened, failed.request_id)
    assert whole is not None
    told = await explaining.explain(opened, whole, "responses")
    assert f"by {PLACE} support.handlers:steered@{its.build}" in [event.text for event in told.events]

    await metric_becomes(1, second, "worker_live_workers", prefix=settings.prefix)
    await metric_becomes(0, second, "worker_silent_workers")
    await metric_becomes(0, second, "worker_differing_workers")
    async with visited(settings, Need.TABLES) as site:
        assert len(await seen(site)) == 1
    for live in (
        await overview.workers(opened, 30), await steering.workers(opened, 30),
        await keys.keys_of_workers(opened, 30),
    ):  # fmt: skip
        assert len(live) == 1
    assert await steering.pauses(opened) == [], "its pause has ended with it"


async def test_it_is_forgotten_with_the_requests_of_its_time(
    opened: Database, db: asyncpg.Connection
) -> None:
    killed, alive = UUID(int=1), UUID(int=2)
    await db.execute(ENDED, [1, 3, 20, 40])
    await db.execute(SILENT, killed, alive)

    await opened.call("forget_workers", 86_400, 30 * 86_400.0, 10)
    assert [row["host"] for row in await db.fetch(KEPT)] == ["h1", "h20", "h3", "killed"]
    assert [row["id"] for row in await db.fetch("select id from workers")] == [alive]
    assert await db.fetchval("select now() - ended_at > '1 day' from ended_workers where id = $1", killed)

    await opened.call("forget_workers", 86_400, None, 2)  # at most so many, however long requests are kept
    assert [row["host"] for row in await db.fetch(KEPT)] == ["h1", "killed"]
