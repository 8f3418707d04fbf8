"""Runs workers as processes of their own, which a test can kill, freeze, and hear through their log."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.prepared import start_worker

Event = dict[str, Any]
_TESTS = str(Path(__file__).parents[2])  # where WORKER_HANDLER finds the handlers
_PATIENCE_SECONDS = 60.0


class WorkerProcess:
    """Runs `session-worker run` with these settings. A test can wait for events in its log."""

    def __init__(self, environ: dict[str, str], *options: str, log_to: Path | None = None) -> None:
        """`log_to`: the file that it logs to; then no event of it is heard here."""
        self._options = options
        self._log_to = log_to
        self._environ = {
            **os.environ,
            "WORKER_HTTP_HOST": "127.0.0.1",
            "WORKER_HTTP_PORT": "0",
            "WORKER_LOG_FORMAT": "json",
            "WORKER_MODE": "test",
            "PYTHONPATH": os.pathsep.join(filter(None, (_TESTS, os.environ.get("PYTHONPATH")))),
            **environ,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self.events: list[Event] = []

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    @property
    def http_port(self) -> int:
        """Where its pages are; it has told that when it is ready."""
        return int(next(one["http_port"] for one in self.events if one["event"] == "worker.starting"))

    @property
    def state(self) -> str:
        """The kernel's word for it: R, S, T (stopped), Z …"""
        return Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]

    async def start(self, *, until_ready: bool = True) -> None:
        self.events = []
        if self._log_to is None:
            self._process = await self._start(asyncio.subprocess.PIPE)
            self._reading = asyncio.create_task(self._read())
        else:
            with self._log_to.open("ab") as log:
                self._process = await self._start(log.fileno())
        if until_ready:
            await self.event("worker.ready")

    async def _start(self, stderr: int) -> asyncio.subprocess.Process:
        return await start_worker(
            ["run", *self._options],
            self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            limit=1 << 22,
        )

    def has_logged(self, name: str) -> bool:
        return any(event.get("event") == name for event in self.events)

    async def event(self, name: str, since: int = 0, **values: Any) -> Event:
        """Waits for the first event of that name (and with these values), and returns it."""
        return await self.heard(
            lambda event: (
                event.get("event") == name and all(event.get(key) == value for key, value in values.items())
            ),
            name,
            since,
        )

    async def heard(self, wanted: Callable[[Event], bool], what: str, since: int = 0) -> Event:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while True:
                    for event in self.events[since:]:
                        if wanted(event):
                            return event
                    self._heard.clear()
                    if self._reading is None or self._reading.done():
                        raise AssertionError(f"the worker ended without {what}: {self.events[-5:]}")
                    await self._heard.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {_PATIENCE_SECONDS} s: {self.events[-5:]}") from None

    async def kill(self) -> None:
        """Sends SIGKILL; returns when the process is gone."""
        os.kill(self.pid, signal.SIGKILL)
        await self.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    async def wait(self) -> int:
        assert self._process is not None
        code = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return code

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.thaw()
            await self.kill()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.events.append({"event": "text", "line": line.decode(errors="replace").rstrip()})
            if folder := os.environ.get("TEST_LOGS"):
                with Path(folder, f"worker-{self.pid}.log").open("ab") as file:  # noqa: ASYNC230 — for debugging
                    file.write(line)
            self._heard.set()
        self._heard.set()


@asynccontextmanager
async def worker_processes(count: int, environ: dict[str, str]) -> AsyncIterator[list[WorkerProcess]]:
    """Yields workers that are ready; none is left at the end."""
    workers = [WorkerProcess(environ) for _ in range(count)]
    try:
        await asyncio.gather(*(worker.start() for worker in workers))
        yield workers
    finally:
        for worker in workers:
            await worker.end()
