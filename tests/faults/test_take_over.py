"""What happens in the moment in which a lease changes hands, each case by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from pamqp import commands as spec
from support.faults.load import request_for
from support.harness import Desk, NewWorker, eventually, good_request, row_of
from support.steering import steer

from schemas import CreateSessionRequest
from worker import app
from worker.errors import LeaseLost
from worker.handlers import Context
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import parse_seal_keys
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres.database import Database
from worker.postgres.rows import Claim, Held
from worker.postgres.store import Store, first_work
from worker.process.failpoint import FailPoint
from worker.rabbitmq.intake import Intake
from worker.services.recovery import Recovery
from worker.settings import Settings
from worker.steps import creating
from worker.steps.attempting import Attempting
from worker.steps.creating import BuiltInCreation
from worker.steps.finishing import Finishing
from worker.values import Answer, Arrival, Completed, Failed, PutOff, Work

KEYS = parse_seal_keys("")
PUBLISHED = "select published_at is not null from requests where request_id = $1"
RUN_OUT = "update leases set lease_until = now() - interval '1 s'"


class StoreWithNews(Store):
    """Something happens right after it has looked into a lease."""

    async def held(self, lease: int) -> list[Held]:
        rows = await super().held(lease)
        news, self.news = getattr(self, "news", None), None
        if news is not None:
            await news
        return rows


@pytest_asyncio.fixture
async def stores(settings: Settings) -> AsyncIterator[tuple[Store, StoreWithNews]]:
    """Of the former holder, and of the one that takes over."""
    url = settings.database_url.get_secret_value()
    database = Database(url, 2, None, Readiness(["postgres"]), FailPoint(""))
    await database.open()
    pair = Store(database, uuid4(), 60), StoreWithNews(database, uuid4(), 60)
    for store in pair:
        await store.register("host", 1, "1")
    yield pair
    await database.close()


def arrival() -> Arrival:
    request_id = uuid4()
    body = json.dumps(request_for(request_id)).encode()
    message = Message(body, spec.Basic.Properties(), None)
    decoded = decode(message, Limits(100_000), KEYS, datetime.now(UTC))
    assert isinstance(decoded, Arrival)
    return decoded


async def begun(store: Store, db: asyncpg.Connection, count: int = 1) -> tuple[int, list[Work]]:
    """Requests that this worker has claimed, and whose lease has run out since."""
    lease, arrivals = store.new_lease(), [arrival() for _ in range(count)]
    assert await store.accept(arrivals, lease) == {one.request_id for one in arrivals}
    await db.execute(RUN_OUT)
    return lease, [first_work(one) for one in arrivals]


def claim(work: Work) -> Claim:
    return Claim(work.request_id, work.attempt, None, lost=True)


def completed(work: Work) -> Completed:
    return creating.completed(work, datetime.now(UTC), {})


class Published:
    """Stands for the broker: what is answered is only written down."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def answer(self, answers: Sequence[Answer]) -> None:
        self.answers += answers


def recovery(store: Store, published: Published, finishing: Finishing) -> Recovery:
    async def work(works: Sequence[Work], lease: int, _settle: object) -> None:
        await published.answer(await finishing.finish([completed(one) for one in works], lease))

    parts: Any = SimpleNamespace(work=work, steady=True)
    readiness = Readiness(["all"])
    readiness.up("all")
    attempting = Attempting(
        store, KEYS, parts, BuiltInCreation(), finishing, cast("Any", published), 5, cast("Any", None)
    )
    return Recovery(store, attempting, parts, readiness, Metrics())


async def test_what_the_former_holder_finishes_in_that_moment_is_answered_by_the_new_one(
    stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    former, new = stores
    _, (first, second) = await begun(former, db, 2)
    new.news = former.finish([completed(first)])
    published = Published()
    recover = recovery(new, published, Finishing(new, Metrics()))

    await recover.run_once()
    await recover.drain()
    await new.flush_notes()

    # The former holder dies here: it answers nothing.
    assert {answer.request_id for answer in published.answers} == {first.request_id, second.request_id}
    assert [(await row_of(db, one.request_id))["attempt"] for one in (first, second)] == [1, 2]
    assert await db.fetchval("select count(*) from leases") == 0


@pytest.mark.parametrize("verdict", ["completed", "retry"])
async def test_a_verdict_on_what_another_finished_meanwhile_is_its_answer(
    verdict: str, stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    holder, other = stores
    lease, (work,) = await begun(holder, db)
    await Finishing(other, Metrics()).finish_current([cast("Failed", completed(work))])

    mine = PutOff(work, 60, "later") if verdict == "retry" else completed(work)
    (answer,) = await Finishing(holder, Metrics()).finish([mine], lease)

    assert answer.body == (await row_of(db, work.request_id))["response"]
    assert await db.fetchval("select count(*) from leases") == 1


async def test_a_former_holder_lets_the_lease_go_without_taking_it_from_the_new_one(
    stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    former, new = stores
    lease, (work,) = await begun(former, db)
    assert [taken.lease for taken in await new.take_over(10, from_silent_holders=True)] == [lease]
    assert await new.claim_again([claim(work)], lease) == {work.request_id}

    assert await former.finish([completed(work)]) == {}
    former.note_done(lease)
    await former.flush_notes()

    assert await db.fetchval("select worker from leases") == new._worker


async def test_whoever_has_lost_a_lease_claims_nothing_under_it(
    stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    former, new = stores
    lease, (work,) = await begun(former, db)
    await new.take_over(10, from_silent_holders=True)

    assert await former.claim_again([claim(work)], lease) == set()
    assert await new.claim_again([claim(work)], lease) == {work.request_id}


async def test_a_worker_does_not_take_over_what_it_is_busy_with_or_has_yet_to_let_go(
    stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    holder, other = stores
    lease, _ = await begun(holder, db)

    assert await holder.take_over(10, from_silent_holders=True) == []
    holder.note_done(lease)
    assert await holder.take_over(10, from_silent_holders=True) == []
    await other.take_over(10, from_silent_holders=True)
    await holder.flush_notes()
    await db.execute(RUN_OUT)
    assert [taken.lease for taken in await holder.take_over(10, from_silent_holders=True)] == [lease]


async def test_nothing_is_accepted_into_a_lease_that_was_taken_over(
    stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    former, new = stores
    lease, (work,) = await begun(former, db)
    await new.take_over(10, from_silent_holders=True)

    with pytest.raises(LeaseLost):
        await former.accept([arrival()], lease)
    assert await db.fetch("select request_id from requests") == [(work.request_id,)]


async def test_a_sign_of_life_uses_up_no_number(
    stores: tuple[Store, StoreWithNews], db: asyncpg.Connection
) -> None:
    """A lease's id begins with its worker's number, which has 27 bits: beats would use them up in months."""
    for _ in range(5):
        await stores[0].heartbeat("host", 1, "1")
    third = Store(stores[0]._database, uuid4(), 60)
    await third.register("host", 1, "1")

    assert third._number - stores[1]._number == 1
    await db.execute("delete from workers")
    await stores[0].heartbeat("host", 1, "1")
    assert await db.fetchval("select id from workers") == stores[0]._worker


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
        await eventually(lambda one=quick["request_id"]: db.fetchval(PUBLISHED, UUID(one)))
    assert (await row_of(db, slow["request_id"]))["published_at"] is None
    go_on.set()
    assert str((await desk.ask(slow)).request_id) == slow["request_id"]


async def test_a_worker_that_stops_takes_nothing_over(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are free for it: what it began now would be cut off when its time is over."""
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
