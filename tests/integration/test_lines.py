"""Requests that may not begin yet wait in Postgres, in the lines of their organisations."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from support.handlers import steer
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    metric_becomes,
    metric_of,
    response_in,
    row_of,
)

from schemas import CreateSessionRequest
from worker.handlers import Context
from worker.services import taking
from worker.settings import Settings
from worker.steps.accepting import Accepted, Accepting
from worker.values import Arrival

PAUSE = "insert into pauses (scope, name, reason, paused_by) values ($1, $2, 'a test', 'me')"
RESUME = "delete from pauses where scope = $1 and name = $2"
LIMIT = (
    "insert into limits (scope, name, source, running, rate, burst, weight, set_by) "
    "values ($1, $2, 'command', $3, $4, $5, $6, 'me')"
)


# Most of the times between the end of one request and the beginning of the next, in seconds.
BETWEEN = """
select percentile_cont(0.5) within group (order by extract(epoch from started_at - ended))
from (select started_at, lag(finished_at) over (order by started_at) as ended from requests) as each_one
"""
HISTORY = "select status, attempt from request_transitions where request_id = $1 order by at"


def of_org(org: str, **payload: Any) -> dict[str, Any]:
    return {**good_request(None, **payload), "org_id": org}


async def settled(db: asyncpg.Connection, waiting: int) -> None:
    """Waits until so many requests wait in Postgres."""

    async def look() -> bool:
        found: int = await db.fetchval("select count(*) from requests where waits_in is not null")
        return found == waiting

    await eventually(look)


async def test_what_is_paused_waits_and_begins_when_it_is_resumed(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE, "org", "held")
    worker = await new_worker()
    held, other = of_org("held"), of_org("other")
    await desk.send(held)
    assert (await desk.ask(other)).status == "completed"
    await settled(db, 1)

    row = await row_of(db, held["request_id"])
    assert (row["status"], row["attempt"], row["waits_for"], row["lease"]) == ("pending", 0, "paused", None)
    await metric_becomes(1, worker, "worker_waiting_requests", reason="paused")
    await db.execute(RESUME, "org", "held")

    answer = response_in(await desk.next())
    assert (str(answer.request_id), answer.status) == (held["request_id"], "completed")
    row = await row_of(db, held["request_id"])
    assert (row["status"], row["attempt"], row["waits_in"], row["waits_for"]) == ("completed", 1, None, None)
    history = await db.fetch(
        "select status, attempt from request_transitions where request_id = $1 order by at",
        UUID(held["request_id"]),
    )
    assert [tuple(step) for step in history] == [("pending", 0), ("processing", 1), ("completed", 1)]
    assert await db.fetchval("select count(*) from lines") == 0


async def test_a_flood_is_shared_out_also_the_backlog_that_is_there(
    new_worker: NewWorker, desk: Desk
) -> None:
    all_sent = asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        await all_sent.wait()
        await asyncio.sleep(0.05)  # the work

    worker = await new_worker(handler=steer(act), handler_concurrency=4)
    assert await metric_of(worker, "worker_shares_throttled_total") == 0
    await asyncio.gather(*(desk.send(of_org("flood")) for _ in range(400)))  # many in a batch
    quiet = [of_org(f"quiet-{n}") for n in range(5)]
    for one in quiet:
        await desk.send(one)
    all_sent.set()
    order = [response_in(await desk.next()) for _ in range(405)]

    assert {one.status for one in order} == {"completed"}
    ids = {one["request_id"] for one in quiet}
    last = max(place for place, one in enumerate(order) if str(one.request_id) in ids)
    assert last < 300, "they came last, and the flood in front of them takes five seconds"
    throttled = await metric_of(worker, "worker_shares_throttled_total")
    put_in_line = await metric_of(worker, "worker_put_in_line_total", reason="over_share")
    assert throttled is not None
    assert put_in_line is not None
    assert 0 < throttled < put_in_line, "an organisation counts once in a batch"
    await metric_becomes(0, worker, "worker_waiting_requests", reason="over_share")


@pytest.mark.parametrize(("each", "lines"), [(1, 100), (2, 50), (10, 25)])
async def test_a_claim_is_filled_however_few_requests_each_organisation_has(
    db: asyncpg.Connection, each: int, lines: int
) -> None:
    """Of some lines, and of as few as that takes: each costs more than a request."""
    await db.execute(
        "insert into requests (request_id, status, attempt, org_id, fingerprint, body, session_id, waits_in,"
        " waits_for, begins_at) select gen_random_uuid(), 'pending', 0, 'org-' || n % 150, 'plain:', '{}',"
        " 'ts_' || n, 'org-' || n % 150, 'over_share', now() from generate_series(1, $1::integer) as n",
        150 * each,
    )
    await db.execute("select join_lines(array_agg(waits_in), array_agg(begins_at)) from requests")

    claimed = await db.fetch("select org_id from claim_waiting($1, 1, 60, 100)", uuid4())

    assert (len(claimed), len({row["org_id"] for row in claimed})) == (100, lines)


async def test_who_comes_behind_a_flood_passes_it_by(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch of the flood is under way, and no other one can begin in its lane."""
    under_way, goes_on = asyncio.Queue[int](), asyncio.Semaphore(0)
    accept = Accepting.accept

    async def the_flood_in_turn(self: Accepting, arrivals: Sequence[Arrival], lease: int) -> Accepted:
        if "flood" in {arrival.org_id for arrival in arrivals}:
            under_way.put_nowait(len(arrivals))
            await goes_on.acquire()
        return await accept(self, arrivals, lease)

    monkeypatch.setattr(Accepting, "accept", the_flood_in_turn)
    worker = await new_worker(batch_size=8, batches=1)
    flood, quiet = [of_org("flood") for _ in range(300)], [of_org(f"quiet-{n}") for n in range(5)]
    await asyncio.gather(*map(desk.send, flood))
    first = await under_way.get()
    await metric_becomes(len(flood) - first, worker, "worker_buffered_requests")
    goes_on.release()
    assert await under_way.get() == 8, "it was the turn of the flood, and the next turn is that of others"
    await asyncio.gather(*map(desk.send, quiet))
    answers = [response_in(await desk.next()) for _ in range(first + len(quiet))]
    assert {one["request_id"] for one in quiet} <= {str(one.request_id) for one in answers}
    for _ in flood:
        goes_on.release()
    answers += [response_in(await desk.next()) for _ in range(len(flood) - first)]

    assert {one.status for one in answers} == {"completed"}
    assert len({one.request_id for one in answers}) == len(flood) + len(quiet)


