"""Disks that a test fills: file systems of their own, whose size it changes. Only root can mount them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.servers import server_sandbox

_TRIES = 20
_MORE_BYTES = 1 << 16


class Disk:
    """A disk that can be full. Nothing is written to fill it: it shrinks to what is on it."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    async def fill(self) -> None:
        for _ in range(_TRIES):  # what is written meanwhile may need more
            found = os.statvfs(self.path)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            if await _mount("-o", f"remount,size={max(used, _MORE_BYTES)}", str(self.path)):
                return
        raise AssertionError(f"{self.path} does not get full")

    async def free(self) -> None:
        assert await _mount("-o", f"remount,size={self._size}", str(self.path))


def can_mount() -> bool:
    return os.geteuid() == 0


@asynccontextmanager
async def small_disk(size: int) -> AsyncIterator[Disk]:
    """Yields a disk of so many bytes, which takes as much memory as is written to it."""
    async with server_sandbox() as sandbox:
        path = sandbox.path / "disk"
        path.mkdir()
        await sandbox.at_end("umount", "--lazy", str(path))
        assert await _mount("-t", "tmpfs", "-o", f"size={size},mode=1777", "session-worker-test", str(path))
        yield Disk(path, size)


async def _mount(*words: str) -> bool:
    process = await asyncio.create_subprocess_exec("mount", *words, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0
