"""Makes the command line that starts this program as a child process."""

import sys
from pathlib import Path


def command(*words: str) -> tuple[str, ...]:
    """Return the command line of this program, which no `worker.py` in the current folder can shadow."""
    return of_module("worker", *words)


def of_module(module: str, *words: str) -> tuple[str, ...]:
    """Return the command line of one of its modules that is a program of its own."""
    from_here = str(Path.cwd()) in sys.path  # `python -m worker` in a checkout
    return (sys.executable, *(() if from_here else ("-P",)), "-m", module, *words)
