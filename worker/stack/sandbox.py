"""Gives a stack a folder and processes of its own, both of which are gone when it ends, however it ends."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL, Signals
from typing import IO

import psutil

from worker.stack import reaper
from worker.stack.errors import StackError
from worker.stack.ports import Port, reserve
from worker.stack.program import Program, User

_END_SECONDS = 45.0

# Changes the user in the child, before the program is loaded. Unlike the `user=` of
# subprocess this works under every event loop, and the program's path needs no rights.
_AS_USER = (
    "import os, sys; uid, gid = int(sys.argv[1]), int(sys.argv[2]); "
    "os.setgroups([]); os.setgid(gid); os.setuid(uid); os.execv(sys.argv[3], sys.argv[3:])"
)

# The reaper ignores these from its first moment: a signal to every process must not end the clean-up.
_IGNORE_SIGNALS = """trap '' TERM INT HUP; exec "$@\""""


def open_to_all(path: Path) -> bool:
    """Tell whether every user can enter this folder."""
    every = (path, *path.parents)
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in every)


class Sandbox:
    """The folder and the processes of one stack. `open_sandbox` makes one."""

    def __init__(self, path: Path, reaper_input: asyncio.StreamWriter) -> None:
        self.path = path
        self._reaper_input = reaper_input
        self._ports: list[Port] = []

    def reserve(self) -> int:
        """Reserve a port, which is this stack's until it ends."""
        self._ports.append(reserve())
        return self._ports[-1].number

    def release(self) -> None:
        for port in self._ports:
            port.release()

    async def _tell_reaper(self, message: Mapping[str, object]) -> None:
        self._reaper_input.write(json.dumps(message).encode() + b"\n")
        await self._reaper_input.drain()

    async def at_end(self, *command: str) -> None:
        """Have a command run when the stack ends, however it ends."""
        await self._tell_reaper({"run": list(command)})

    async def start(
        self, *command: str, env: Mapping[str, str], log: Path, user: User | None, end_by: Signals
    ) -> Program:
        """Start a server, which ends with the stack at the latest."""
        with log.open("ab") as output:
            process = await self._spawn(command, env, output, user)
        await self._tell_reaper({"end": process.pid, "by": int(end_by)})
        return Program(process, log)

    async def run(
        self, *command: str, env: Mapping[str, str], user: User | None = None, limit: float = 60
    ) -> str:
        """Run a command to its end and return what it printed; what it started ends with it."""
        log = self.path / f"run-{secrets.token_hex(4)}"
        with log.open("wb") as output:
            process = await self._spawn(command, env, output, user)
        try:
            await self._tell_reaper({"end": process.pid, "by": int(SIGKILL)})
            await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            raise StackError(
                f"{Path(command[0]).name} did not end in {limit:.0f} s:\n{log.read_text()}"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    reaper.send(reaper.tree(psutil.Process(process.pid)), SIGKILL)
        words = log.read_text(errors="replace")
        log.unlink()
        if process.returncode != 0:
            raise StackError(f"{Path(command[0]).name} failed ({process.returncode}):\n{words}")
        return words

    async def _spawn(
        self, command: Sequence[str], env: Mapping[str, str], output: IO[bytes], user: User | None
    ) -> asyncio.subprocess.Process:
        if user is not None:
            command = (sys.executable, "-ISc", _AS_USER, str(user.uid), str(user.gid), *command)
        return await asyncio.create_subprocess_exec(
            *command,
            env=dict(env),
            cwd=self.path,  # what a crash leaves, it leaves there
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal is for the owner, who ends us in order
        )


def clean_environment(environ: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """The environment without the settings of other servers of the same kind."""
    return {name: value for name, value in environ.items() if not name.startswith(prefixes)}


@asynccontextmanager
async def open_sandbox(home: Path | None = None, *, holding: Sequence[int] = ()) -> AsyncIterator[Sandbox]:
    """Make a sandbox. Its folder is in `home`, or else where temporary files are. `holding`: files that stay
    open until all has ended.
    """
    path = _make_folder(home)
    try:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", _IGNORE_SIGNALS, "sh", sys.executable, "-P", reaper.__file__, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=holding,
        )
    except BaseException:
        shutil.rmtree(path)
        raise
    if process.stdin is None:
        raise StackError("the reaper has no input")
    process.stdin.write(json.dumps({"remove": str(path)}).encode() + b"\n")
    sandbox = Sandbox(path, process.stdin)
    try:
        yield sandbox
    finally:
        await _despite_cancellation(_end_reaper(process))
        sandbox.release()


async def _end_reaper(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _END_SECONDS)


async def _despite_cancellation(coroutine: Coroutine[None, None, None]) -> None:
    """Await the coroutine to its end, also when we are cancelled; only then raise the cancellation."""
    ending = asyncio.ensure_future(coroutine)
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.wait({ending})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    ending.result()


def _make_folder(home: Path | None) -> Path:
    """Make a new folder; where servers change their user, below one that every user can enter."""
    if home is None:
        homes = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
        home = homes[0]
        if os.geteuid() == 0:
            home = next((each for each in homes if each.is_dir() and open_to_all(each)), home)
    path = Path(tempfile.mkdtemp(prefix="session-worker-", dir=home))
    path.chmod(0o711)
    return path
