"""Starts a worker as a process of its own, for the demonstration."""

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.process import own_command, own_task
from worker.secret_files import with_secrets_read
from worker.settings import Settings, secret_variables

_READY_SECONDS = 40
_STOP_SECONDS = 30
_LINES = 12


class WorkerProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last: deque[str] = deque(maxlen=_LINES)
        self._reading = asyncio.create_task(self._read())
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> None:
        """Return when the worker takes requests."""
        await asyncio.wait(
            [self._ready, self._reading], timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not self._ready.done():
            last_lines = "\n".join(f"  | {line}" for line in self._last)
            raise CommandError(exits.FAILED, f"the worker did not get ready; the last it said:\n{last_lines}")

    async def stop(self) -> int:
        """Stop the worker by SIGTERM and return its exit code."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
        try:
            return await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await own_task.end([self._reading])

    async def _read(self) -> None:
        """Read all that the worker logs, so that it never waits for a reader, and keep the last lines."""
        assert self._process.stderr is not None  # noqa: S101 — it is a pipe
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._last.append(line)
            with suppress(ValueError):
                if json.loads(line).get("event") == "worker.ready" and not self._ready.done():
                    self._ready.set_result(None)


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncIterator[WorkerProcess]:
    """Run `session-worker run` with these settings while the context is open."""
    process = await asyncio.create_subprocess_exec(
        *own_command.command("run", "--child-of", str(os.getpid())),
        env={**with_secrets_read(os.environ, secret_variables()), **_environment(settings)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent, which stops the worker in order
        limit=1 << 20,
    )
    worker = WorkerProcess(process)
    try:
        await worker.ready()
        yield worker
    finally:
        await asyncio.shield(worker.stop())


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "AMQP_URL": settings.amqp_url.get_secret_value(),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "WORKER_PREFIX": settings.prefix,
        "WORKER_HTTP_HOST": "127.0.0.1",
        "WORKER_HTTP_PORT": "0",
        "WORKER_SEAL_KEYS": settings.seal_keys.get_secret_value(),
        "WORKER_LOG_FORMAT": "json",
        "WORKER_LOG_LEVEL": "info",
    }
