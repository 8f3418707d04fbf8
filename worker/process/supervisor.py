"""Runs several workers on one machine: starts them, restarts those that die, stops them together."""

import asyncio
import os
import signal
from contextlib import suppress

import structlog

from worker.backoff import delays
from worker.process import own_command, signals

_STEADY_SECONDS = 60
_FINAL_CODES = (1, 2)  # the worker itself says that it cannot work: the next one would say the same
_log = structlog.get_logger(__name__)


class Supervisor:
    """The parent of `processes` workers. It does no work itself."""

    def __init__(self, processes: int, http_port: int) -> None:
        self._processes = processes
        self._http_port = http_port
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal comes, or until a worker says that it cannot work; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in signals.heeded():
            loop.add_signal_handler(number, self._on_signal, number)
        _log.info("supervisor.started", processes=self._processes, pid=os.getpid())
        codes = await asyncio.gather(*(self._keep(index) for index in range(self._processes)))
        _log.info("supervisor.stopped", codes=codes)
        return max(codes)

    def _on_signal(self, number: signal.Signals) -> None:
        """Pass each one on: the first drains the workers, the second ends them at once."""
        self._stop.set()
        self._stop_children()
        _log.info("supervisor.stopping", signal=number.name)

    def _stop_children(self) -> None:
        """Send SIGTERM, also for a Ctrl-C: a worker that does not listen yet ends by it in one way only."""
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)

    async def _keep(self, index: int) -> int:
        """Keep a worker in this place: start another when it dies."""
        clock = asyncio.get_running_loop().time
        waits = delays(0.5, 30)
        while not self._stop.is_set():
            begun = clock()
            code = await self._run_child(index)
            if self._stop.is_set():
                return _code_after_stop(code)
            if code in _FINAL_CODES:
                self._stop.set()
                self._stop_children()
                return code
            if clock() - begun > _STEADY_SECONDS:
                waits = delays(0.5, 30)
            delay = next(waits)
            _log.warning("worker.died", process=index, code=code, again_in_seconds=round(delay, 1))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        return 0

    async def _run_child(self, index: int) -> int:
        port = self._http_port + index if self._http_port else 0
        child = await asyncio.create_subprocess_exec(
            *own_command.command("run", "--child-of", str(os.getpid())),
            env={**os.environ, "WORKER_HTTP_PORT": str(port)},
            start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on once
        )
        self._children[index] = child
        if self._stop.is_set():
            child.send_signal(signal.SIGTERM)  # it was being started when the signal came
        try:
            return await child.wait()
        finally:
            del self._children[index]


def _code_after_stop(code: int) -> int:
    """Return the exit code of a stop: 0 also for a worker that was stopped before it listened for signals."""
    if code == -signal.SIGTERM:
        return 0
    return 1 if code < 0 else code


async def supervise(processes: int, http_port: int) -> int:
    return await Supervisor(processes, http_port).run()
