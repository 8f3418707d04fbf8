"""Cuts the power of servers: they are killed, and what they had not synced is lost.

A server runs with a library of ours (unsynced.c) in place of fsync, which keeps what is synced beside the
data. Where the power is cut, its files become what is kept; of blocks that were not synced some may survive,
as the kernel may have written them out by itself. Nothing here needs root, or a file system of its own.
"""

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from support.compiler import built_library
from support.servers import server_sandbox

from worker.stack import Sandbox

_SOURCE = Path(__file__).with_name("unsynced.c")
# Small files, of which each sync has to look through the whole; and so that many are begun and removed.
QUORUM_LOG: Final = {"raft.wal_max_size_bytes": "4000000"}
POSTGRES_INITDB: Final = ("--wal-segsize=1",)


class Power:
    """The power of the servers of one sandbox, each with its data in a folder named `data`."""

    def __init__(self, sandbox: Sandbox, library: Path) -> None:
        self._home = sandbox.path.resolve()
        self._kept = self._home / "synced"
        self._kept.mkdir()
        self._kept.chmod(0o777)  # Postgres may have a user of its own
        self._here = ctypes.CDLL(str(library))
        self.environ = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "UNSYNCED_DATA": str(self._home),
            "UNSYNCED_KEPT": str(self._kept),
        }
        self.lying_environ = {**self.environ, "UNSYNCED_LIES": "1"}
        """For a disk that says it has written and has not."""

    async def write_out(self, server: str) -> None:
        """Write out all that there is, as the kernel does with what is older than half a minute."""
        await asyncio.to_thread(self._write_out, server)

    async def lose(self, server: str, *, survives_percent: int = 0, seed: int = 0) -> int:
        """Make a killed server's files what is left of them; return how many were not synced."""
        return await asyncio.to_thread(self._lose, server, survives_percent, seed)

    def _write_out(self, server: str) -> None:
        for path in self._files(server):
            self._on(path, "keep")

    def _lose(self, server: str, survives_percent: int, seed: int) -> int:
        lost = 0
        for number, path in enumerate(self._files(server)):
            before = path.read_bytes()
            self._on(path, "lose", survives_percent, seed + number)
            lost += path.read_bytes() != before
        self._write_out(server)  # what survived is on the disk from now on
        return lost

    def _on(self, path: Path, what: str, *values: int) -> None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # the server has removed it meanwhile
            return
        try:
            made: int = getattr(self._here, what)(file, str(self._kept).encode(), *values)
            assert made == 0, f"{what} {path}: {made}"
        finally:
            os.close(file)

    def _files(self, server: str) -> Iterator[Path]:
        """The regular files of the data of `postgres` or `rabbitmq`."""
        for data in self._home.glob(f"{server}-*/**/data"):
            for folder, _, names in os.walk(data):
                for name in names:
                    path = Path(folder, name)
                    if path.is_file() and not path.is_symlink():
                        yield path


@asynccontextmanager
async def powered() -> AsyncIterator[tuple[Power, Sandbox]]:
    async with server_sandbox() as sandbox:
        library = await asyncio.to_thread(built_library, _SOURCE, sandbox.path / "unsynced.so")
        yield Power(sandbox, library), sandbox
