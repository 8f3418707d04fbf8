"""Holds a server that runs: a process, with whatever it has started itself."""

import asyncio
import contextlib
import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

import psutil

from worker.stack import reaper

_LOG_LINES = 15
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class User:
    """The user that a program runs as, where it refuses to run as root."""

    uid: int
    gid: int

    @staticmethod
    def nobody() -> "User":
        entry = pwd.getpwnam("nobody")
        return User(entry.pw_uid, entry.pw_gid)

    @staticmethod
    def for_servers() -> "User | None":
        """Nobody, if we are root; else None, which is the user that we are."""
        return User.nobody() if os.geteuid() == 0 else None


class Program:
    """A server's process. What is done to it is done to all that it started as well."""

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

    def end_of_log(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()
            return "\n".join(f"  | {line}" for line in lines[-_LOG_LINES:] if line.strip())
        return "  | (it wrote no log)"

    async def end(self, by: Signals, patience: float) -> bool:
        """Ask the server to end, and return whether it did in time."""
        await self.thaw()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(by)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), patience)
        return not self.running

    async def kill(self) -> None:
        """Send SIGKILL to the server and all that it started; return when they are gone."""
        processes = reaper.tree(self._seen)
        reaper.send(processes, SIGKILL)
        await self._process.wait()
        await _until_none(processes, reaper.alive)
        self._frozen = []

    async def freeze(self) -> None:
        """Halt the server and all that it started where they are, connections left open."""
        while more := [each for each in reaper.tree(self._seen) if each not in self._frozen]:
            reaper.send(more, SIGSTOP)
            self._frozen += more
        await _until_none(self._frozen, _still_moves)

    async def thaw(self) -> None:
        reaper.send(self._frozen, SIGCONT)
        self._frozen = []


def _still_moves(process: psutil.Process) -> bool:
    return reaper.alive(process) and process.status() != psutil.STATUS_STOPPED


async def _until_none(processes: Sequence[psutil.Process], still: Callable[[psutil.Process], bool]) -> None:
    """Wait until `still` holds of none of the processes."""
    while any(map(still, processes)):  # noqa: ASYNC110 - the kernel tells only our own children
        await asyncio.sleep(_LOOK_SECONDS)
