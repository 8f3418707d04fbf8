"""What no standby has confirmed does not count as committed, also where others see it."""

import asyncio

import asyncpg
from support.databases import made_database
from support.harness import eventually
from support.servers import Faulty

from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.database import Database

STORE = "insert into stored values (1) on conflict do nothing returning id"
WAITING = (
    "select pid from pg_stat_activity where datname = current_database() and wait_event = 'SyncRep' "
    "and query like $1"
)


async def test_what_stands_on_the_primary_alone_is_not_taken_for_stored(postgres: Faulty) -> None:
    """Whoever ends a connection that waits for a standby leaves the commit behind; so does a restart."""
    async with made_database(postgres.url, "sync") as url:
        admin = await asyncpg.connect(url)
        await admin.execute("create table stored (id integer primary key); create table tries (id serial)")
        worker = Database(url, 2, None, Readiness([database.PART]))
        await worker.open()
        worker._queries["store"] = STORE
        try:
            await admin.execute("alter system set synchronous_standby_names = 'away'")
            await admin.execute("select pg_reload_conf()")
            await eventually(lambda: a_commit_waits(url, admin))
            storing = asyncio.create_task(worker.call("store"))
            pid = await eventually(lambda: admin.fetchval(WAITING, "insert into stored%"))
            await admin.execute("select pg_terminate_backend($1)", pid)

            await asyncio.wait(
                [
                    storing,
                    asyncio.create_task(
                        eventually(lambda: admin.fetchval(WAITING, "%transaction_read_only%"))
                    ),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert not storing.done(), "the row is there, and on one disk alone"
            assert await admin.fetchval("select count(*) from stored") == 1
        finally:
            await admin.execute("alter system reset synchronous_standby_names")
            await admin.execute("select pg_reload_conf()")
        assert await asyncio.wait_for(storing, 60) == []
        await worker.close()
        await admin.close()


async def a_commit_waits(url: str, admin: asyncpg.Connection) -> bool:
    """Tell whether the change is in force: Postgres says nothing when it is."""
    connection = await asyncpg.connect(url)
    trying = asyncio.create_task(connection.execute("insert into tries default values"))

    async def tried() -> bool:
        return trying.done() or bool(await admin.fetchval(WAITING, "insert into tries%"))

    await eventually(tried)
    waits = not trying.done()
    connection.terminate()
    await asyncio.gather(trying, return_exceptions=True)
    return waits
