"""However many ask a worker over HTTP, its heartbeat, its readiness and its requests go on."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import aiohttp
import asyncpg
from support.harness import Desk, NewWorker, eventually, good_request

HAMMER = Path(__file__).parents[1] / "support" / "hammer.py"
CONNECTIONS = 500
BEATS = 2
LEASE_SECONDS = 6.0
PROBED_SECONDS = 10.0  # whoever probes asks again after as long
_PATIENCE_SECONDS = 60


@asynccontextmanager
async def hammered(port: int, path: str) -> AsyncIterator[None]:
    """Have the port hammered; it is at it when this returns."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HAMMER), str(port), str(CONNECTIONS), path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for _ in range(2):
                assert await process.stdout.readline()
        yield
        async with asyncio.timeout(_PATIENCE_SECONDS):
            assert await process.stdout.readline(), "it is still at it"
    finally:
        process.kill()
        await process.wait()


async def test_a_flood_costs_heartbeat_readiness_and_requests_next_to_nothing(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker(lease_seconds=LEASE_SECONDS)
    clock = asyncio.get_running_loop().time
    beats: list[tuple[float, object]] = []
    took: list[float] = []

    async def asked() -> float:
        begun = clock()
        assert (await desk.ask(good_request())).status == "completed"
        return clock() - begun

    async def some_beats() -> bool:
        beat = await db.fetchval("select heartbeat from workers")
        if not beats or beat != beats[-1][1]:
            beats.append((clock(), beat))
        took.append(await asked())
        return len(beats) > BEATS

    quiet = [await asked() for _ in range(10)]
    down = asyncio.create_task(worker.readiness.until_down())
    async with hammered(worker.http_port, "/metrics"):
        await eventually(some_beats, seconds=_PATIENCE_SECONDS)
        probe = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=probe) as client:
            begun = clock()
            async with client.get(f"http://127.0.0.1:{worker.http_port}/readyz") as ready:
                assert ready.status == 200
            probed = clock() - begun

    assert not down.done(), "it was ready all the time"
    down.cancel()
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(beats)]
    assert max(gaps) < LEASE_SECONDS, "no lease runs out"
    assert probed < PROBED_SECONDS, "a probe from elsewhere has its turn, however many others ask"
    assert median(took) < 1 + 5 * median(quiet), f"{median(took)} s, {median(quiet)} s before"
