"""This program once more, as a process of its own."""

import sys
from pathlib import Path


def command(*words: str) -> tuple[str, ...]:
    """What starts it. A file `worker.py` of somebody's in the current folder is not it."""
    return of_module("worker", *words)


def of_module(module: str, *words: str) -> tuple[str, ...]:
    """The same for one of its modules that is a program."""
    from_here = str(Path.cwd()) in sys.path  # `python -m worker` in a checkout
    return (sys.executable, *(() if from_here else ("-P",)), "-m", module, *words)
