"""Measures for how long others waited for a migration: by what Postgres says of its locks, not by the clock
of those who waited. So a machine that is slow makes nobody guilty.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from worker.postgres.migrate import TURN

_LOOK_SECONDS = 0.02
_WAITED = """
select coalesce(max(extract(epoch from clock_timestamp() - waiting.waitstart)), 0)::double precision
from pg_locks as turn
join pg_locks as waiting on turn.pid = any (pg_blocking_pids(waiting.pid))
where turn.locktype = 'advisory' and turn.granted and turn.objsubid = 1
  and (turn.classid::bigint << 32) | turn.objid::bigint = $1
  and not waiting.granted and waiting.pid <> turn.pid
"""


class Waits:
    """Holds the longest wait for the backend that migrates, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0


@asynccontextmanager
async def watching_locks(url: str) -> AsyncIterator[Waits]:
    waits, connection = Waits(), await asyncpg.connect(url)

    async def watch() -> None:
        while True:
            waits.longest = max(waits.longest, await connection.fetchval(_WAITED, TURN))
            await asyncio.sleep(_LOOK_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield waits
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        connection.terminate()
