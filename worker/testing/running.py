"""Runs workers in this process, on real servers, in the event loop of whoever calls."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.app import run_worker
from worker.cli.servers import client_for
from worker.client import Client
from worker.handlers import Handler, PlainHandler
from worker.monitoring.readiness import Readiness
from worker.settings import Settings, read_settings
from worker.testing.installation import leave_nothing
from worker.testing.own_settings import refuse_unknown

_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class RunningWorker:
    """A worker that has started."""

    settings: Settings
    task: "asyncio.Task[None]"
    stop_event: asyncio.Event
    readiness: Readiness
    http_port: int

    async def until_ready(self) -> None:
        """Wait until it takes requests. Raises what it ended with, if it ends before."""
        ready = asyncio.create_task(self.readiness.until_up())
        await asyncio.wait([self.task, ready], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            ready.cancel()
            self.task.result()

    async def stop(self) -> None:
        """Stop it in order, as SIGTERM does. Raises what it ended with."""
        self.stop_event.set()
        if not self.task.cancelled():
            await self.task

    async def vanish(self) -> None:
        """End it without an orderly stop, as far as that is possible inside a process."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def start_worker(settings: Settings) -> RunningWorker:
    """Start a worker in a task. Raises what it ended with, if it cannot start."""
    stop = asyncio.Event()
    started: asyncio.Future[tuple[int, Readiness]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        run_worker(settings, stop, lambda port, readiness: started.set_result((port, readiness)))
    )
    first: list[asyncio.Future[Any]] = [task, started]
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        task.result()
    port, readiness = started.result()
    return RunningWorker(settings, task, stop, readiness, port)


class Running(NamedTuple):
    """A worker with the handler of a test, and a client that sends to its queue."""

    worker: RunningWorker
    client: Client


class StartWorker:
    """Starts workers on the queues and tables that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def __call__(
        self,
        handler: Handler | PlainHandler | str,
        **changes: Any,  # noqa: ANN401 — those of Settings, which checks them
    ) -> AsyncIterator[Running]:
        """Run a worker with this handler, and yield it when it takes requests. The handler is a function of a
        module, or named as in `WORKER_HANDLER`; `changes` are settings by the names of their fields
        (`retry_base_seconds=0.1`).

        At the end the worker is stopped, and what is unfinished is dropped, in the queues and in the tables:
        the next test's worker finds nothing of this one.
        """
        refuse_unknown(changes)
        path = handler if isinstance(handler, str) else _path_of(handler)
        settings = read_settings(**{**dict(self._settings), "handler": path, **changes})
        worker = await start_worker(settings)
        try:
            await worker.until_ready()
            async with client_for(settings, _CONNECT_SECONDS) as client:
                yield Running(worker, client)
        finally:
            try:
                await worker.stop()
            finally:
                await leave_nothing(settings)


def _path_of(handler: Handler | PlainHandler) -> str:
    """Return how a worker finds a function: its settings name the handler, they do not hold it."""
    module, name = getattr(handler, "__module__", ""), getattr(handler, "__qualname__", "")
    if getattr(sys.modules.get(module), name, None) is not handler:
        raise TypeError(
            f"{handler!r} is no function that stands in a module by its name, so a worker could not find it: "
            "give its path, as `module:name`"
        )
    return f"{module}:{name}"
