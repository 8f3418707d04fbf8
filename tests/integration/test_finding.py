"""Requests are found and counted exactly, whatever is at work meanwhile, and no update gets dearer by it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from worker.monitoring.readiness import Readiness
from worker.operations import counts, listing, overview, search, selections
from worker.operations.filters import Filter, Page, Sort
from worker.operations.watching import Watch
from worker.postgres.database import SERVER_SETTINGS, Database
from worker.postgres.sql import load_queries
from worker.settings import Settings

T0 = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN = """
insert into requests (request_id, status, attempt, org_id, fingerprint, body, session_id, started_at)
select gen_random_uuid(), 'processing', 1, 'org-' || n % 3, '\\x01', '{}', 'ts_' || gen_random_uuid(), now()
from generate_series(1, $1::integer) as n returning request_id
"""
FINISH = """
update requests set
  status = case when $2::text is null then 'completed' else 'failed' end, error_code = $2,
  response = '{"error": "rooms answered 503"}', finished_at = now()
where request_id = any ($1::uuid[])
"""
KEPT_AND_COUNTED = """
with kept as (
  select org_id, status, code, sum(number)::bigint as number from (
    select * from request_counts union all select * from unfolded_changes
  ) as each_one group by 1, 2, 3
), totals as (
  select status, code, sum(number)::bigint as number from (
    select * from request_totals union all select status, code, number from unfolded_changes
  ) as each_one group by 1, 2
), counted as (
  select coalesce(org_id, '') as org_id, status, coalesce(error_code, '') as code, count(*) as number
  from requests group by 1, 2, 3
)
select
  (select count(*) from kept full join counted using (org_id, status, code)
   where coalesce(kept.number, 0) <> coalesce(counted.number, 0)) as wrong,
  (select count(*) from totals full join (
     select status, code, sum(number) as number from counted group by 1, 2
   ) as c using (status, code) where coalesce(totals.number, 0) <> coalesce(c.number, 0)) as wrong_totals,
  (select count(*) from requests) as requests, (select count(*) from count_changes) as unfolded
"""
PUT = """
insert into requests (
  request_id, status, attempt, org_id, user_id, fingerprint, body, session_id, reply_to, correlation_id,
  worker, lease, received_at, started_at, finished_at, response, error_code, published_at, undelivered,
  undelivered_at, due_at, waits_in, waits_for, begins_at
)
values (
  $1, $2, $3, $4, $5, '\\x01', '{}', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  $21, $22
)
"""
COUNT = """
with counted as (
  insert into request_counts
  select coalesce(org_id, ''), status, coalesce(error_code, ''), count(*) from requests group by 1, 2, 3
  returning status, code, number
)
insert into request_totals select status, code, sum(number) from counted group by 1, 2
"""
CORRELATED = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at, correlation_id)
values ($1, 'processing', 1, '\\x01', '{}', 'ts_' || gen_random_uuid(), now(), $2)
"""
PUT_WORKER = """
insert into workers (id, host, pid, version, handler, handler_build) values ($1, $2, $3, '1', 'm:f', $4)
"""
WORKERS = [(UUID(int=1), "vm", 11, "rooms-1"), (UUID(int=2), "vm", 12, "rooms-2")]


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 4, None, Readiness([]))
    await opened.open("public")
    yield opened
    await opened.close()


