"""Runs the last release as it was: its wheel, which `make release` keeps in tests/support/released/."""

import asyncio
import os
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from support.faults.processes import WorkerProcess

_FOLDER = Path(__file__).with_name("released")


@cache
def unpacked() -> Path:
    """Returns a folder with what is in the wheel."""
    (wheel,) = _FOLDER.glob("*.whl")
    folder = Path(mkdtemp(prefix="last-release-"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def command(*words: str) -> tuple[str, ...]:
    """Returns the command line of that version. In the wheel of 0.1.0 all stands under `worker`."""
    module = "session_worker" if (unpacked() / "session_worker").is_dir() else "worker"
    return sys.executable, "-P", "-m", module, *words


class ReleasedProcess(WorkerProcess):
    """Runs a worker of the last release, with the libraries of today."""

    def __init__(self, environ: dict[str, str]) -> None:
        super().__init__({**environ, "PYTHONPATH": str(unpacked())})

    async def _start(self, stderr: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command("run"),
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            limit=1 << 22,
        )


async def migrate(environ: dict[str, str]) -> None:
    """Makes the tables as that version does."""
    process = await asyncio.create_subprocess_exec(
        *command("migrate"), env={**os.environ, **environ, "PYTHONPATH": str(unpacked())}
    )
    assert await process.wait() == 0
