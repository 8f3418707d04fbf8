"""Sessions are kept by month: a request still has one session for ever, and an old month goes as a whole."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.databases import migrate_up_to
from support.harness import NewWorker, eventually
from support.months import make_past_months, put_session, session_id_in

from worker.monitoring.readiness import Readiness
from worker.operations import audit, old_sessions, retention
from worker.operations.old_sessions import Month
from worker.operations.retention import Old
from worker.postgres import migrate
from worker.postgres.database import Database
from worker.postgres.sql import load_queries
from worker.settings import Settings

QUERIES = load_queries()
MONTHS = 24  # the migration
DAY = timedelta(days=1)
MADE = "select name from session_partitions order by ends_at desc"
WHERE = "select tableoid::regclass::text from sessions where request_id = $1"
PROCESSING = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at, received_at)
values ($1, 'processing', 1, 'x', '{}', $2, now() - $3::interval, now() - $3::interval)
"""
FINISH = """
update requests set status = 'completed', response = '{}', finished_at = now() - $2::interval
where request_id = $1
"""
TWO_AT_ONCE = """
insert into sessions (
  id, request_id, org_id, status, expiration_seconds, created_at, updated_at, expires_at, document
)
select id, $2, 'o', 'active', 60, now(), now(), now(), '{}' from unnest($1::text[]) as id
"""


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 1, None, Readiness(["postgres"]))
    await opened.open()
    yield opened
    await opened.close()


async def put_request(db: asyncpg.Connection, month: str, ago: timedelta = timedelta()) -> UUID:
    """Puts a request there that reserves a session of this month."""
    request_id = uuid4()
    await db.execute(PROCESSING, request_id, session_id_in(month, request_id), ago)
    return request_id


async def put_completed(db: asyncpg.Connection, month: str, ago: timedelta = timedelta()) -> UUID:
    request_id = await put_request(db, month, ago)
    await put_session(db, month, request_id=request_id)
    await db.execute(FINISH, request_id, ago)
    return request_id


async def last_month(db: asyncpg.Connection) -> str:
    """Returns the name of the last month. None is missing then, also if the run began in the month before."""
    await db.fetchval("select make_session_months()")
    return str(await db.fetchval(MADE))


async def test_a_session_is_in_the_month_of_its_id_and_found_by_all_that_is_known_of_it(
    db: asyncpg.Connection,
) -> None:
    first, *_, last = await make_past_months(db, 3)
    before = await put_session(db, first, session_id="ts_200101_0123456789abc")
    old, new = [await put_session(db, month) for month in (first, last)]
    strange = await put_session(db, first, session_id="ts_991231_0123456789abc")

    places = [await db.fetchval(WHERE, each) for each in (before, old, new, strange)]
    assert places == [f"sessions_before_{first[9:]}", first, last, "sessions_other"]
    plan = await db.fetch("explain select from sessions where id = $1", session_id_in(last, new))
    assert [line for (line,) in plan if "sessions" in line and last not in line] == []


async def test_a_request_has_one_session_whatever_the_month(db: asyncpg.Connection) -> None:
    first, second, third, _ = await make_past_months(db, 3)
    on_record = await put_completed(db, first)
    retired = await put_completed(db, first)
    failed = await put_request(db, first)
    await db.execute("delete from requests where request_id = $1", retired)
    unknown = await put_session(db, first)

    for request_id in (on_record, retired, unknown):
        for month in (first, second):
            with pytest.raises(asyncpg.UniqueViolationError):
                await put_session(db, month, request_id=request_id)
    await db.execute(PROCESSING, on_record := uuid4(), session_id_in(second, on_record), timedelta())
    with pytest.raises(asyncpg.UniqueViolationError):
        await put_session(db, third, request_id=on_record)
    twice = uuid4()
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute(TWO_AT_ONCE, [session_id_in(month, twice) for month in (first, second)], twice)
    await db.execute(
        "update requests set status = 'failed', response = '{}', error_code = 'rejected', finished_at = now()"
        " where request_id = $1",
        failed,
    )
    await db.execute("delete from requests where request_id = $1", failed)
    assert await put_session(db, second, request_id=failed), "it had none"
    assert {row[0] for row in await db.fetch("select request_id from used_ids")} == {retired, unknown, failed}


async def test_of_two_at_once_in_different_months_one_is_refused(
    db: asyncpg.Connection, database_url: str
) -> None:
    first, second, *_ = await make_past_months(db, 2)
    request_id, another = uuid4(), await asyncpg.connect(database_url)
    async with another.transaction():
        await put_session(another, first, request_id=request_id)
        late = asyncio.create_task(put_session(db, second, request_id=request_id))
        waits = "select exists (select from pg_locks where not granted and pid = $1)"
        await eventually(lambda: another.fetchval(waits, db.get_server_pid()))
    with pytest.raises(asyncpg.UniqueViolationError):
        await late
    await another.close()


