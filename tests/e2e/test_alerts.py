"""What goes wrong on real servers makes the alerts true, in a real Prometheus that scrapes a real worker."""

from uuid import uuid4

import asyncpg
import pytest
from support.faults.processes import WorkerProcess
from support.faults.scene import Scene
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request
from support.prometheus import Prometheus, prometheus_of

from schemas import CreateSessionRequest
from worker.handlers import Context
from worker.services import peers, watching

PATIENCE_SECONDS = 40.0
QUICK = {"lease_seconds": 2, "prefetch": 8, "max_attempts": 1, "breaker_share": 1.0}


async def act(request: CreateSessionRequest, _context: Context) -> None:
    if request.payload.name == "raise":
        raise ConnectionError


async def until(prometheus: Prometheus, *alerts: tuple[str, str]) -> None:
    """Waits until all these alerts are true at the same time."""

    async def are_true() -> bool:
        found.clear()
        found.update(await prometheus.alerts())
        return found.issuperset(alerts)

    found: set[tuple[str, str]] = set()
    try:
        await eventually(are_true, PATIENCE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"never told: {set(alerts) - found}") from None


async def test_each_fault_that_is_planted_is_told(
    new_worker: NewWorker,
    desk: Desk,
    db: asyncpg.Connection,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, seconds in ((watching, "LOOK_SECONDS"), (peers, "CENSUS_SECONDS")):
        monkeypatch.setattr(module, seconds, 0.5)
    worker = await new_worker(handler=steer(act), **QUICK)
    async with prometheus_of([worker.http_port]) as prometheus:

        async def is_quiet() -> bool:
            there = await prometheus.ask("worker_queue_messages and on () worker_live_workers == 1")
            return bool(there) and not await prometheus.alerts()

        await eventually(is_quiet, PATIENCE_SECONDS)

        other = WorkerProcess(scene.environ | {"WORKER_MAX_ATTEMPTS": "7"})
        await other.start()
        await until(prometheus, ("SettingsDiffer", "ticket"))
        await other.kill()
        await until(prometheus, ("WorkerSilent", "page"))

        async with db.transaction():
            await db.execute("lock table requests")
            for _ in range(120):
                await desk.send(good_request())
            await until(prometheus, ("LockWait", "page"), ("PartDown", "page"), ("NotProgressing", "page"))
        for _ in range(120):
            await desk.next()

        await plant_what_fails(desk)
        await until(
            prometheus,
            ("HandlerFailing", "page"), ("AttemptsExhausted", "page"), ("AttemptsExhausted", "ticket"),
            ("DeadLetters", "page"), ("DeadLetters", "ticket"), ("ConflictsRising", "ticket"),
            ("AnswersNotDelivered", "ticket"), ("ResponsesRefused", "page"),
            ("NobodyReadsResponses", "ticket"),
        )  # fmt: skip

        await worker.stop()
        await until(prometheus, ("NoWorker", "page"))


async def plant_what_fails(desk: Desk) -> None:
    """Plants what needs no more than messages."""
    once = uuid4()
    for number in range(12):
        await desk.send(good_request(once, name=f"another {number}"))
    for _ in range(20):
        await desk.send(good_request(None, name="raise"))
    for _ in range(80):
        await desk.send(b"garbage", reply_to=None)
    await desk.send(good_request(), reply_to="nobody.reads.here")
    full = await desk.channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    for _ in range(3):
        await desk.send(good_request(), reply_to=full.name)
    await desk.send(good_request(), reply_to=None)
