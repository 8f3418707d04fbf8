"""A lease changes hands at the worst moment, one case a test."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from pamqp import commands as spec
from support.faults.load import request_for
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, row_of

from schemas import CreateSessionRequest
from worker import app
from worker.errors import LeaseLost
from worker.handlers import Context
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import parse_seal_keys
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.monitoring.tracing import OFF
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.rows import Claim, Held
from worker.postgres.store import Store
from worker.process.failpoint import FailPoint
from worker.rabbitmq.intake import Intake
from worker.services.recovery import Recovery
from worker.settings import Settings
from worker.steps import verdicts
from worker.steps.attempting import Attempting
from worker.steps.creating import BuiltInCreation
from worker.steps.finishing import Finishing
from worker.steps.gate import Gate
from worker.values import Answer, Arrival, Completed, Failed, PutOff, Work, first_work

KEYS = parse_seal_keys("")
PUBLISHED = "select published_at is not null from listed_requests where request_id = $1"
RUN_OUT = "update leases set lease_until = now() - interval '1 s'"


class LeasesWithNews(Leases):
    """Leases of which one is read, and something happens right after that."""

    news: Awaitable[object] | None = None

    async def held(self, lease: int) -> list[Held]:
        rows = await super().held(lease)
        news, self.news = self.news, None
        if news is not None:
            await news
        return rows


class Holder(NamedTuple):
    """A worker's parts that hold requests."""

    leases: Leases
    store: Store
    finishing: Finishing


def a_holder(leases: Leases) -> Holder:
    store = Store(leases._database, leases, FailPoint(""))
    return Holder(leases, store, Finishing(store, PutOffLine(leases._database, leases), Metrics()))


@pytest_asyncio.fixture
async def holders(settings: Settings) -> AsyncIterator[tuple[Holder, Holder]]:
    """Yields the parts of the former holder and of the worker that takes over."""
    url = settings.database_url.get_secret_value()
    database = Database(url, 2, None, Readiness(["postgres"]))
    await database.open()
    pair = a_holder(Leases(database, uuid4(), 60)), a_holder(LeasesWithNews(database, uuid4(), 60))
    for holder in pair:
        await holder.leases.register("host", 1, "1")
    yield pair
    await database.close()


def arrival() -> Arrival:
    request_id = uuid4()
    body = json.dumps(request_for(request_id)).encode()
    message = Message(body, spec.Basic.Properties(), None)
    decoded = decode(message, Limits(100_000), KEYS, datetime.now(UTC))
    assert isinstance(decoded, Arrival)
    return decoded


async def begun(holder: Holder, db: asyncpg.Connection, count: int = 1) -> tuple[int, list[Work]]:
    """Has this worker claim requests, and lets their lease run out."""
    lease, arrivals = holder.leases.new(), [arrival() for _ in range(count)]
    assert await holder.store.accept(arrivals, lease) == {one.request_id for one in arrivals}
    await db.execute(RUN_OUT)
    return lease, [first_work(one) for one in arrivals]


def claim(work: Work) -> Claim:
    return Claim(work.request_id, work.attempt, None, lost=True)


def completed(work: Work) -> Completed:
    return verdicts.completed(work, datetime.now(UTC), {})