async def test_what_lies_behind_calls_that_hang_is_in_line_for_other_workers(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    hanging, go_on = asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        hanging.set()
        await go_on.wait()

    await new_worker(handler=steer(act), handler_concurrency=1, batch_size=10)
    for _ in range(40):
        await desk.send(good_request())
    await hanging.wait()

    async def look() -> bool:
        found: int = await db.fetchval("select count(*) from requests where waits_in is not null")
        return found >= 30

    await eventually(look)
    go_on.set()
    for _ in range(40):
        assert response_in(await desk.next()).status == "completed"


async def test_a_limit_of_running_requests_holds_on_all_workers(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    running, most = Counter[str](), Counter[str]()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        running[request.org_id] += 1
        most[request.org_id] = max(most[request.org_id], running[request.org_id])
        await asyncio.sleep(0.06)
        running[request.org_id] -= 1

    await db.execute(LIMIT, "org", "few", 2, None, None, None)
    await declare_topology(settings)
    for _ in range(30):
        await desk.send(of_org("few"))
        await desk.send(of_org("many"))
    await new_worker(handler=steer(act))
    await new_worker(handler=steer(act))
    answers = [response_in(await desk.next()) for _ in range(60)]

    assert {one.status for one in answers} == {"completed"}
    assert most["few"] == 2
    assert most["many"] > 2


async def test_a_rate_holds(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(taking, "LOOK_SECONDS", 40)  # each begins when it may: no look finds it
    await db.execute(LIMIT, "org", "slow", None, 20.0, 5, None)
    await declare_topology(settings)
    for _ in range(25):
        await desk.send(of_org("slow"))
    await new_worker()
    answers = [response_in(await desk.next()) for _ in range(25)]

    assert {one.status for one in answers} == {"completed"}
    took = await db.fetchval("select extract(epoch from max(started_at) - min(started_at)) from requests")
    assert took >= 20 / 20, "a burst of five, and then twenty a second"


async def test_a_deadline_reaches_a_request_that_waits(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE, "all", "")
    await new_worker()
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    await desk.send(good_request(), headers={"deadline": soon.isoformat()})
    answer = response_in(await desk.next())

    assert answer.metadata["code"] == "deadline_exceeded"
    assert datetime.now(UTC) >= soon
    assert await db.fetchval("select count(*) from requests where waits_in is not null") == 0


async def test_a_cancel_reaches_a_request_that_waits(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE, "all", "")
    await new_worker()
    request = good_request()
    await desk.send(request)
    await settled(db, 1)
    cancel = {"operation": "cancel_session", "request_id": request["request_id"], "reason": "no need"}
    await desk.send(cancel)
    answer = response_in(await desk.next())

    assert answer.metadata["code"] == "cancelled"
    assert await db.fetchval("select count(*) from requests where waits_in is not null") == 0


async def test_a_retry_of_a_paused_organisation_joins_its_line(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    calls, begun, paused = Counter[int](), asyncio.Event(), asyncio.Event()

    async def act(_request: CreateSessionRequest, context: Context) -> None:
        calls[context.attempt] += 1
        if context.attempt == 1:
            begun.set()
            await paused.wait()
            raise RuntimeError

    await new_worker(handler=steer(act), retry_base_seconds=0.02, retry_cap_seconds=0.05)
    await desk.send(good_request())
    await begun.wait()
    await db.execute(PAUSE, "org", "org-1")
    paused.set()
    await settled(db, 1)
    assert calls == {1: 1}
    await db.execute(RESUME, "org", "org-1")
    answer = response_in(await desk.next())

    assert answer.status == "completed"
    assert calls == {1: 1, 2: 1}


async def test_beyond_the_bound_requests_stay_in_the_queue_and_begin_later(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(PAUSE, "org", "held")
    await new_worker(max_waiting=3)
    for _ in range(5):
        await desk.send(of_org("held"))
    await settled(db, 3)
    assert (await desk.ask(of_org("other"))).status == "completed"
    assert await db.fetchval("select count(*) from requests where org_id = 'held'") == 3
    await db.execute(RESUME, "org", "held")
    answers = [response_in(await desk.next()) for _ in range(5)]

    assert {one.status for one in answers} == {"completed"}


async def test_shares_follow_weights(new_worker: NewWorker, desk: Desk, db: asyncpg.Connection) -> None:
    begun: list[str] = []

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        begun.append(request.org_id)
        await asyncio.sleep(0.01)

    await db.execute(PAUSE, "all", "")
    await db.execute(LIMIT, "org", "double", None, None, None, 2.0)
    await new_worker(handler=steer(act), handler_concurrency=2)
    for _ in range(100):
        await desk.send(of_org("double"))
        await desk.send(of_org("single"))
    await settled(db, 200)
    await db.execute(RESUME, "all", "")
    for _ in range(200):
        await desk.next()

    first = Counter(begun[:90])
    assert 56 <= first["double"] <= 64, first


async def test_what_may_not_begin_before_a_time_begins_then(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "LOOK_SECONDS", 40)  # its time wakes the worker: no look finds it
    await new_worker()
    at = datetime.now(UTC) + timedelta(seconds=3)
    later, earlier = good_request(), good_request()
    await desk.send(later, headers={"not_before": at.isoformat()})
    await desk.send(earlier)
    answers = [response_in(await desk.next()) for _ in range(2)]

    assert [str(one.request_id) for one in answers] == [earlier["request_id"], later["request_id"]]
    row = await row_of(db, later["request_id"])
    assert at <= row["started_at"] < at + timedelta(seconds=15)
    assert row["begins_at"] == at


async def test_its_time_comes_also_where_there_is_no_room_to_wait(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker(max_waiting=0)
    at = datetime.now(UTC) + timedelta(seconds=3)
    later, earlier = good_request(), good_request()
    await desk.send(later, headers={"not_before": at.isoformat()})
    await desk.send(earlier)
    answers = [response_in(await desk.next()) for _ in range(2)]

    assert [str(one.request_id) for one in answers] == [earlier["request_id"], later["request_id"]]
    assert at <= (await row_of(db, later["request_id"]))["received_at"]


async def test_the_next_one_under_a_limit_begins_as_soon_as_there_is_room(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "LOOK_SECONDS", 40)  # else it finds out twice a second

    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        await asyncio.sleep(0.01)  # the work

    await db.execute(LIMIT, "org", "one", 1, None, None, None)
    await new_worker(handler=steer(act))
    for _ in range(15):
        await desk.send(of_org("one"))
    answers = [response_in(await desk.next()) for _ in range(15)]

    assert {one.status for one in answers} == {"completed"}
    assert await db.fetchval(BETWEEN) < 0.8, "the end of one wakes the next, which sleeps for a second else"
