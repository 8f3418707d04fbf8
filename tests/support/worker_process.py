"""Runs a worker as users run it, at debug level, and keeps what it says."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from support.harness import eventually

from worker.settings import Settings

START_SECONDS = 60
TESTS = Path(__file__).parent.parent


class Running:
    def __init__(self, folder: Path) -> None:
        self.stdout = folder / "stdout"
        self.stderr = folder / "stderr"

    @property
    def said(self) -> str:
        return self.stdout.read_text() + self.stderr.read_text()

    async def metrics(self) -> str:
        port = re.search(r'"http_port": (\d+)', self.said)
        assert port
        async with aiohttp.ClientSession() as client:
            response = await client.get(f"http://127.0.0.1:{port[1]}/metrics")
            return await response.text()


@asynccontextmanager
async def running_worker(settings: Settings, folder: Path, **environment: str) -> AsyncIterator[Running]:
    """Runs `python -m worker run` until the end of the block; then asks it to stop, and it does."""
    running = Running(folder)
    with running.stdout.open("wb") as stdout, running.stderr.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", "run"),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
                "AMQP_URL": settings.amqp_url.get_secret_value(),
                "DATABASE_URL": settings.database_url.get_secret_value(),
                "WORKER_PREFIX": settings.prefix,
                "WORKER_HTTP_HOST": "127.0.0.1",
                "WORKER_HTTP_PORT": "0",
                "WORKER_LOG_LEVEL": "debug",
                "WORKER_LOG_FORMAT": "json",
                "WORKER_BREAKER_SHARE": "1",  # its handler fails each time
                **environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

        async def ready_or_over() -> bool:
            return "worker.ready" in running.said or process.returncode is not None

        try:
            await eventually(ready_or_over, START_SECONDS)
            assert process.returncode is None, running.said[-2000:]
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(60):
                await process.wait()
    assert process.returncode == 0, running.said[-2000:]