async def test_an_id_that_comes_again_at_any_time_gets_no_second_session(
    db: asyncpg.Connection, database_url: str
) -> None:
    """Two workers take the same ids again and again, each in a month of its own, while a third one deletes
    what is finished: in whatever order, an id has its session once.
    """
    first, second, *_ = await make_past_months(db, 2)
    ids = sorted((uuid4() for _ in range(8)), key=lambda one: one.int)
    enough = asyncio.Event()
    outcomes: Counter[str] = Counter()

    async def work(number: int, month: str) -> None:
        connection, me = await asyncpg.connect(database_url), UUID(int=number)
        while not enough.is_set():
            for request_id in ids:
                outcomes[await take(connection, me, month, request_id)] += 1
        await connection.close()

    async def retire() -> None:
        connection = await asyncpg.connect(database_url)
        while not enough.is_set():
            outcomes["retired"] += await connection.fetchval(
                "select retired from retire_requests('0', 100, null)"
            )
        await connection.close()

    async with asyncio.TaskGroup() as group:
        for number, month in ((1, first), (2, second)):
            group.create_task(work(number, month))
        group.create_task(retire())
        await eventually(lambda: _true(outcomes["retired"] >= 60 and outcomes["refused"] >= 60))
        enough.set()

    sessions = await db.fetch("select request_id, count(*) from sessions group by 1")
    assert {row["request_id"]: row["count"] for row in sessions} == dict.fromkeys(ids, 1)
    assert outcomes["completed"] == len(ids)


async def _true(value: bool) -> bool:
    return value


