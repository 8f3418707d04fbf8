"""Who holds up our statements is found by what they wait for, and ended if an operator says so."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from support.harness import eventually

from worker.monitoring.readiness import Readiness
from worker.operations import audit, blockers
from worker.operations.blockers import first_words
from worker.postgres.database import Database
from worker.settings import Settings

SECRET = "conspicuous-token"


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 1, None, Readiness(["postgres"]))
    await opened.open()
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("lock table requests", "lock table requests"),
        (f"update requests set body = '{SECRET}'", "update requests set body = …"),  # noqa: S608 — not carried out
        (f"select $a${SECRET}$a$", "select …"),
        (f'alter role "{SECRET}"', "alter role …"),
        ("delete from t1 where n2 > 17", "delete from t1 where n2 > …"),
        (f"/* {SECRET} */ select\n 1 -- {SECRET}", "select …"),
        (f"select x /* {SECRET}", "select x"),
        ("select " + "a, " * 40, "select " + "a, " * 17 + "a, …"),
        ("", ""),
    ],
)
def test_of_a_statement_no_value_is_shown(statement: str, shown: str) -> None:
    found = first_words(statement)

    assert SECRET not in found
    assert found == shown or (len(shown) > 50 and found.endswith("…") and len(found) <= 62)


async def test_who_holds_up_ours_is_told_and_ended_and_nobody_else(
    database: Database, db: asyncpg.Connection, database_url: str
) -> None:
    assert await blockers.blockers(database) == []
    settings = {"application_name": "backup of the night"}
    holder = await asyncpg.connect(database_url, server_settings=settings)
    behind, ours, stranger, theirs = [await asyncpg.connect(database_url) for _ in range(4)]
    await db.execute("create schema elsewhere create table t ()")
    await stranger.execute("begin; lock table elsewhere.t")
    await holder.execute(f"begin; lock table requests; select '{SECRET}'")
    waiting = [
        asyncio.ensure_future(connection.execute(statement))
        for connection, statement in (
            (theirs, "select from elsewhere.t"), (behind, "begin; lock table requests in share mode; commit"),
            (ours, "select from requests"),
        )
    ]  # fmt: skip

    async def all_wait() -> bool:
        return bool(
            await db.fetchval(
                "select count(*) = 3 from pg_locks where not granted and pid = any ($1::integer[])",
                [each.get_server_pid() for each in (theirs, behind, ours)],
            )
        )

    await eventually(all_wait)

    (found,) = await blockers.blockers(database)

    assert found.pid == holder.get_server_pid()
    user = await db.fetchval("select current_user")
    assert (found.application, found.user) == ("backup of the night", user)
    assert (found.waiting, found.relations, found.state) == (2, ("requests",), "idle in transaction")
    assert found.statement == "begin; lock table requests; select …"
    assert found.since is not None
    assert 0 < found.longest_seconds < 60
    gone_on = found._replace(since=found.since.replace(year=2000))
    assert not await blockers.terminate(database, gone_on, who="ann", reason=None)
    assert await audit.entries(database) == []

    assert await blockers.terminate(database, found, who="ann", reason="a forgotten psql")

    await asyncio.gather(*waiting[1:])
    assert not waiting[0].done(), "what holds up others is left alone"
    assert await blockers.blockers(database) == []
    (entry,) = await audit.entries(database)
    assert (entry.action, entry.who, entry.reason, entry.touched) == (
        "blockers.terminate", "ann", "a forgotten psql", 1,
    )  # fmt: skip
    assert entry.about["pid"] == found.pid
    assert SECRET not in str(entry)
    await stranger.execute("rollback")
    await waiting[0]
    for each in (behind, ours, stranger, theirs):
        await each.close()
