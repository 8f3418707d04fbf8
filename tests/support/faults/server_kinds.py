"""More kinds of faults of servers, for the long run: full disks, alarms, locks, a migration."""

import asyncio
import random
from contextlib import suppress
from itertools import count
from unittest.mock import patch

import asyncpg
from support.faults.kinds import connected
from support.faults.stage import POSTGRES, RABBITMQ, WORKERS, Kind, Stage, kind
from support.faults.watching import witness

from worker.postgres import migrate
from worker.postgres.installation import table_names
from worker.postgres.sql import Migration, load_migrations
from worker.rabbitmq.topology import names_for
from worker.stack import PostgresServer

_PATIENCE_SECONDS = 60.0
_STOPS_AT_MOST = 20
_IN_HAND_SECONDS = 1.0  # until a worker that has come back holds deliveries again
_DISK_ALARM = "rabbit_disk_monitor:set_disk_free_limit({})"
_MEMORY_ALARM = "vm_memory_monitor:set_vm_memory_high_watermark({})"
_ALARMS = ", timer:sleep(300), rabbit_alarm:get_alarms()."
_FILL = "create temp table filler as select repeat('x', 1000) as x from generate_series(1, 20000)"
_WAIT_FOR_IT = "select count(*) from pg_locks where relation = $1::regclass and not granted"
_LATER = """
alter table requests add column if not exists later text;
create index concurrently if not exists later_requests on requests (later) where later is not null;
-- migrate: one transaction
create table if not exists later (id uuid primary key);
"""
_LATER_STILL = """
drop index concurrently if exists later_requests;
alter table requests drop column if exists later;
-- migrate: one transaction
drop table if exists later;
"""
_ENDED = (asyncpg.PostgresConnectionError, asyncpg.CrashShutdownError, asyncpg.InterfaceError, OSError)
_numbers = count(1001)


async def _fill_the_disk_of_postgres(stage: Stage, dice: random.Random) -> str:
    disk = stage.disks["postgres"]
    connection = await asyncpg.connect(stage.postgres.url)
    refused = ""
    try:
        await disk.fill()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not refused:
                try:
                    await connection.execute(_FILL)
                except asyncpg.DiskFullError as error:
                    refused = f"refused a table of ours: {error.args[0]}"
                except _ENDED as error:
                    refused = f"ended over it: {type(error).__name__}"
                else:
                    await connection.execute("drop table filler")
                    await disk.fill()  # as it has given some of it back
        await asyncio.sleep(dice.uniform(1, 4))
    finally:
        await disk.free()
        connection.terminate()
        await _until_it_serves(stage)
    return refused


