"""More kinds of faults of workers, for the long run: as they recover, with another clock, without a log."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

import aiohttp
import asyncpg
from support.faults.processes import WorkerProcess
from support.faults.stage import POSTGRES, WORKERS, Kind, Stage, kind
from support.harness import eventually

from worker.stack.ports import reserve

_PATIENCE_SECONDS = 60.0
_TAKE_OVER_SECONDS = 30.0
_HOUR = 3600
_LEASES_OF = "select count(*) from leases l join workers w on w.id = l.worker where w.pid = $1"
_FINISHED = re.compile(r"^worker_requests_total{[^}]*} (\S+)", re.MULTILINE)
_numbers = count(1)


async def _kill_who_recovers(stage: Stage, dice: random.Random) -> str:
    """Kills a worker in the middle of taking over what another one held that was killed."""
    first, *others = dice.sample(stage.workers, len(stage.workers))
    since = [len(worker.events) for worker in others]
    await _freeze_with_leases(stage, first)
    await first.kill()
    hearing = [
        asyncio.create_task(worker.event("lease.taken_over", number))
        for worker, number in zip(others, since, strict=True)
    ]
    try:
        heard, _ = await asyncio.wait(
            hearing, timeout=_TAKE_OVER_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        assert heard, "nobody has taken a lease over"
        second = others[hearing.index(heard.pop())]
        await second.kill()
        code = second.exit_code
        taken = hearing[others.index(second)].result()
    finally:
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
        for worker in stage.workers:
            if worker.exit_code is not None:
                await worker.start(until_ready=False)
    return f"exit code {code} as it took {taken['requests']} requests over from one that was killed"


async def _freeze_with_leases(stage: Stage, worker: WorkerProcess) -> None:
    """Freezes a worker while it holds a lease: what it has begun and not done."""
    connection = await asyncpg.connect(stage.postgres.url)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                worker.freeze()
                await asyncio.sleep(0.05)  # what it has sent is on its way
                if await connection.fetchval(_LEASES_OF, worker.pid):
                    return
                worker.thaw()
                await asyncio.sleep(0.02)
    except BaseException:
        worker.thaw()
        raise
    finally:
        await connection.close()


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


WORKER_KINDS: dict[str, Kind] = {
    "worker killed while it recovers": kind(_kill_who_recovers, WORKERS, POSTGRES),
    "clock of a worker jumped": kind(_jump, WORKERS, POSTGRES),
    "disk of a log full": kind(_fill_the_log, WORKERS, POSTGRES),
}