class Published:
    """Stands in for the broker: notes each answer."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def answer(self, answers: Sequence[Answer]) -> None:
        self.answers += answers


def recovery(holder: Holder, published: Published) -> Recovery:
    async def work(works: Sequence[Work], lease: int, _slots: object, _settle: object) -> None:
        await published.answer(await holder.finishing.finish([completed(one) for one in works], lease))

    parts: Any = SimpleNamespace(work=work, steady=True)
    readiness = Readiness(["all"])
    readiness.up("all")
    attempting = Attempting(
        holder.store,
        holder.leases,
        KEYS,
        parts,
        BuiltInCreation(),
        holder.finishing,
        cast("Any", published),
        5,
        cast("Any", None),
        Metrics(),
        OFF,
    )
    gate = Gate(
        "me", fair=True, max_waiting=1, quick=False,
        is_backlogged=lambda: False, breaker_is_open=lambda: False,
    )  # fmt: skip
    return Recovery(holder.leases, attempting, gate, parts, readiness, Metrics())


async def test_what_the_former_holder_finishes_in_that_moment_is_answered_by_the_new_one(
    holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    former, new = holders
    _, (first, second) = await begun(former, db, 2)
    assert isinstance(new.leases, LeasesWithNews)
    new.leases.news = former.store.finish([completed(first)])
    published = Published()
    recover = recovery(new, published)

    await recover.run_once()
    await recover.running.drain()
    await new.leases.flush_notes()

    # The former holder dies here: it answers nothing.
    assert {answer.request_id for answer in published.answers} == {first.request_id, second.request_id}
    assert [(await row_of(db, one.request_id))["attempt"] for one in (first, second)] == [1, 2]
    assert await db.fetchval("select count(*) from leases") == 0


@pytest.mark.parametrize("verdict", ["completed", "retry"])
async def test_a_verdict_on_what_another_finished_meanwhile_is_its_answer(
    verdict: str, holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    holder, other = holders
    lease, (work,) = await begun(holder, db)
    await other.finishing.finish_current([cast("Failed", completed(work))])

    mine = PutOff(work, 60, "later") if verdict == "retry" else completed(work)
    (answer,) = await holder.finishing.finish([mine], lease)

    assert answer.body == (await row_of(db, work.request_id))["response"]
    assert await db.fetchval("select count(*) from leases") == 1


async def test_a_former_holder_lets_the_lease_go_without_taking_it_from_the_new_one(
    holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    former, new = holders
    lease, (work,) = await begun(former, db)
    assert [taken.lease for taken in await new.leases.take_over(10, from_silent_holders=True)] == [lease]
    assert await new.store.claim_again([claim(work)], lease) == {work.request_id}

    assert await former.store.finish([completed(work)]) == {}
    former.leases.done(lease)
    await former.leases.flush_notes()

    assert await db.fetchval("select worker from leases") == new.leases.worker


async def test_whoever_has_lost_a_lease_claims_nothing_under_it(
    holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    former, new = holders
    lease, (work,) = await begun(former, db)
    await new.leases.take_over(10, from_silent_holders=True)

    assert await former.store.claim_again([claim(work)], lease) == set()
    assert await new.store.claim_again([claim(work)], lease) == {work.request_id}


async def test_a_worker_does_not_take_over_what_it_is_busy_with_or_has_yet_to_let_go(
    holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    holder, other = holders
    lease, _ = await begun(holder, db)

    assert await holder.leases.take_over(10, from_silent_holders=True) == []
    holder.leases.done(lease)
    assert await holder.leases.take_over(10, from_silent_holders=True) == []
    await other.leases.take_over(10, from_silent_holders=True)
    await holder.leases.flush_notes()
    await db.execute(RUN_OUT)
    assert [taken.lease for taken in await holder.leases.take_over(10, from_silent_holders=True)] == [lease]


async def test_nothing_is_accepted_into_a_lease_that_was_taken_over(
    holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    former, new = holders
    lease, (work,) = await begun(former, db)
    await new.leases.take_over(10, from_silent_holders=True)

    with pytest.raises(LeaseLost):
        await former.store.accept([arrival()], lease)
    assert await db.fetch("select request_id from requests") == [(work.request_id,)]


async def test_a_sign_of_life_uses_up_no_number(
    holders: tuple[Holder, Holder], db: asyncpg.Connection
) -> None:
    """A lease's id begins with its worker's number, which has 27 bits: beats would use them up in months."""
    for _ in range(5):
        await holders[0].leases.heartbeat("host", 1, "1")
    third = Leases(holders[0].leases._database, uuid4(), 60)
    await third.register("host", 1, "1")

    assert third._number - holders[1].leases._number == 1
    await db.execute("delete from workers")
    await holders[0].leases.heartbeat("host", 1, "1")
    assert await db.fetchval("select id from workers") == holders[0].leases.worker


async def test_a_conflict_with_an_unfinished_request_holds_up_nothing_else(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    go_on = asyncio.Event()
    called: list[UUID] = []

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        called.append(request.request_id)
        if request.payload.name == "slow":
            await go_on.wait()

    await new_worker(handler=steer(act))
    slow = good_request(None, name="slow")
    await desk.send(slow)
    await eventually(lambda: asyncio.sleep(0, bool(called)))
    assert (await desk.ask(slow | {"org_id": "org-2"})).metadata["code"] == "request_id_conflict"

    for _ in range(3):
        quick = good_request(None, name="quick")
        assert str((await desk.ask(quick)).request_id) == quick["request_id"]
        await eventually(partial(db.fetchval, PUBLISHED, UUID(quick["request_id"])))
    assert (await row_of(db, slow["request_id"]))["published_at"] is None
    go_on.set()
    assert str((await desk.ask(slow)).request_id) == slow["request_id"]


async def test_a_worker_that_stops_takes_nothing_over(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other workers can take it; a request that it began now would be cut off when its time is over."""
    called, go_on, stopping, looks = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)
    look, stop = Recovery.run_once, Intake.stop

    async def looked(self: Recovery) -> None:
        await look(self)
        looks.release()

    async def stopped(self: Intake) -> None:
        stopping.set()
        await stop(self)

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        called.set()
        await go_on.wait()

    monkeypatch.setattr(Intake, "stop", stopped)
    monkeypatch.setattr(app, "_RECOVERY_SECONDS", 0.05)
    monkeypatch.setattr(Recovery, "run_once", looked)
    worker = await new_worker(handler=steer(act))
    await desk.send(good_request())
    await called.wait()
    worker.stop_event.set()
    await stopping.wait()
    while not looks.locked():
        await looks.acquire()
    await looks.acquire()  # one that had begun before
    await db.execute("insert into leases (id, lease_until, spends_attempt) values (17, now(), false)")

    for _ in range(3):
        await looks.acquire()
    assert await db.fetchval("select worker is null from leases where id = 17")
    go_on.set()
    await worker.task
