"""Runs functions in threads. A thread cannot be ended from outside: what runs too long keeps its thread."""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from types import FrameType
from typing import Any


class Job:
    """A function that runs in a thread, from the moment on that this is made."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._function = function
        self._thread: int | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run it, in a thread."""
        self._thread = threading.get_ident()
        try:
            self._result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 — it is raised where the result is asked for
            self._error = error
        self._thread = None
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.ended.set_result, None)

    async def result(self) -> Any:  # noqa: ANN401 — what the function returns
        """Wait for its end; return what it returned, or raise what it raised."""
        await asyncio.shield(self.ended)
        if self._error is not None:
            raise self._error
        return self._result

    def frame(self) -> FrameType | None:
        """Return where it is now; None: it does not run."""
        return None if self._thread is None else sys._current_frames().get(self._thread)  # noqa: SLF001 — there is no other way


class Threads:
    """Keeps as many threads as there have been jobs at once. They end with the program, whatever they do:
    those of the standard library's pools would keep it from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._idle = 0
        self._running: set[Job] = set()

    def begin(self, function: Callable[[], Any]) -> Job:
        """Run a function, at once: in a thread that is idle, or in a new one."""
        job = Job(function)
        if self._idle:
            self._idle -= 1
        else:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._running.add(job)
        job.ended.add_done_callback(lambda _: self._free(job))
        self._jobs.put(job)
        return job

    async def drain(self) -> None:
        """Wait until none runs."""
        while self._running:
            await asyncio.wait([job.ended for job in self._running])

    def _free(self, job: Job) -> None:
        self._running.discard(job)
        self._idle += 1

    def _work(self) -> None:
        while True:
            self._jobs.get().run()