async def take(connection: asyncpg.Connection, me: UUID, month: str, request_id: UUID) -> str:
    """Accepts and completes it as a worker does; it fails where a session was made for it before."""
    session_id = session_id_in(month, request_id)
    none: list[None] = [None]
    try:
        (accepted,) = await connection.fetch(
            QUERIES["accept"], me.int, me, 60.0, [request_id], none, none, [b"x"], ["{}"], none,
            [session_id], none, none, none, none, [],
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        return "known"  # the other one has inserted it at this moment
    if not accepted["begun"]:
        return "known"
    now = datetime.now(UTC)
    try:
        await connection.fetch(
            QUERIES["finish"], me, [request_id], [1], ["completed"], ["{}"], none, [session_id], ["o"], none,
            none, ["completed"], none, none, none, [60.0], [now], ["{}"],
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        await connection.fetch(
            QUERIES["finish"], me, [request_id], [1], ["failed"], ["{}"], ["request_id_conflict"], none, none,
            none, none, none, none, none, none, none, none, none,
        )  # fmt: skip
        return "refused"
    return "completed"


async def test_the_coming_months_are_made_once_and_take_what_waited_for_them(
    db: asyncpg.Connection, database_url: str
) -> None:
    last = await last_month(db)
    assert await db.fetchval("select make_session_months()") == 0
    await db.execute(f"drop table {last}")
    early = await put_session(db, last)
    assert await db.fetchval(WHERE, early) == "sessions_other"
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("lock table only sessions in share update exclusive mode")
        assert await db.fetchval("select make_session_months()") == 0, "it does not wait"

    others = [await asyncpg.connect(database_url) for _ in range(3)]
    made = await asyncio.gather(*(each.fetchval("select make_session_months()") for each in others))

    assert sum(made) == 1
    assert await db.fetchval(WHERE, early) == last
    assert await db.fetchval(MADE) == last
    for each in (blocker, *others):
        await each.close()


@pytest.mark.parametrize("waited", [False, True])
async def test_a_session_that_comes_while_its_month_is_made_is_in_it(
    db: asyncpg.Connection, database_url: str, *, waited: bool
) -> None:
    """It had been refused where it went before, and its request had failed."""
    last = await last_month(db)
    await db.execute(f"drop table {last}")
    if waited:
        await put_session(db, last)
    another = await asyncpg.connect(database_url)
    async with another.transaction():
        assert await another.fetchval("select make_session_months()") == 1
        coming = asyncio.create_task(put_session(db, last))
        waits = "select exists (select from pg_locks where not granted and pid = $1)"
        await eventually(lambda: another.fetchval(waits, db.get_server_pid()))
    assert await db.fetchval(WHERE, await coming) == last
    await another.close()


async def test_a_worker_makes_the_months_that_are_missing(
    db: asyncpg.Connection, new_worker: NewWorker
) -> None:
    last = await last_month(db)
    await db.execute(f"drop table {last}")

    await new_worker()

    async def there() -> bool:
        return bool(await db.fetchval(MADE) == last)

    await eventually(there)


async def test_a_month_goes_as_a_whole_when_all_of_it_may(db: asyncpg.Connection, database: Database) -> None:
    gone, active, young, on_record, now = await make_past_months(db, 4)
    for month in (gone, active, young, on_record, now):
        await put_session(db, month)
    await put_session(db, active, status="active")
    await put_session(db, young, ended_days_ago=89)
    await put_completed(db, on_record, 32 * DAY)
    from_before = await put_session(db, gone, session_id="ts_200101_0123456789abc")
    await put_session(db, gone, session_id="ts_200102_0123456789abc", ended_days_ago=89)
    await db.execute("analyze")
    before, told = datetime.now(UTC) - 90 * DAY, list[Old]()

    months = await old_sessions.months(database, before)
    counted = await old_sessions.count(database, before, told.append)
    first = f"sessions_before_{gone[9:]}"
    assert months == [
        Month(first, 2, "young"), Month(gone, 1, None), Month(active, 2, "active"), Month(young, 2, "young"),
        Month(on_record, 2, "on record"),
    ]  # fmt: skip
    assert counted == Old(gone=2, kept=0, looked=2, months=1)
    done = await old_sessions.retire(database, before, told.append, who="ann", reason="rule", rate=1e6)

    assert done == counted
    assert gone not in {name for (name,) in await db.fetch(MADE)}
    assert await db.fetchval("select to_regclass($1)", gone) is None
    assert not await db.fetchval("select exists (select from sessions where request_id = $1)", from_before)
    assert await db.fetchval("select count(*) from sessions") == 8
    entries = await audit.entries(database)
    assert {(entry.action, entry.who, entry.reason) for entry in entries} == {
        ("retention.sessions", "ann", "rule")
    }
    assert {entry.about.get("month"): entry.touched for entry in entries} == {gone: 1, None: 1}
    with pytest.raises(asyncpg.UniqueViolationError):
        await put_session(db, now, request_id=from_before)


async def test_a_month_is_not_dropped_while_somebody_reads_for_long(
    db: asyncpg.Connection, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_sessions, "_LOCK_AGAIN_SECONDS", 0.05)
    gone, _ = await make_past_months(db, 1)
    await put_session(db, gone)
    reader, before = await asyncpg.connect(database_url), datetime.now(UTC) - 90 * DAY
    async with reader.transaction():
        await reader.fetch("select from sessions")
        retiring = asyncio.create_task(
            old_sessions.retire(database, before, lambda _: None, who="ann", reason=None, rate=1e6)
        )
        waits = "select exists (select from pg_locks where not granted and relation = 'sessions'::regclass)"
        await eventually(lambda: db.fetchval(waits))
        await put_session(db, gone, status="active")  # it is let in after a second
    await reader.close()

    done = await retiring

    assert done == Old(months=1), "what was before is empty; the month has an active one by now"


async def test_what_was_there_before_the_months_stays_where_it_is_and_its_ids_are_known(
    empty_url: str, empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate_up_to(empty_url, MONTHS, monkeypatch)
    month = f"{datetime.now(UTC):sessions_%Y_%m}"
    on_record, retired = await put_completed(empty, month), await put_completed(empty, month)
    await empty.execute("delete from requests where request_id = $1", retired)
    role = f"w{uuid4().hex[:10]}"
    await migrate.create_role(empty_url, role, "made-up")
    try:
        await empty.execute(f"grant select, insert, update (status) on sessions to {role}")
        file = await empty.fetchval("select pg_relation_filepath('sessions')")

        await migrate.migrate(empty_url)

        first = await empty.fetchval("select name from session_partitions where not is_month")
        assert await empty.fetchval("select pg_relation_filepath($1::text::regclass)", first) == file
        assert await empty.fetch("select request_id from used_ids") == [(retired,)]
        await empty.execute("delete from requests where request_id = $1", on_record)
        for request_id in (on_record, retired):
            with pytest.raises(asyncpg.UniqueViolationError):
                await put_session(empty, "sessions_2030_01", request_id=request_id)
        may = "select has_table_privilege($1, $2, 'insert'), has_column_privilege($1, $2, 'status', 'update')"
        assert tuple(await empty.fetchrow(may, role, "sessions")) == (True, True)
        assert tuple(await empty.fetchrow(may, role, first)) == (False, False)
    finally:
        await empty.execute(f"drop owned by {role} cascade; drop role {role}")


async def test_what_is_shown_of_sessions_is_that_of_all_months(
    db: asyncpg.Connection, database: Database
) -> None:
    for month in await make_past_months(db, 3):
        await put_session(db, month)
    await db.execute("analyze")

    tables = {each.name: each for each in (await retention.status(database, 30)).tables}

    assert tables["sessions"].rows == 4
    assert [name for name in tables if name.startswith("sessions_")] == []
