"""Each change by an operator is one row of the audit, in its transaction, and no row ever changes."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from worker.errors import NotStorable
from worker.monitoring.readiness import Readiness
from worker.operations import audit, dead_letters, selections, steering
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
DEAD_LETTERS = """
insert into dead_letters
  (id, body, size, properties, headers, reason, kind, died_at, state, ended_at, ended_by)
values
  ('00000000-0000-0000-0000-000000000001', '', 0, '{}', '{}', 'r', 'k', now(), 'kept', null, null),
  ('00000000-0000-0000-0000-000000000002', '', 0, '{}', '{}', 'r', 'k', now(), 'dropped', now(), 'me')
"""
ALL_STATES = """
select
  array(select (scope, name, reason)::text from pauses order by 1) as pauses,
  array(select (scope, name, source, running)::text from limits order by 1) as limits,
  array(select (id, state)::text from dead_letters order by 1) as dead_letters,
  array(select (id, state, runner)::text from selections order by 1) as selections
"""


async def chosen() -> AsyncIterator[Sequence[UUID]]:
    yield [uuid4()]


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings.database_url.get_secret_value(), 1, None, Readiness(["postgres"]))
    await opened.open()
    yield opened
    await opened.close()


async def rows(database: Database, **wanted: Any) -> list[tuple[Any, ...]]:
    found = await audit.entries(database, **wanted)
    return [(row.action, row.who, row.reason, row.about.get("org"), row.touched) for row in found]


async def test_pauses_and_limits_are_rows_and_what_changed_nothing_is_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await steering.pause(database, "org", "a", reason="errors", by=ANN)
    await steering.resume(database, "org", "a", by="bob", reason="mended")
    assert await steering.resume(database, "org", "a", by="bob") is None
    await steering.set_limit(database, Limit("each", "", running=3), reason="slow", by=ANN)
    await steering.clear_limit(database, "each", by="bob")
    await steering.clear_limit(database, "each", by="bob")
    await audit.append(database, "keys.rotate", who=ANN, reason="garbage", about={"org": "b"}, touched=17)

    assert await rows(database) == [
        ("keys.rotate", ANN, "garbage", "b", 17),
        ("limits.clear", "bob", None, None, 1),
        ("limits.set", ANN, "slow", None, 1),
        ("resume", "bob", "mended", "a", 1),
        ("pause", ANN, "errors", "a", 1),
    ]
    assert await rows(database, who="bob", most=1) == [("limits.clear", "bob", None, None, 1)]
    for run, touched in (("r1", 2), ("r2", 3), ("r1", 4)):
        about = {"org": "c", "run": run}
        await audit.append(database, "dead.replay", who=ANN, reason=None, about=about, touched=touched)
    monkeypatch.setattr(audit, "_AT_ONCE", 2)
    steps = await audit.entries(database, org="c")
    assert [(entry.about["run"], entry.touched, entry.steps) for entry in steps] == [
        ("r1", 6, 2),
        ("r2", 3, 1),
    ]
    assert steps[0].number < steps[1].number, "one begins with its first step"
    assert await rows(database, org="c", before=steps[0].number) == []
    newest = (await audit.entries(database, org="a"))[0]
    assert await rows(database, org="a", before=newest.number) == [("pause", ANN, "errors", "a", 1)]
    assert newest.about["paused_by"] == ANN


async def test_without_its_row_nothing_is_changed(database: Database, db: asyncpg.Connection) -> None:
    """The row and the change are one transaction: where Postgres takes no row, all stays as it was."""
    await steering.pause(database, "org", "a", reason="errors", by=ANN)
    await steering.set_limit(database, Limit("each", "", running=3), reason=None, by=ANN)
    await db.execute(DEAD_LETTERS)
    selections_made = []
    for state in ("prepared", "running"):
        made = await selections.freeze(
            database, "retry", chosen(), chosen_by={}, options={}, who=ANN, reason=None, rate=1
        )
        selections_made.append(made.id)
        if state == "running":
            await database.call("begin_selection", made.id, uuid4(), ANN, None, 15.0)
    await db.execute("alter table audit add check (who <> 'nobody')")
    before = await db.fetchrow(ALL_STATES)
    kept, dropped = UUID(int=1), UUID(int=2)
    prepared, running = selections_made

    for change in (
        steering.pause(database, "all", "", reason="r", by="nobody"),
        steering.resume(database, "org", "a", by="nobody"),
        steering.set_limit(database, Limit("all", "", running=1), reason=None, by="nobody"),
        steering.clear_limit(database, "each", by="nobody"),
        dead_letters.drop(database, [kept], reason="r", by="nobody", about={}),
        dead_letters.restore(database, [dropped], reason="r", by="nobody", about={}),
        database.call("begin_selection", prepared, uuid4(), "nobody", None, 15.0, aside=True),
        selections.stop(database, running, by="nobody", reason=None),
    ):
        with pytest.raises(NotStorable):
            await change

    assert await db.fetchrow(ALL_STATES) == before
    assert {row[1] for row in await rows(database)} == {ANN}


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
