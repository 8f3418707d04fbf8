"""Unpacks Debian packages in a folder of this repository, as whoever we are: nothing is installed.

A program that is on the machine is taken instead. The lists of packages are read anew into that folder, so
this needs neither root nor a machine whose lists are there.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from worker.stack import StackError

HOME: Final = Path(__file__).parents[2] / ".cache" / "debian"
_LIMIT_SECONDS: Final = 300


def unpacked(*packages: str) -> Path:
    """Return the folder in which these packages are unpacked, as if it was the root of the machine."""
    root = HOME / "-".join(packages)
    if root.exists():
        return root
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise StackError(f"there is no apt-get to get {' and '.join(packages)} with")
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            print(f"getting {', '.join(packages)} from Debian (once) …", file=sys.stderr, flush=True)
            _get(packages, root)
    return root


def _get(packages: Sequence[str], root: Path) -> None:
    new = root.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    for folder in (new, HOME / "lists" / "partial", HOME / "cache" / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    apt = [
        "apt-get", "-qq", "-o", f"Dir::State::lists={HOME / 'lists'}", "-o", f"Dir::Cache={HOME / 'cache'}",
        "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none",
    ]  # fmt: skip
    _run(*apt, "update", at=new)
    _run(*apt, "download", *packages, at=new)
    for package in sorted(new.glob("*.deb")):
        _run("dpkg-deb", "-x", str(package), str(new), at=new)
        package.unlink()
    new.rename(root)
    shutil.rmtree(HOME / "lists")


def _run(*words: str, at: Path) -> None:
    done = subprocess.run(  # noqa: S603 — Debian's tools
        words, cwd=at, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
    )
    if done.returncode:
        raise StackError(f"{words[0]} came to nothing:\n{done.stdout}{done.stderr}")


def program(name: str) -> Path:
    """Return a program of the machine, or that of Debian's package of the same name."""
    found = shutil.which(name)
    return Path(found) if found else unpacked(name) / "usr" / "bin" / name
