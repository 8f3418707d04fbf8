"""An operator holds work back and lets it go on; what he decides counts at once, whoever else is at work."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.harness import eventually

from worker.monitoring.readiness import Readiness
from worker.operations import steering
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.waiting_line import WaitingLine
from worker.rules import Limit, Scope
from worker.settings import Settings

ME = "someone@here"
JOIN = "select join_lines(array[$1], array[now()])"
PUT = """
insert into requests (
  request_id, status, attempt, org_id, fingerprint, body, session_id, waits_in, waits_for, begins_at
)
values (gen_random_uuid(), 'pending', 0, $1, '\\x01', '{}', 'ts_' || gen_random_uuid(), $1, 'paused', now())
"""


async def put_in_line(db: asyncpg.Connection, org: str, number: int = 1) -> None:
    """Puts requests in the line of an organisation."""
    await db.executemany(PUT, [(org,)] * number)
    await db.execute(JOIN, org)


class Claimer:
    """Claims what waits, as a worker does."""

    def __init__(self, leases: Leases, database: Database) -> None:
        self._leases = leases
        self._line = WaitingLine(database, leases)

    async def claim(self, most: int = 10) -> int:
        return len(await self._line.take(self._leases.new(), most))


async def new_claimer(database: Database) -> Claimer:
    leases = Leases(database, uuid4(), 30)
    await leases.register("host", 1, "1")
    return Claimer(leases, database)


async def limited(database: Database, scope: Scope, name: str = "", **values: Any) -> Limit:
    return await steering.set_limit(database, Limit(scope, name, **values), reason=None, by=ME)


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    url = settings.database_url.get_secret_value()
    opened = Database(url, 8, None, Readiness([]))
    await opened.open("public")
    yield opened
    await opened.close()


async def test_a_line_that_is_resumed_while_it_is_laid_to_rest_goes_on(
    database: Database, db: asyncpg.Connection
) -> None:
    claimer = await new_claimer(database)
    await steering.pause(database, "org", "held", reason="a test", by=ME)
    await put_in_line(db, "held")
    async with db.transaction():
        await db.execute("delete from pauses")
        assert await claimer.claim() == 0, "nobody knows yet that it is resumed"

    assert await claimer.claim() == 1


@pytest.mark.parametrize("scope", ["org", "all"])
async def test_a_higher_rate_is_not_kept_waiting_by_the_one_before(
    database: Database, db: asyncpg.Connection, scope: Scope
) -> None:
    claimer = await new_claimer(database)
    name = "slow" if scope == "org" else ""
    await limited(database, scope, name, rate=0.01, burst=5)
    await put_in_line(db, "slow", 100)
    assert (await claimer.claim(), await claimer.claim()) == (5, 0), "the next one in 100 s"

    await limited(database, scope, name, rate=50.0, burst=None)

    assert await eventually(claimer.claim) > 0


async def test_a_pause_is_replaced_and_ends_once(database: Database) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    first = await steering.pause(database, "org", "a", reason="first", by="one", until=until)
    second = await steering.pause(database, "org", "a", reason="second", by="two")
    assert first is not None
    assert second is not None

    assert (first.before, first.pause.ends_at) == (None, until)
    assert (second.before, second.pause.reason, second.pause.ends_at) == (first.pause, "second", None)
    assert [one.pause for one in await steering.pauses(database)] == [second.pause]
    assert await steering.resume(database, "org", "a", by=ME) == second.pause
    assert await steering.resume(database, "org", "a", by=ME) is None


async def test_a_pause_that_is_over_is_none(database: Database, db: asyncpg.Connection) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert await steering.pause(database, "all", "", reason="late", by=ME, until=past) is None
    assert await steering.pause(database, "all", "", reason="late", by=ME, until=timedelta(0)) is None
    assert await steering.pause(database, "org", "a", reason="soon", by=ME, until=timedelta(hours=1))
    await db.execute("update pauses set ends_at = now() - interval '1 s'")

    assert await steering.pauses(database) == []
    assert await steering.resume(database, "org", "a", by=ME) is None
    again = await steering.pause(database, "org", "b", reason="soon", by=ME)
    assert again is not None
    assert again.before is None


async def test_what_is_over_is_cleared_away(database: Database, db: asyncpg.Connection) -> None:
    await db.execute(
        """
        insert into pauses (scope, name, reason, paused_by, paused_at, ends_at) values
          ('org', 'over', 'r', 'me', now(), now() - interval '1 s'),
          ('worker', 'gone', 'r', 'me', now() - interval '2 days', null),
          ('worker', 'young', 'r', 'me', now() - interval '2 hours', null),
          ('org', 'old', 'r', 'me', now() - interval '2 days', null)
        """
    )
    await steering.pause(database, "all", "", reason="r", by=ME)

    assert {row["name"] for row in await db.fetch("select name from pauses")} == {"", "young", "old"}


async def test_a_limit_keeps_what_is_not_named(database: Database, db: asyncpg.Connection) -> None:
    await db.execute(
        "insert into limits (scope, name, source, rate, burst, weight, set_by) "
        "values ('org', 'a', 'setting', 20, 40, 2, 'WORKER_LIMITS')"
    )

    assert await limited(database, "org", "a", running=10) == Limit("org", "a", 10, 20, 40, 2)
    assert await limited(database, "org", "a", rate=5.0) == Limit("org", "a", 10, 5, None, 2)
    assert await limited(database, "org", "a", weight=0.5) == Limit("org", "a", 10, 5, None, 0.5)
    removed, setting = await steering.clear_limit(database, "org", "a", by=ME)
    assert removed == Limit("org", "a", 10, 5, None, 0.5)
    assert setting == Limit("org", "a", None, 20, 40, 2)
    assert (await steering.clear_limit(database, "org", "a", by=ME)).removed is None


async def test_two_who_change_a_limit_at_once_both_do(database: Database, db: asyncpg.Connection) -> None:
    """One waits for the other, and keeps what that one has set meanwhile."""
    async with db.transaction():
        await db.execute(
            "insert into limits (scope, name, source, running, set_by) values ('org', 'a', 'command', 3, 'x')"
        )
        other = asyncio.create_task(limited(database, "org", "a", rate=5.0))
        await eventually(lambda: db.fetchval("select exists (select from pg_locks where not granted)"))

    assert await other == Limit("org", "a", 3, 5)


async def test_limits_show_what_waits_and_runs(database: Database, db: asyncpg.Connection) -> None:
    await limited(database, "org", "a", running=2)
    await limited(database, "org", "b", weight=2.0)
    await limited(database, "all", running=7)
    await limited(database, "each", rate=10.0)
    await put_in_line(db, "a", 5)
    await put_in_line(db, "b", 3)
    claimer = await new_claimer(database)
    assert await claimer.claim(4) == 4, "two of each"

    shown = {one.limit.name or one.limit.scope: one for one in await steering.limits(database)}

    waiting = {whose: one.waiting for whose, one in shown.items()}
    running = {whose: one.running_now for whose, one in shown.items()}
    assert waiting["each"] is running["each"] is None
    assert (waiting["all"], running["all"]) == (4, 4)
    assert (waiting["a"], waiting["b"], running["a"], running["b"]) == (3, 1, 2, 2)
    assert shown["b"].share == 1, "the other one has as many running as it may"
    assert await limited(database, "org", "a", running=9)
    shares = {one.limit.name: one.share for one in await steering.limits(database)}
    assert shares["b"] == pytest.approx(2 / 3)


async def test_until_when_something_waits(database: Database, db: asyncpg.Connection) -> None:
    async def until(in_hours: float = 0) -> float | None:
        """Returns for how many hours a request waits that may begin in so many."""
        row = await db.fetchrow(
            "update requests set begins_at = now() + make_interval(secs => $1) returning request_id",
            in_hours * 3600 - 60,
        )
        seconds = await db.fetchval(
            "select extract(epoch from until - now())::float8 from waiting_requests where request_id = $1",
            row["request_id"],
        )
        return None if seconds is None else round(seconds / 3600, 1)

    await put_in_line(db, "a")
    assert (await until(), await until(3)) == (None, 3)
    await steering.pause(database, "org", "a", reason="r", by=ME, until=timedelta(hours=2))
    assert (await until(), await until(1), await until(3)) == (2, 2, 3)
    await steering.pause(database, "all", "", reason="r", by=ME, until=timedelta(hours=1))
    assert (await until(), await until(3)) == (2, 3)
    await steering.pause(database, "all", "", reason="r", by=ME)
    assert (await until(), await until(3)) == (None, None), "nobody has said when"


async def operate(database: Database, number: int, orgs: list[str]) -> None:
    """Does all that an operator can do, again and again, to one organisation after the other."""
    me = f"operator {number}"
    for turn in range(15):
        org = orgs[(number + turn) % len(orgs)]
        await steering.pause(database, "org", org, reason=f"turn {turn}", by=me)
        await limited(database, "org", org, running=1 + turn, rate=20.0, burst=1)
        await limited(database, "all", rate=500.0 + turn)
        if turn % 5 == number % 5:
            await steering.pause(database, "all", "", reason=f"turn {turn}", by=me)
            await steering.resume(database, "all", "", by=me)
        await steering.clear_limit(database, "org", org, by=me)
        await steering.resume(database, "org", org, by=me)


async def test_many_operators_at_once_do_no_harm(
    database: Database, database_url: str, db: asyncpg.Connection
) -> None:
    orgs = [f"org-{number}" for number in range(12)]
    for org in orgs:
        await put_in_line(db, org, 20)
    over = asyncio.Event()

    async def claim() -> int:
        claimer, claimed = await new_claimer(database), 0
        while not over.is_set():
            claimed += await claimer.claim(3)
        return claimed

    async def join() -> int:
        connection = await asyncpg.connect(database_url)
        for joined in count(1):
            await put_in_line(connection, orgs[joined % len(orgs)])
            if over.is_set():
                break
        await connection.close()
        return joined

    others = asyncio.gather(join(), claim(), claim())
    await asyncio.gather(*(operate(database, number, orgs) for number in range(6)))
    over.set()
    joined, *claimed = await others
    await steering.clear_limit(database, "all", by=ME)

    assert await db.fetchval("select count(*) from pauses") == 0
    assert await db.fetchval("select count(*) from limits") == 0
    last = await new_claimer(database)
    while number := await last.claim(100):
        claimed.append(number)
    assert await db.fetchval("select count(*) from requests where waits_in is not null") == 0
    assert sum(claimed) == 20 * len(orgs) + joined
    assert await db.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0
