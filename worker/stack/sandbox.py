"""A stack's own folder and processes, and the certainty that both go away."""

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import IO

import psutil

from worker.stack import reaper
from worker.stack.errors import StackError
from worker.stack.ports import Port, reserve

_LOG_LINES = 15
_END_SECONDS = 45.0

# Changes the user in the child, before the program is loaded: unlike the `user=` of
# subprocess it works under every event loop, and the program's path needs no rights.
_AS_USER = (
    "import os, sys; uid, gid = int(sys.argv[1]), int(sys.argv[2]); "
    "os.setgroups([]); os.setgid(gid); os.setuid(uid); os.execv(sys.argv[3], sys.argv[3:])"
)


# From its first moment: whoever signals every process must not end the clean-up with them.
_UNMOVED = """trap '' TERM INT HUP; exec "$@\""""


@dataclass(frozen=True)
class User:
    """Whom a program runs as, where it refuses to run as root."""

    uid: int
    gid: int

    @staticmethod
    def nobody() -> "User":
        entry = pwd.getpwnam("nobody")
        return User(entry.pw_uid, entry.pw_gid)


def open_to_all(path: Path) -> bool:
    """Whether every user gets as far as this folder."""
    every = (path, *path.parents)
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in every)


class Program:
    """One server that runs, with whatever it has started itself."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._seen = psutil.Process(process.pid)
        self._log = log
        self._frozen: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()
            return "\n".join(f"  | {line}" for line in lines[-_LOG_LINES:] if line.strip())
        return "  | (it wrote no log)"

    async def end(self, by: Signals, patience: float) -> bool:
        """Asks the server to end, and says whether it did in time."""
        await self.thaw()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(by)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), patience)
        return not self.running

    async def kill(self) -> None:
        """SIGKILL for the server and all it started; returns when they are gone."""
        processes = reaper.tree(self._seen)
        reaper.send(processes, SIGKILL)
        await self._process.wait()
        await _none(reaper.alive, processes)
        self._frozen = []

    async def freeze(self) -> None:
        """Stops the server and all it started where they are, connections left open."""
        while more := [each for each in reaper.tree(self._seen) if each not in self._frozen]:
            reaper.send(more, SIGSTOP)
            self._frozen += more
        await _none(_still_moves, self._frozen)

    async def thaw(self) -> None:
        reaper.send(self._frozen, SIGCONT)
        self._frozen = []


def _still_moves(process: psutil.Process) -> bool:
    return reaper.alive(process) and process.status() != psutil.STATUS_STOPPED


async def _none(still: Callable[[psutil.Process], bool], processes: Sequence[psutil.Process]) -> None:
    while any(map(still, processes)):  # noqa: ASYNC110 - the kernel tells only our own children
        await asyncio.sleep(0.01)


class Ground:
    """The folder and the processes of one stack. `opened()` makes one."""

    def __init__(self, path: Path, keeper_input: asyncio.StreamWriter) -> None:
        self.path = path
        self._keeper_input = keeper_input
        self._ports: list[Port] = []

    def reserve(self) -> int:
        """A port that is this stack's until it ends."""
        self._ports.append(reserve())
        return self._ports[-1].number

    def release(self) -> None:
        for port in self._ports:
            port.release()

    async def _tell(self, message: Mapping[str, object]) -> None:
        self._keeper_input.write(json.dumps(message).encode() + b"\n")
        await self._keeper_input.drain()

    async def at_end(self, *command: str) -> None:
        """A command to run when the stack ends, however it ends."""
        await self._tell({"run": list(command)})

    async def start(
        self, *command: str, env: Mapping[str, str], log: Path, user: User | None, end_by: Signals
    ) -> Program:
        """Starts a server, which ends with the stack at the latest."""
        with log.open("ab") as output:
            process = await self._spawn(command, env, output, user)
        await self._tell({"end": process.pid, "by": int(end_by)})
        return Program(process, log)

    async def run(
        self, *command: str, env: Mapping[str, str], user: User | None = None, limit: float = 60
    ) -> str:
        """Runs a command to its end and returns what it printed."""
        log = self.path / f"run-{secrets.token_hex(4)}"
        with log.open("wb") as output:
            process = await self._spawn(command, env, output, user)
        try:
            await self._tell({"end": process.pid, "by": int(SIGKILL)})
            await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            raise StackError(
                f"{Path(command[0]).name} did not end in {limit:.0f} s:\n{log.read_text()}"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    reaper.send(reaper.tree(psutil.Process(process.pid)), SIGKILL)
        said = log.read_text(errors="replace")
        log.unlink()
        if process.returncode != 0:
            raise StackError(f"{Path(command[0]).name} failed ({process.returncode}):\n{said}")
        return said

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
    """The environment less the settings of other servers of the same kind."""
    return {name: value for name, value in environ.items() if not name.startswith(prefixes)}


@asynccontextmanager
async def opened() -> AsyncIterator[Ground]:
    path = _make_folder()
    try:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", _UNMOVED, "sh", sys.executable, "-P", reaper.__file__, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        shutil.rmtree(path)
        raise
    if process.stdin is None:
        raise StackError("the keeper has no input")
    process.stdin.write(json.dumps({"remove": str(path)}).encode() + b"\n")
    ground = Ground(path, process.stdin)
    try:
        yield ground
    finally:
        await _certainly(_ended(process))
        ground.release()


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _END_SECONDS)


async def _certainly(coroutine: Coroutine[None, None, None]) -> None:
    """Awaits the end, also when the awaiting task is cancelled in the middle of it."""
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


def _make_folder() -> Path:
    """A new folder; below one that every user can enter when servers change their user."""
    homes = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
    home = homes[0]
    if os.geteuid() == 0:
        home = next((each for each in homes if each.is_dir() and open_to_all(each)), home)
    path = Path(tempfile.mkdtemp(prefix="session-worker-", dir=home))
    path.chmod(0o711)
    return path
