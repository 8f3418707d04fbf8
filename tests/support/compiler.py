"""Compiles C for the tests: the verifier that Spin writes, and a library that is loaded into servers.

By the compiler of the machine; where it has none, by Debian's tcc, which is unpacked and not installed.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from support.debian import program, unpacked

from worker.stack import StackError

_NAMES = ("cc", "gcc", "clang")
_REMEDY = (
    "there is no C compiler here, and {why}. Install one (Debian, Ubuntu: sudo apt-get install gcc libc6-dev)"
)


class _Compiler(NamedTuple):
    command: tuple[str, ...]
    begin: tuple[str, ...] = ()  # what a program begins and ends with, where the compiler does not know
    end: tuple[str, ...] = ()


def built_library(source: Path, library: Path) -> Path:
    """Make a library of a C file, which every user can load."""
    _run(*_compiler().command, "-shared", "-fPIC", "-o", str(library), str(source))
    library.chmod(0o755)
    return library


def built_program(source: Path, program: Path, *options: str) -> Path:
    command, begin, end = _compiler()
    _run(*command, *options, "-o", str(program), *begin, str(source), *end)
    return program


def preprocessor() -> str:
    """Return the command that Spin reads a model with."""
    return " ".join((*_compiler().command, "-E", "-x", "c"))


def _compiler() -> _Compiler:
    if found := next(filter(None, map(shutil.which, _NAMES)), None):
        return _Compiler((found, "-w"))
    try:
        root = unpacked("tcc", "libc6-dev", "linux-libc-dev")
    except StackError as error:
        raise StackError(_REMEDY.format(why=error)) from None
    triplet = f"{platform.machine()}-linux-gnu"
    libraries = root / "usr" / "lib" / triplet
    folders = (libraries / "tcc" / "include", root / "usr" / "include" / triplet, root / "usr" / "include")
    command = (str(root / "usr/bin/tcc"), "-w", "-nostdlib", "-nostdinc", f"-B{libraries / 'tcc'}")
    (the_c_library,) = (path for path in (Path("/lib", triplet, "libc.so.6"),) if path.exists())
    return _Compiler(
        (*command, *(f"-I{folder}" for folder in folders)),
        begin=(str(libraries / "crt1.o"), str(libraries / "crti.o")),
        end=(str(the_c_library), str(libraries / "tcc/libtcc1.a"), str(libraries / "crtn.o")),
    )


def _run(*words: str) -> None:
    made = subprocess.run(  # noqa: S603 — a compiler
        words, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise StackError(f"{words[0]} could not compile it:\n{made.stderr}")


if __name__ == "__main__":
    try:  # get what has to be got while nothing else runs
        program("spin")
        _compiler()
    except StackError as error:  # the other tests need neither
        print(f"note: {error}", file=sys.stderr)