async def put(db: asyncpg.Connection, number: int) -> dict[str, Any]:
    """Puts a request on record, of a kind that follows from its number; returns what a filter may ask for."""
    state = ("waiting", "processing", "retrying", "completed", "failed")[number % 5]
    finished, code = state in ("completed", "failed"), ("timeout", "rejected")[number // 5 % 2]
    at = T0 + timedelta(seconds=number // 3)  # three at a time
    worker = None if state == "waiting" else WORKERS[number % 2]
    took = timedelta(milliseconds=number * 7919 % 1000)
    response = ("confirmed", "unroutable", "none")[number // 5 % 3] if finished else "none"
    row: dict[str, Any] = {
        "request_id": UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)),
        "org": None if number % 7 == 0 else f"org-{number % 4}",
        "user": f"u{number % 3}", "status": state, "session": f"ts_260101_{number:013}",
        "code": code if state == "failed" else None,
        "reason": f"room {number % 6} is full" if state == "failed" else None,
        "worker": None if worker is None else f"vm:{worker[2]}", "build": worker and worker[3],
        "worker_id": worker and worker[0],
        "correlation": None if number % 3 == 0 else f"order-{number // 2}",
        "reply_to": f"queue-{number % 3}", "response": response,
        "attempt": 0 if state == "waiting" else 1, "received_at": at,
        "finished_at": at + took if finished else None, "took": took if finished else None,
    }  # fmt: skip
    await db.execute(
        PUT, row["request_id"],
        {"waiting": "pending", "retrying": "processing"}.get(state, state), row["attempt"], row["org"],
        row["user"], row["session"], row["reply_to"], row["correlation"], worker and worker[0],
        7 if state == "processing" else None, at, None if state == "waiting" else at, row["finished_at"],
        f'{{"error": "{row["reason"]}"}}' if finished else None, row["code"],
        at if response == "confirmed" else None, "unroutable" if response == "unroutable" else None,
        at if response == "unroutable" else None, at if state == "retrying" else None,
        row["org"] or "" if state == "waiting" else None, "paused" if state == "waiting" else None,
        at if state == "waiting" else None,
    )  # fmt: skip
    return row


@pytest_asyncio.fixture
async def rows(db: asyncpg.Connection) -> list[dict[str, Any]]:
    """Puts 210 requests on record, of all kinds."""
    await db.executemany(PUT_WORKER, WORKERS)
    await db.execute("insert into leases (id, worker, lease_until) values (7, $1, now())", WORKERS[0][0])
    await db.execute("set session_replication_role = replica")
    made = [await put(db, number) for number in range(210)]
    await db.execute("reset session_replication_role")
    await db.execute(COUNT)
    return made


def meant(row: dict[str, Any], wanted: Filter) -> bool:
    """Returns whether a filter means this request."""
    for name, value in wanted._asdict().items():
        if value is None:
            continue
        if name == "since":
            fits = row["received_at"] >= value
        elif name == "until":
            fits = row["received_at"] < value
        elif name == "attempt":
            fits = row["attempt"] >= value
        elif name == "worker":
            fits = value in (row["worker"], str(row["worker_id"]))
        elif name == "reason":
            fits = row["reason"] is not None and value.lower() in row["reason"].lower()
        else:
            fits = row[name] == value
        if not fits:
            return False
    return True


ORDERS: dict[Sort, Callable[[dict[str, Any]], Any]] = {
    "received": lambda row: row["received_at"],
    "finished": lambda row: row["finished_at"] or datetime.min.replace(tzinfo=UTC),
    "took": lambda row: timedelta(-1) if row["took"] is None else row["took"],
}
FILTERS = [
    Filter(), Filter(org="org-1"), Filter(user="u2"), Filter(status="waiting"),
    Filter(status="waiting", org="org-2"), Filter(status="processing"),
    Filter(status="retrying", org="org-1"),
    Filter(status="completed"), Filter(status="failed"), Filter(status="failed", org="org-3"),
    Filter(code="timeout"), Filter(code="timeout", org="org-2"), Filter(code="timeout", status="completed"),
    Filter(reason="ROOM 4"), Filter(worker="vm:11"), Filter(worker=str(WORKERS[1][0])),
    Filter(worker="vm:99"),
    Filter(build="rooms-2", status="completed"), Filter(session=f"ts_260101_{199:013}"),
    Filter(correlation="order-8"), Filter(reply_to="queue-1", response="unroutable"), Filter(response="none"),
    Filter(attempt=1, user="u1"), Filter(attempt=2), Filter(since=T0 + timedelta(seconds=20)),
    Filter(until=T0 + timedelta(seconds=20), org="org-1"),
    Filter(since=T0 + timedelta(seconds=5), until=T0 + timedelta(seconds=6)), Filter(org="nobody"),
]  # fmt: skip


@pytest.mark.parametrize("sort", ORDERS)
async def test_pages_have_all_that_a_filter_means_once_and_in_order(
    database: Database, rows: list[dict[str, Any]], sort: Sort
) -> None:
    for wanted in FILTERS:
        expected = [row for row in rows if meant(row, wanted)]
        expected.sort(key=lambda row: (ORDERS[sort](row), row["request_id"]), reverse=True)

        found: list[UUID] = []
        page = await listing.page(database, wanted, Page(sort=sort, limit=17))
        assert (page.number, page.exact) == (len(expected), True), wanted
        while True:
            found += [each.request_id for each in page.requests]
            if page.more is None:
                break
            page = await listing.page(database, wanted, Page(sort=sort, limit=17, after=page.more))

        assert found == [row["request_id"] for row in expected], wanted


async def test_what_is_rare_is_looked_for_some_at_a_time(
    database: Database, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 20)
    for wanted in (Filter(user="u1", attempt=1), Filter(status="waiting"), Filter(status="processing")):
        found, looks, after = [], 0, None
        while looks == 0 or after is not None:
            page = await listing.page(database, wanted, Page(limit=50, after=after))
            assert not page.exact or page.looked < 20
            found += [each.request_id for each in page.requests]
            looks, after = looks + 1, page.more

        assert looks > 5
        assert set(found) == {row["request_id"] for row in rows if meant(row, wanted)}
        assert len(set(found)) == len(found)
    with pytest.raises(listing.GoneError, match="is not on record any more"):
        await listing.page(database, Filter(), Page(after=uuid4()))


async def test_where_counts_are_kept_few_are_looked_at_and_all_if_those_are_not_enough(
    database: Database, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "GROUPED", 20)
    looked = {}
    for wanted in (Filter(), Filter(status="failed"), Filter(status="completed"), Filter(user="u1")):
        page = await listing.page(database, wanted, Page(limit=10))
        looked[wanted.status or wanted.user] = page.looked
        expected = [row for row in rows if meant(row, wanted)]
        expected.sort(key=lambda row: (row["received_at"], row["request_id"]), reverse=True)
        assert [each.request_id for each in page.requests] == [row["request_id"] for row in expected[:10]]
        assert (page.number, page.exact) == (len(expected), True)

    assert looked == {None: 40, "failed": 40, "completed": 210, "u1": 210}


async def test_a_selection_is_of_all_that_match_and_of_too_many_it_is_none(
    database: Database, db: asyncpg.Connection, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selections, "MOST_LISTED", 17)
    monkeypatch.setattr(selections, "_ADDED_AT_ONCE", 7)
    wanted = Filter(status="failed")
    named: dict[str, Any] = {"chosen_by": {}, "options": {}, "who": "me", "reason": None, "rate": 50}

    made = await selections.freeze(database, "retry", selections.matching(database, wanted), **named)
    monkeypatch.setattr(selections, "MOST_CHOSEN", 41)
    with pytest.raises(selections.TooManyChosen, match="more than 41 requests match, and nothing was done"):
        await selections.freeze(database, "retry", selections.matching(database, wanted), **named)

    ids = {row["request_id"] for row in rows if meant(row, wanted)}
    chosen = await db.fetch("select request_id from selection_items")
    assert {row["request_id"] for row in chosen} == ids
    assert (made.chosen, len(chosen), len(ids)) == (42, 42, 42)
    assert [each.id for each in await selections.selections(database)] == [made.id]


async def test_what_failed_is_grouped_and_the_last_attempt_says_why(
    database: Database, db: asyncpg.Connection, rows: list[dict[str, Any]]
) -> None:
    failed = next(row for row in rows if row["status"] == "failed")
    await db.execute(
        "insert into attempts (request_id, attempt, kind, reason) values ($1, 1, 'raised', 'no room at all')",
        failed["request_id"],
    )

    page = await listing.page(database, Filter(status="failed"), Page(limit=5))
    one = await listing.page(database, Filter(reason="NO ROOM"), Page())

    assert sum(number for _, number in page.reasons) == page.number == 42
    assert ("no room at all", 1) in page.reasons
    assert dict(page.builds) == {"rooms-1": 21, "rooms-2": 21}
    assert [each.request_id for each in one.requests] == [failed["request_id"]]
    found = await listing.matching(database, Filter(), Page(), grouped=1000)
    assert set(found.tried) == {row["request_id"] for row in rows if row["status"] != "completed"}, (
        "of these alone"
    )


async def test_by_any_of_its_ids_or_the_beginning_of_one(
    database: Database, rows: list[dict[str, Any]]
) -> None:
    failed = next(row for row in rows if row["status"] == "failed" and row["correlation"] == "order-99")
    text = str(failed["request_id"])

    for given in (text, text.upper(), text[:8], text.replace("-", "")[:12], failed["session"]):
        assert [each.request_id for each in await search.by_id(database, given)] == [failed["request_id"]]
    by_correlation = await search.by_id(database, "order-99")
    assert {each.correlation_id for each in by_correlation} == {"order-99"}
    assert len(await search.by_id(database, "order-10")) == 1, "not order-100 to order-104"
    assert len(await search.by_id(database, "ts_260101_")) == search.MOST_FOUND + 1
    for nobody in ("order-9x", "zzzzzzzz", "%", "", "\x00"[1:]):
        assert await search.by_id(database, nobody) == []


async def test_by_a_correlation_id_that_is_the_id_of_a_request(
    database: Database, db: asyncpg.Connection
) -> None:
    """Its own, as most have it, or another's: only that is in the index of correlation ids."""
    own, others, upper = (UUID(f"{digit * 8}-0000-4000-8000-000000000000") for digit in "abc")
    for one, correlation in ((own, str(own)), (others, str(own)), (upper, str(upper).upper())):
        await db.execute(CORRELATED, one, correlation)

    async def found(text: str) -> set[UUID]:
        return {each.request_id for each in await search.by_id(database, text)}

    async def listed(text: str) -> set[UUID]:
        page = await listing.page(database, Filter(correlation=text), Page())
        return {each.request_id for each in page.requests}

    assert await found(str(own)) == await listed(str(own)) == {own, others}
    assert await found("aaaaaaaa") == await found("aaaaaaaa-0000") == {own, others}
    assert await found(str(others)) == {others}
    assert await listed(str(others)) == set()
    assert await found(str(upper)) == await found(str(upper).upper()) == {upper}
    assert await listed(str(upper).upper()) == {upper}
    assert len(await search.by_id(database, str(upper).upper())) == 1, "found in two ways"
    assert await listed(str(upper)) == await listed("aaaaaaaa") == set()


async def test_each_way_goes_by_its_index_whatever_the_statistics_say(db: asyncpg.Connection) -> None:
    for name, value in SERVER_SETTINGS.items():
        await db.execute(f"set {name} = '{value}'")
    await db.execute(f"prepare matching as {load_queries('operations.sql')['matching']}")
    nothing = ", ".join(["null"] * 23)

    plan = "\n".join(row[0] for row in await db.fetch(f"explain execute matching ({nothing})"))

    for index in (
        "requests_by_time", "requests_of_org", "requests_failed", "requests_failed_of_org",
        "requests_failed_by_code", "requests_by_other_correlation", "requests_failed_session",
        "requests_in_line", "requests_due", "requests_by_lease", "requests_pkey",
    ):  # fmt: skip
        assert f" using {index} on" in plan or f"Bitmap Index Scan on {index}" in plan, index
    assert "Seq Scan on requests" not in plan


async def test_counts_are_exact_at_every_moment(
    database_url: str, db: asyncpg.Connection, database: Database
) -> None:
    """Four write in their own transactions, one folds, and one compares, each time in one snapshot."""
    await db.execute("alter table requests disable trigger requests_keep")
    stop, compared = asyncio.Event(), 0

    async def write(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311 — no secret
        connection = await asyncpg.connect(database_url)
        for _ in range(40):
            async with connection.transaction():
                ids = [row[0] for row in await connection.fetch(BEGIN, dice.randint(1, 9))]
                await connection.execute(FINISH, ids[::2], dice.choice([None, "timeout", "rejected"]))
            if dice.random() < 0.4:
                await connection.execute("delete from requests where request_id = any ($1::uuid[])", ids)
            await connection.execute(
                "update requests set published_at = now() where request_id = any ($1::uuid[])", ids[::2]
            )
        await connection.close()

    async def fold() -> None:
        while not stop.is_set():
            await database.call("fold_counts", 3, aside=True)

    async def compare() -> None:
        nonlocal compared
        while not stop.is_set():
            row = await db.fetchrow(KEPT_AND_COUNTED)
            assert (row["wrong"], row["wrong_totals"]) == (0, 0)
            compared += row["unfolded"] > 0

    async def write_all() -> None:
        await asyncio.gather(*(write(seed) for seed in range(4)))
        stop.set()

    await asyncio.gather(write_all(), fold(), fold(), compare())

    assert compared > 5, "while there was something to fold"
    total = sum(each.number for each in await counts.kept(database))
    assert total == await db.fetchval("select count(*) from requests") > 0
    of_one = {(each.status, each.code): each.number for each in await counts.kept(database, "org-1")}
    assert of_one[("processing", None)] == await db.fetchval(
        "select count(*) from requests where org_id = 'org-1' and status = 'processing'"
    )


async def test_batches_wait_for_nobody_to_be_counted(
    database_url: str, db: asyncpg.Connection, database: Database
) -> None:
    other = await asyncpg.connect(database_url, server_settings={"lock_timeout": "1000"})
    async with db.transaction():
        await db.fetch(BEGIN, 5)
        ids = [row[0] for row in await other.fetch(BEGIN, 5)]
        await other.execute(FINISH, ids, "timeout")
        folded = await database.call("fold_counts", 10)
    await other.close()

    assert folded[0][0] == 2, "what is not committed is folded later"
    assert (await db.fetchrow(KEPT_AND_COUNTED))["wrong"] == 0


async def test_no_update_on_the_normal_way_leaves_its_page(db: asyncpg.Connection) -> None:
    async with db.transaction():
        ids = [row[0] for row in await db.fetch(BEGIN, 1)]
        await db.execute(FINISH, ids, None)
        await db.execute("update requests set published_at = now()")
        updated, hot = await db.fetchrow(
            "select pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid) "
            "from pg_class where oid = 'requests'::regclass"
        )

    assert (updated, hot) == (2, 2)


async def test_a_watch_tells_each_change_once(database: Database, db: asyncpg.Connection) -> None:
    watch = Watch(database, Filter(org="org-1"))
    old = [row[0] for row in await db.fetch(BEGIN, 3)]
    assert await watch.look() == []

    new = [row[0] for row in await db.fetch(BEGIN, 3)]
    await db.execute(FINISH, old, "timeout")
    changes = await watch.look()

    assert [(each.before, each.request.status) for each in changes] == [
        ("processing", "failed"), (None, "processing"),
    ]  # fmt: skip
    assert changes[1].request.request_id in new
    assert await watch.look() == []


async def test_the_busiest_organisations_and_the_workers(
    database: Database, db: asyncpg.Connection, rows: list[dict[str, Any]]
) -> None:
    await db.fetch(BEGIN, 30)
    await db.execute("update workers set heartbeat = now() - interval '1 hour' where pid = 12")
    await db.execute("insert into pauses (scope, name, reason, paused_by) values ('worker', $1, 'x', 'me')",
                     str(WORKERS[0][0]))  # fmt: skip

    found = await overview.orgs(database, datetime.now(UTC) - timedelta(hours=1), 2)
    workers = await overview.workers(database, 30)

    assert {(each.org, each.recent) for each in found} < {(f"org-{number}", 10) for number in range(3)}
    in_hand = sum(row["status"] == "processing" for row in rows)
    assert [(each.pid, each.state, each.in_hand) for each in workers] == [
        (11, "paused", in_hand), (12, "SILENT", 0),
    ]  # fmt: skip
