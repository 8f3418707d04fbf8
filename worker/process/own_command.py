"""Makes the command line that starts this program as a child process."""

import sys
from pathlib import Path

# `worker` in a checkout; a package that is built has it under the name `session_worker`.
PROGRAM = __name__.removesuffix(".process.own_command")
_OURS = ("worker", "schemas", "session_worker") if PROGRAM == "worker" else ("session_worker",)


def command(*words: str) -> tuple[str, ...]:
    """Return the command line of this program."""
    return of_module(PROGRAM, *words)


def of_module(module: str, *words: str) -> tuple[str, ...]:
    """Return the command line of one of its modules that is a program of its own.

    What lies in the current folder shadows none of the libraries there, unless that folder is on the path.
    """
    from_here = str(Path.cwd()) in sys.path  # `python -m worker` in a checkout
    return (sys.executable, *(() if from_here else ("-P",)), "-m", module, *words)


def is_ours(module: str) -> bool:
    """Return whether a module is of this program: a user's own `worker.py`, beside a wheel, is not."""
    return module.partition(".")[0] in _OURS
