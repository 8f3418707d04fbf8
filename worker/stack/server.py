"""A server of a sandbox that can be stopped, killed, frozen, and started again on its old data and port."""

from collections.abc import Awaitable, Callable
from functools import partial
from signal import Signals

from worker.stack.errors import StackError
from worker.stack.probes import until
from worker.stack.program import Program


class Server:
    """The life of one server. Its data and port outlive `stop` and `kill`, and end with the sandbox."""

    def __init__(self, name: str, port: int, *, stop_by: Signals, stop_seconds: float) -> None:
        self.port = port
        self._name = name
        self._stop_by = stop_by
        self._stop_seconds = stop_seconds
        self._program: Program | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    async def stop(self) -> None:
        """End the server in order: it puts its data in order, and cuts its clients off."""
        if self._program is None:
            return
        if self._program.running and not await self._program.end(self._stop_by, self._stop_seconds):
            await self._program.kill()
        self._program = None

    async def kill(self) -> None:
        """End the server by SIGKILL, as a crash or the kernel's out-of-memory killer would."""
        await self._running().kill()

    async def freeze(self) -> None:
        """Halt the server with its connections open."""
        await self._running().freeze()

    async def thaw(self) -> None:
        await self._running().thaw()

    async def _until_ready(
        self, program: Program, answers: Callable[[int], Awaitable[bool]], seconds: float, instead: str
    ) -> None:
        """Take the program that was started, and wait until it answers at the port. An error says what else
        can be done.
        """
        self._program = program
        if not await until(partial(answers, self.port), lambda: program.running, seconds):
            raise StackError(
                f"{self._name} did not start on port {self.port}; the end of its log:\n"
                f"{program.end_of_log()}\nTry again, or {instead}."
            )

    def _running(self) -> Program:
        if self._program is None:
            raise StackError(f"{self._name} was not started")
        return self._program
