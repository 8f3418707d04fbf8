"""Many connections put in line, claim, cancel, pause and limit at once, and nobody is overlooked."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.faults.lines import over_limit, overlooked
from support.harness import eventually

from schemas import FailureCode
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.rows import Held
from worker.postgres.sql import load_queries
from worker.postgres.store import Store
from worker.postgres.waiting_line import WaitingLine
from worker.process.failpoint import FailPoint
from worker.rules import WaitReason
from worker.settings import Settings
from worker.steps.finishing import Finishing
from worker.values import Arrival, Failed, Route, Waiting, Work

SECONDS, ENOUGH = 5.0, 20
ORGS = ("few", "slow", "a", "b", "c", "d")
FEW, RATE, BURST = 3, 60.0, 5
PAUSE = "insert into pauses (scope, name, reason, paused_by, ends_at) values ($1, $2, 'a test', 'me', $3)"
RESUME = "delete from pauses where scope = $1 and name = $2"
LIMIT = """
insert into limits (scope, name, source, running, rate, burst, weight, set_by)
values ($1, $2, 'command', $3, $4, $5, $6, 'me')
on conflict (scope, name, source) do update set running = excluded.running, rate = excluded.rate,
  burst = excluded.burst, weight = excluded.weight
"""
CLEAR = "delete from limits where scope = $1 and name = $2"
STILL_WAITING = "select count(*) from requests where waits_in is not null"


class Strict(Database):
    """A database whose every statement has to succeed the first time."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 1, None, Readiness(["postgres"]))

    async def call(self, query: str, *args: Any, **_how: Any) -> list[asyncpg.Record]:
        return await self.once(query, *args)


