"""An operator holds work back and lets it go on; what he decides counts at once, whoever else is at work."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
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

    def __init__(self, database: Database) -> None:
        self._leases = Leases(database, uuid4(), 30)
        self._line = WaitingLine(database, self._leases)

    async def claim(self, most: int = 10) -> int:
        return len(await self._line.take(self._leases.new(), most))


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
    claimer = Claimer(database)
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
    claimer = Claimer(database)
    name = "slow" if scope == "org" else ""
    await limited(database, scope, name, rate=0.01, burst=5)
    await put_in_line(db, "slow", 100)
    assert (await claimer.claim(), await claimer.claim()) == (5, 0), "the next one in 100 s"

    await limited(database, scope, name, rate=50.0, burst=None)

    assert await eventually(claimer.claim, 5) > 0
