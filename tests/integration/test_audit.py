"""Each change by an operator is one row of the audit, in its transaction, and no row ever changes."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from worker.monitoring.readiness import Readiness
from worker.operations import audit, steering
from worker.postgres.database import Database
from worker.rules import Limit
from worker.services.retention import AuditRetention
from worker.settings import Settings

ANN = "ann@ops"
FORGED = (
    "update audit set who = 'nobody'",
    "delete from audit",
    "truncate audit",
)


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 1, None, Readiness(["postgres"]))
    await opened.open()
    yield opened
    await opened.close()


async def rows(database: Database, **wanted: Any) -> list[tuple[Any, ...]]:
    found = await audit.entries(database, **wanted)
    return [(row.action, row.who, row.reason, row.about.get("org"), row.touched) for row in found]


async def test_pauses_and_limits_are_rows_and_what_changed_nothing_is_none(database: Database) -> None:
    await steering.pause(database, "org", "a", reason="errors", by=ANN)
    await steering.resume(database, "org", "a", by="bob", reason="mended")
    assert await steering.resume(database, "org", "a", by="bob") is None
    await steering.set_limit(database, Limit("each", "", running=3), reason="slow", by=ANN)
    await steering.clear_limit(database, "each", by="bob")
    await steering.clear_limit(database, "each", by="bob")
    await audit.append(database, "dead.drop", who=ANN, reason="garbage", about={"org": "b"}, touched=17)

    assert await rows(database) == [
        ("dead.drop", ANN, "garbage", "b", 17),
        ("limits.clear", "bob", None, None, 1),
        ("limits.set", ANN, "slow", None, 1),
        ("resume", "bob", "mended", "a", 1),
        ("pause", ANN, "errors", "a", 1),
    ]
    assert await rows(database, who="bob", most=1) == [("limits.clear", "bob", None, None, 1)]
    newest = (await audit.entries(database, org="a"))[0]
    assert await rows(database, org="a", before=newest.number) == [("pause", ANN, "errors", "a", 1)]
    assert newest.about["paused_by"] == ANN


async def test_a_change_that_is_rolled_back_has_no_row(database: Database, db: asyncpg.Connection) -> None:
    transaction = db.transaction()
    await transaction.start()
    await db.execute(
        "with made as (insert into pauses (scope, reason, paused_by) values ('all', 'r', 'me')) "
        "insert into audit (who, action) values ('me', 'pause')"
    )
    await transaction.rollback()

    assert await audit.entries(database) == []


async def test_it_is_append_only_and_goes_when_it_is_old(database: Database, db: asyncpg.Connection) -> None:
    for age in ("400 days", "2 days", "0 days"):
        await db.execute(
            "insert into audit (at, who, action) values (now() - $1::text::interval, 'me', 'x')", age
        )
        await db.execute(
            "insert into selections (id, action, chosen_by, who, rate, made_at, state) values "
            "(lpad($1::text, 8, '0'), 'retry', '{}', 'me', 1, now() - $2::text::interval, 'done')",
            age.split()[0], age,
        )  # fmt: skip
    for forged in FORGED:
        with pytest.raises(asyncpg.CheckViolationError, match="append only"):
            await db.execute(forged)

    await AuditRetention(database, 365).run_once()

    assert len(await audit.entries(database)) == 2
    assert await db.fetchval("select count(*) from selections") == 2
