"""More kinds of faults, for the long run: full disks, alarms, locks, jumps of the clock, people at work."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import aiohttp
import asyncpg
from support.faults.disk import Disk
from support.faults.kinds import connected
from support.faults.processes import WorkerProcess
from support.faults.stage import POSTGRES, RABBITMQ, WORKERS, Kind, Stage, kind
from support.faults.watching import witness
from support.harness import eventually

from worker.postgres import migrate
from worker.postgres.installation import table_names
from worker.postgres.sql import Migration, load_migrations
from worker.rabbitmq.topology import names_for
from worker.stack import PostgresServer
from worker.stack.ports import reserve

_PATIENCE_SECONDS = 60.0
_STOPS_AT_MOST = 12
_HOUR = 3600
_numbers = count(1001)

_DISK_ALARM = 'rabbit_disk_monitor:set_disk_free_limit("{}")'
_MEMORY_ALARM = "vm_memory_monitor:set_vm_memory_high_watermark({})"
_ALARMS = ", timer:sleep(300), rabbit_alarm:get_alarms()."
_FILL = "create temp table filler as select repeat('x', 1000) as x from generate_series(1, 20000)"
_WAIT_FOR_IT = "select count(*) from pg_locks where relation = $1::regclass and not granted"
_FINISHED = re.compile(r"^worker_requests_total{[^}]*} (\S+)", re.MULTILINE)
_LATER = """
alter table requests add column if not exists later text;
create index concurrently if not exists later_requests on requests (later) where later is not null;
-- migrate: one transaction
create table later (id uuid primary key);
"""
_LATER_STILL = """
drop index concurrently if exists later_requests;
alter table requests drop column if exists later;
-- migrate: one transaction
drop table later;
"""


async def _kill_who_recovers(stage: Stage, dice: random.Random) -> str:
    """Kills a worker in the middle of taking over what another one held that was killed."""
    first, *others = dice.sample(stage.workers, len(stage.workers))
    since = [len(worker.events) for worker in others]
    await first.kill()
    hearing = [
        asyncio.create_task(worker.event("lease.taken_over", number))
        for worker, number in zip(others, since, strict=True)
    ]
    try:
        heard, _ = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
        second = others[hearing.index(heard.pop())]
        await second.kill()
        taken = hearing[others.index(second)].result()
    finally:
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
        for worker in stage.workers:
            if worker.exit_code is not None:
                await worker.start(until_ready=False)
    return (
        f"exit code {second.exit_code} as it took {taken['requests']} requests over from one that was killed"
    )


async def _jump(stage: Stage, dice: random.Random) -> str:
    """Has one more worker at work whose clock jumps an hour ahead, and then an hour back."""
    clock = stage.folder / f"clock-{next(_numbers)}"
    clock.write_text("+0\n")
    faked = {
        "LD_PRELOAD": _clock_library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    async with _one_more(stage, faked) as worker:
        for offset in dice.sample((_HOUR, -_HOUR), 2):
            clock.write_text(f"{offset:+d}\n")
            await asyncio.sleep(dice.uniform(1.5, 4))
        done = await worker.done()
        worker.process.terminate()
        await worker.process.wait()
    ended = datetime.fromisoformat(worker.process.events[-1]["timestamp"])
    told = round((ended - datetime.now(ended.tzinfo)).total_seconds())
    assert abs(told) > _HOUR / 2, f"its clock is {told} s ahead"
    return f"{done} requests done by a worker whose clock jumped, at last to {told} s"


def _clock_library() -> str:
    found = sorted(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")))
    assert found, "libfaketime is not installed (Debian, Ubuntu: apt-get install libfaketime)"
    return found[0]


async def _fill_the_log(stage: Stage, dice: random.Random) -> str:
    """Has one more worker at work whose log's disk is full for a while."""
    disk = stage.disks["log"]
    log = disk.path / f"log-{next(_numbers)}"
    async with _one_more(stage, {"WORKER_LOG_LEVEL": "debug"}, log_to=log) as worker:
        await _until(lambda: log.stat().st_size > 0)
        await disk.fill()
        try:
            await _until(lambda: disk.free_bytes == 0)
            before, size = await worker.done(), log.stat().st_size
            await asyncio.sleep(dice.uniform(1, 4))
            done, grown = await worker.done() - before, log.stat().st_size - size
        finally:
            await disk.free()
        await _until(lambda: log.stat().st_size > size + grown)
    log.unlink()
    return f"{done} requests done by a worker that could log {grown} bytes meanwhile, and logged again after"


async def _fill_the_disk_of_postgres(stage: Stage, dice: random.Random) -> str:
    disk: Disk = stage.disks["postgres"]
    connection = await asyncpg.connect(stage.postgres.url)
    refused = ""
    try:
        await disk.fill()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not refused:
                try:
                    await connection.execute(_FILL)
                except asyncpg.DiskFullError as error:
                    refused = f"refused a table of ours: {error}"
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    refused = f"gave up over it: {type(error).__name__}"
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
                (await connected(stage.to_rabbit)).cut(reset=True)
                stops += 1
                await asyncio.sleep(1)
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
        (applied,) = await migrate.migrate(stage.postgres.url)
    return f"{applied.number}_{applied.name}"


class _OneMore(NamedTuple):
    """One more worker than there are else."""

    process: WorkerProcess
    port: int

    async def done(self) -> int:
        """Counts the requests that it has finished."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{self.port}/metrics") as page,
        ):
            return round(sum(map(float, _FINISHED.findall(await page.text()))))


@asynccontextmanager
async def _one_more(
    stage: Stage, environ: dict[str, str], log_to: Path | None = None
) -> AsyncIterator[_OneMore]:
    """Yields one more worker that has finished something already."""
    port = reserve()
    mine = {**stage.scene.environ, **environ, "WORKER_HTTP_PORT": str(port.number)}
    worker = _OneMore(WorkerProcess(mine, log_to=log_to), port.number)
    await worker.process.start(until_ready=False)
    try:

        async def has_done() -> bool:
            with suppress(aiohttp.ClientError):
                return await worker.done() > 0
            return False

        await eventually(has_done, _PATIENCE_SECONDS)
        yield worker
    finally:
        if worker.process.exit_code is None:
            worker.process.terminate()
            await worker.process.wait()
        port.release()


async def _until(condition: Callable[[], bool]) -> None:
    async def look() -> bool:
        return condition()

    await eventually(look, _PATIENCE_SECONDS)


HARD_KINDS: dict[str, Kind] = {
    "worker killed while it recovers": kind(_kill_who_recovers, WORKERS, POSTGRES),
    "clock of a worker jumped": kind(_jump, WORKERS, POSTGRES),
    "disk of a log full": kind(_fill_the_log, WORKERS, POSTGRES),
    "disk of Postgres full": kind(_fill_the_disk_of_postgres, POSTGRES),
    "disk of RabbitMQ low": _alarm(_DISK_ALARM, "900TB", "50MB"),
    "memory of RabbitMQ low": _alarm(_MEMORY_ALARM, "0.0", "0.4"),
    "a table locked": kind(_lock_a_table, POSTGRES),
    "connections of Postgres used up": kind(_take_all_connections, POSTGRES),
    "a slow reader": kind(_read_slowly, RABBITMQ),
    "returned too often": kind(_return_too_often, RABBITMQ, WORKERS),
    "a migration": kind(_migrate, POSTGRES),
}
NEED_A_DISK = {"disk of Postgres full": "postgres", "disk of a log full": "log"}