async def _until_it_serves(stage: Stage) -> None:
    """Starts Postgres again if it has ended."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            with suppress(asyncpg.PostgresError, OSError, TimeoutError):
                connection = await asyncpg.connect(stage.postgres.url, timeout=3)
                await connection.close()
                return
            server = stage.postgres
            if isinstance(server, PostgresServer) and server._program and not server._program.running:
                await server.start()
            await asyncio.sleep(0.1)


def _alarm(setting: str, raised: str, usual: str) -> Kind:
    async def raise_alarm(stage: Stage, dice: random.Random) -> str:
        said = await stage.rabbit.ctl("eval", setting.format(raised) + _ALARMS)
        try:
            assert "resource_limit" in said, said
            await asyncio.sleep(dice.uniform(1, 4))
        finally:
            await stage.rabbit.ctl("eval", setting.format(usual) + ".")
        return said.strip()

    return kind(raise_alarm, RABBITMQ)


async def _lock_a_table(stage: Stage, _dice: random.Random) -> str:
    """Locks one table after the other, one each time."""
    tables = table_names()
    table = tables[next(_numbers) % len(tables)]
    connection = await asyncpg.connect(stage.postgres.url)
    waited = 0
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"lock table {table} in access exclusive mode")
        for _ in range(8):
            await asyncio.sleep(0.25)
            waited = max(waited, await connection.fetchval(_WAIT_FOR_IT, table))
        await transaction.rollback()
    finally:
        await connection.close()
    return f"{table} was locked for 2 s, and at most {waited} waited for it"


async def _take_all_connections(stage: Stage, dice: random.Random) -> str:
    taken: list[asyncpg.Connection] = []
    refusal = ""
    try:
        stage.to_postgres.cut(refuse=True)
        while not refusal:
            try:
                taken.append(await asyncpg.connect(stage.postgres.url))
            except asyncpg.TooManyConnectionsError as error:
                refusal = str(error)
        stage.to_postgres.heal()
        await asyncio.sleep(dice.uniform(1, 4))
    finally:
        stage.to_postgres.heal()
        for connection in taken:
            connection.terminate()
    return f"{refusal} after {len(taken)} of ours"


async def _read_slowly(stage: Stage, dice: random.Random) -> str:
    """Has the reader of the responses acknowledge none of them for a while."""
    stage.books.acknowledging.clear()
    try:
        async with witness(stage.rabbit.url, stage.scene.prefix) as watching:
            lying = 0
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not lying:
                    await asyncio.sleep(0.2)
                    lying = await watching.count(names_for(stage.scene.prefix).responses)
            await asyncio.sleep(dice.uniform(1, 4))
            lying = await watching.count(names_for(stage.scene.prefix).responses)
    finally:
        stage.books.acknowledging.set()
    return f"{lying} responses lay there beside those in its hand"


async def _return_too_often(stage: Stage, _dice: random.Random) -> str:
    """Ends connections until messages have come back so often that the broker takes them away."""
    requests = names_for(stage.scene.prefix).requests
    policy = ("--priority", "9", "--apply-to", "queues", "returned-too-often", f"^{requests}$")
    await stage.rabbit.ctl("set_policy", *policy, '{"delivery-limit": 2}')
    stops, taken = 0, 0
    try:
        async with witness(stage.rabbit.url, stage.scene.prefix) as watching:
            while not taken and stops < _STOPS_AT_MOST:
                proxy = await connected(stage.to_rabbit)
                await asyncio.sleep(_IN_HAND_SECONDS)
                proxy.cut(reset=True)
                stops += 1
                taken = (await watching.seen()).get(names_for(stage.scene.prefix).undelivered, 0)
    finally:
        await stage.rabbit.ctl("clear_policy", "returned-too-often")
    assert taken, f"none was taken away by {stops} stops"
    return f"{taken} were taken away after {stops} stops"


async def _migrate(stage: Stage, dice: random.Random) -> str:
    """Applies migrations of two later versions: the second takes away what the first has made."""
    made = await _apply(stage, _LATER)
    await asyncio.sleep(dice.uniform(0.5, 3))
    taken_away = await _apply(stage, _LATER_STILL)
    return f"applied {made} and {taken_away}"


async def _apply(stage: Stage, sql: str) -> str:
    later = Migration(next(_numbers), "later", sql)
    with patch.object(migrate, "load_migrations", lambda: [*load_migrations(), later]):
        applied = await migrate.migrate(stage.postgres.url)
    assert applied == [later]
    return f"{later.number}_{later.name}"


SERVER_KINDS: dict[str, Kind] = {
    "disk of Postgres full": kind(_fill_the_disk_of_postgres, POSTGRES),
    "disk of RabbitMQ low": _alarm(_DISK_ALARM, f"{1 << 50}", f"{50 << 20}"),
    "memory of RabbitMQ low": _alarm(_MEMORY_ALARM, "0.0", "0.4"),
    "a table locked": kind(_lock_a_table, POSTGRES),
    "connections of Postgres used up": kind(_take_all_connections, POSTGRES),
    "a slow reader": kind(_read_slowly, RABBITMQ),
    "returned too often": kind(_return_too_often, RABBITMQ, WORKERS),
    "a migration": kind(_migrate, POSTGRES),
}
