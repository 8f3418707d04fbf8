"""This program once more, as a process of its own."""

import sys
from pathlib import Path


def command(*words: str) -> tuple[str, ...]:
    """What starts it. A file `worker.py` of somebody's in the current folder is not it."""
    from_here = str(Path.cwd()) in sys.path  # `python -m worker` in a checkout
    return (sys.executable, *(() if from_here else ("-P",)), "-m", "worker", *words)