class Worker:
    """The parts of a worker that know of waiting requests, on a connection of their own."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self.database, self.leases = database, leases
        self.waiting, self.put_off = WaitingLine(database, leases), PutOffLine(database, leases)
        self.store = Store(database, leases, FailPoint(""))
        self.finishing = Finishing(self.store, self.put_off, Metrics())

    async def put(self, some: int, orgs: tuple[str, ...], **more: Any) -> list[UUID]:
        arrivals = [_arrival(random.choice(orgs), **more) for _ in range(some)]  # noqa: S311
        await self.waiting.put([Waiting(one, _reason(one)) for one in arrivals])
        return [one.request_id for one in arrivals]

    async def claim(self, most: int) -> tuple[int, list[Held]]:
        lease = self.leases.new()
        return lease, await self.waiting.take(lease, most)

    async def finish(self, held: list[Held], lease: int) -> None:
        await self.finishing.finish([_failed(row) for row in held], lease)
        self.leases.done(lease)
        await self.leases.flush_notes()


def _arrival(org: str, **more: Any) -> Arrival:
    request_id = uuid4()
    return Arrival(
        request_id=request_id, fingerprint=b"1", session_id=f"ts_{request_id}", route=Route(None, None, None),
        org_id=org, body="{}", document="{}", **more,
    )  # fmt: skip


def _reason(arrival: Arrival) -> WaitReason:
    return "not_before" if arrival.not_before else "over_share"


def _failed(row: Any) -> Failed:
    work = Work(row.request_id, row.attempt, row.session_id, row.route, row.org_id)
    return Failed(work, FailureCode.REJECTED, "{}")


NewConnection = Callable[[], Awaitable[Worker]]


@pytest_asyncio.fixture
async def connect(settings: Settings) -> AsyncIterator[NewConnection]:
    opened: list[Database] = []

    async def connect_() -> Worker:
        database = Strict(settings.database_url.get_secret_value())
        await database.open()
        opened.append(database)
        worker = Worker(database, Leases(database, uuid4(), 60))
        await worker.leases.register("host", 1, "1")
        return worker

    yield connect_
    for database in opened:
        await database.close()


@pytest_asyncio.fixture
async def connections(database_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    opened = [await asyncpg.connect(database_url) for _ in range(4)]
    yield [*opened]
    for connection in opened:
        await connection.close()


class Storm:
    """What all of them do at once, and what came of it."""

    def __init__(self, connections: list[asyncpg.Connection]) -> None:
        self.connections = connections
        self.put, self.claimed, self.cancelled, self.late = (
            set[UUID](),
            Counter[UUID](),
            set[UUID](),
            set[UUID](),
        )
        self.few, self.leaving, self.slow = set[UUID](), set[UUID](), 0
        self.over = asyncio.Event()
        self.happened = Counter[str]()

    async def is_enough(self) -> bool:
        """Say whether each of these things happened often: on a slow machine that takes longer."""
        happened = [self.happened[what] for what in ("claims", "in vain", "rules", "looks")]
        return min(*happened, len(self.cancelled), len(self.late)) > ENOUGH

    async def puts(self, worker: Worker) -> None:
        while not self.over.is_set():
            now = datetime.now(UTC)
            more = random.choice([  # noqa: S311
                {}, {}, {"not_before": now + timedelta(seconds=random.random())},  # noqa: S311
                {"deadline_at": now + timedelta(seconds=random.random())},  # noqa: S311
            ])  # fmt: skip
            self.put.update(await worker.put(random.randint(1, 8), ORGS, **more))  # noqa: S311
            await asyncio.sleep(random.random() / 100)  # noqa: S311 — so that lines get empty, too

    async def claims(self, worker: Worker, *, keep_on: Callable[[], bool]) -> None:
        while keep_on():
            lease, held = await worker.claim(random.randint(1, 20))  # noqa: S311
            if not held:
                self.happened["in vain"] += 1
                await asyncio.sleep(0.005)
                continue
            self.happened["claims"] += 1
            self.claimed.update(row.request_id for row in held)
            few = {row.request_id for row in held if row.org_id == "few"}
            self.few |= few
            self.slow += sum(row.org_id == "slow" for row in held)
            assert len(self.few - self.leaving) <= FEW
            await asyncio.sleep(random.random() / 50)  # noqa: S311 — the work
            self.few -= few
            await worker.finish(held, lease)

    async def rules(self) -> None:
        """Pause, resume and limit, all that is not under a limit for good."""
        connection = self.connections.pop()
        while not self.over.is_set():
            org = random.choice(["a", "b", "c"])  # noqa: S311
            soon = datetime.now(UTC) + timedelta(seconds=random.random() / 2)  # noqa: S311
            what: tuple[Any, ...] = random.choice([  # noqa: S311
                (PAUSE, "org", org, None), (PAUSE, "org", org, soon), (PAUSE, "all", "", None),
                (RESUME, "org", org), (RESUME, "org", org), (RESUME, "all", ""), (RESUME, "all", ""),
                (LIMIT, "org", org, 1, None, None, None), (LIMIT, "org", org, None, 0.1, 1, None),
                (LIMIT, "all", "", 8, None, None, None), (LIMIT, "all", "", None, 500.0, 20, None),
                (CLEAR, "org", org), (CLEAR, "org", org), (CLEAR, "all", ""),
            ])  # fmt: skip
            try:
                await connection.execute(*what)
                self.happened["rules"] += 1
            except asyncpg.UniqueViolationError:
                pass  # it is paused already
            await asyncio.sleep(random.random() / 20)  # noqa: S311

    async def cancels(self, worker: Worker) -> None:
        connection = self.connections.pop()
        while not self.over.is_set():
            rows = await connection.fetch(
                "select request_id from requests where status = 'pending' order by random() limit 3"
            )
            wanted = [row["request_id"] for row in rows]
            self.leaving.update(wanted)  # one that is claimed just now makes room as it is cancelled
            found = await worker.store.to_cancel(wanted)
            await worker.store.begin_pending([row.request_id for row in found if row.status == "pending"])
            failed = [_failed(row)._replace(work=_failed(row).work._replace(attempt=1)) for row in found]
            answers = await worker.finishing.finish_current(failed)
            self.cancelled.update(one.request_id for one in answers)
            await asyncio.sleep(0.01)

    async def deadlines(self, worker: Worker) -> None:
        while not self.over.is_set():
            lease = worker.leases.new()
            held = await worker.put_off.take(lease, 20)
            self.late.update(row.request_id for row in held if row.response is None)
            await worker.finish([row for row in held if row.response is None], lease)
            await asyncio.sleep(0.01)

    async def looks(self) -> None:
        """Look at one moment after the other."""
        connection = self.connections.pop()
        while not self.over.is_set():
            assert await overlooked(connection) == []
            assert await connection.fetchval("select count(*) from requests where runs_in = 'few'") <= FEW
            self.happened["looks"] += 1
            await asyncio.sleep(0.005)


async def test_of_many_at_once_nobody_is_overlooked_and_no_limit_is_exceeded(
    connect: NewConnection, db: asyncpg.Connection, connections: list[asyncpg.Connection]
) -> None:
    await db.execute(LIMIT, "org", "few", FEW, None, None, None)
    await db.execute(LIMIT, "org", "slow", None, RATE, BURST, None)
    storm, begun = Storm(connections), asyncio.get_running_loop().time()
    workers = [await connect() for _ in range(9)]
    still = asyncio.Event()

    async with asyncio.TaskGroup() as tasks:
        ending = [tasks.create_task(storm.puts(worker)) for worker in workers[:3]]
        for worker in workers[3:7]:
            tasks.create_task(storm.claims(worker, keep_on=lambda: not still.is_set()))
        tasks.create_task(storm.cancels(workers[7]))
        tasks.create_task(storm.deadlines(workers[8]))
        tasks.create_task(storm.looks())
        ending += [tasks.create_task(storm.rules()) for _ in range(2)]
        await asyncio.sleep(SECONDS)
        await eventually(storm.is_enough)
        storm.over.set()
        await asyncio.wait(ending)  # what is being put in line now has to be claimed, too
        await db.execute("delete from pauses")
        await db.execute("delete from limits where name not in ('few', 'slow')")
        try:
            await eventually(lambda: db.fetchval(f"select ({STILL_WAITING}) = 0"))
        finally:
            elapsed = asyncio.get_running_loop().time() - begun
            still.set()

    assert await overlooked(db) == []
    assert await over_limit(db) == []
    assert not [one for one, times in storm.claimed.items() if times > 1], "one was claimed twice"
    assert storm.claimed.keys() | storm.cancelled | storm.late == storm.put
    assert storm.slow <= BURST + RATE * elapsed


async def test_a_line_does_not_sleep_for_a_pause_that_ends_at_this_moment(
    connect: NewConnection, db: asyncpg.Connection
) -> None:
    worker = await connect()
    await db.execute(PAUSE, "org", "a", None)
    (request_id,) = await worker.put(1, ("a",))

    async with db.transaction():
        await db.execute(RESUME, "org", "a")
        assert (await worker.claim(10))[1] == [], "it is paused until that is committed"

    assert await overlooked(db) == []
    assert [row.request_id for row in (await worker.claim(10))[1]] == [request_id]


async def test_nobody_is_counted_by_a_rate_that_is_raised_at_this_moment(
    connect: NewConnection, db: asyncpg.Connection
) -> None:
    worker = await connect()
    await db.execute(LIMIT, "org", "a", None, 0.001, 1, None)
    await worker.put(2, ("a",))

    async with db.transaction():
        await db.execute(LIMIT, "org", "a", None, 1000.0, 1000, None)
        assert (await worker.claim(10))[1] == []

    assert len((await worker.claim(10))[1]) == 2


@pytest.mark.parametrize("scope", ["all", "org"])
async def test_a_rate_that_is_raised_is_in_force_at_once(
    connect: NewConnection, db: asyncpg.Connection, scope: str
) -> None:
    worker, name = await connect(), "a" if scope == "org" else ""
    await db.execute(LIMIT, scope, name, None, 0.01, 10, None)
    await worker.put(30, ("a",))
    assert len((await worker.claim(20))[1]) == 10

    await db.execute(LIMIT, scope, name, None, 1000.0, 10, None)

    async def begun() -> bool:
        return bool((await worker.claim(20))[1])

    assert await eventually(begun), "the rate before would keep it waiting for 100 s"


async def test_who_joins_a_line_that_is_found_empty_at_this_moment_is_not_overlooked(
    connect: NewConnection, connections: list[asyncpg.Connection]
) -> None:
    worker, other = await connect(), connections[0]
    first = await worker.put(1, ("a",))
    joining = _arrival("a")

    async with other.transaction():
        await other.fetch(load_queries()["wait"], *_to_wait(joining))
        assert [row.request_id for row in (await worker.claim(10))[1]] == first
        assert (await worker.claim(10))[1] == []

    assert await overlooked(other) == []
    assert [row.request_id for row in (await worker.claim(10))[1]] == [joining.request_id]


async def test_an_empty_line_goes_and_comes_again(connect: NewConnection, db: asyncpg.Connection) -> None:
    worker = await connect()
    for _ in range(2):
        await worker.put(3, ("a", "b"))
        assert len((await worker.claim(10))[1]) == 3
        assert await db.fetchval("select count(*) from lines") == 0


async def test_a_line_wakes_when_its_first_may_begin_whoever_joined_before(
    connect: NewConnection, db: asyncpg.Connection
) -> None:
    worker = await connect()
    now = datetime.now(UTC)
    await worker.put(1, ("a",), not_before=now + timedelta(hours=1))
    (soon,) = await worker.put(1, ("a",), not_before=now + timedelta(seconds=2))
    assert (await worker.claim(10))[1] == []
    assert 0 < (await worker.waiting.next_in() or 0) <= 2

    async def begun() -> list[UUID]:
        return [row.request_id for row in (await worker.claim(10))[1]]

    assert await eventually(begun) == [soon]
    assert await db.fetchval("select asleep_for from lines") == "not_before"
    (at_once,) = await worker.put(1, ("a",))
    assert await begun() == [at_once]


async def test_nothing_is_claimed_into_a_lease_that_was_taken_over(
    connect: NewConnection, db: asyncpg.Connection
) -> None:
    worker, other = await connect(), await connect()
    await worker.put(1, ("a",))
    lease = worker.leases.new()
    await db.execute(
        "insert into leases (id, worker, lease_until) values ($1, $2, now())", lease, other.leases.worker
    )

    assert await worker.waiting.take(lease, 10) == []
    assert len((await worker.claim(10))[1]) == 1


async def test_a_claim_whose_answer_was_lost_finds_what_it_claimed_and_no_more(
    connect: NewConnection,
) -> None:
    worker = await connect()
    await worker.put(5, ("a", "b"))
    lease = worker.leases.new()

    claimed = await worker.waiting.take(lease, 3)
    again = await worker.waiting.take(lease, 3)

    assert len(claimed) == 3
    assert {row.request_id for row in again} == {row.request_id for row in claimed}


async def test_shares_are_as_the_weights_say_however_many_claim(
    connect: NewConnection, db: asyncpg.Connection
) -> None:
    for org, weight in (("a", 1.0), ("b", 2.0), ("c", 4.0)):
        await db.execute(LIMIT, "org", org, None, None, None, weight)
        await (await connect()).put(600, (org,))
    workers, claimed = [await connect() for _ in range(4)], Counter[str]()

    async def claims(worker: Worker) -> None:
        while claimed.total() < 700:
            lease, held = await worker.claim(random.choice([1, 3, 8, 20]))  # noqa: S311
            claimed.update(str(row.org_id) for row in held)
            await asyncio.sleep(0)
            await worker.finish(held, lease)

    await asyncio.gather(*map(claims, workers))

    had = [claimed["a"], claimed["b"] / 2, claimed["c"] / 4]
    assert max(had) - min(had) <= 20 + 8 + 20, (
        "no line is farther ahead than a claim and a bit, and one claim more"
    )


def _to_wait(one: Arrival) -> list[list[Any]]:
    """Return the arguments of `wait` for one request."""
    return [
        [one.request_id], [one.org_id], [None], [one.fingerprint], [one.body], [None], [one.session_id],
        [None], [None], [None], [None], ["over_share"], [None],
    ]  # fmt: skip
