"""Ends what a stack has started, however the stack's owner ends.

Runs as a process of its own. Its owner writes to its standard input, one JSON object a
line, what there is to end; when that input closes, because the owner said so or was
killed, or when the owner is gone, everything is ended and the folder removed. There is no
other clean-up: the way that is rarely needed is the way that is always taken.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

_PATIENCE = 5.0  # seconds for a server to end by the signal it prefers


def alive(process: psutil.Process) -> bool:
    """Tell whether the process runs. A zombie has ended, unless it has more than one thread: then its first
    thread has ended, and the others are still ending and hold its files and ports.
    """
    try:
        return process.is_running() and (
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it started, the process first."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _lines(owner: int) -> Iterator[dict[str, object]]:
    """Yield what the owner writes, to its last line. The owner's id is watched as well, because a fork of the
    owner would keep the pipe open.
    """
    rest = b""
    while True:
        gone = os.getppid() != owner
        if not select.select([0], [], [], 0 if gone else 1.0)[0]:
            if gone:
                return
            continue
        got = os.read(0, 65536)
        if not got:
            return
        *lines, rest = (rest + got).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _end(processes: dict[int, tuple[psutil.Process, int]]) -> None:
    """Ask each server to end, by the signal that it prefers; kill what is then left."""
    servers = [process for process, _ in processes.values()]
    everything = [each for server in servers for each in tree(server)]
    for server, number in reversed(processes.values()):
        send([server], number)
        send([server], signal.SIGCONT)  # a frozen one cannot end
    _wait(servers)
    send([each for each in everything if alive(each)], signal.SIGKILL)
    _wait(everything)


def _wait(processes: list[psutil.Process]) -> None:
    until = time.monotonic() + _PATIENCE
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.02)


def main(owner: int) -> None:
    folders: list[str] = []
    commands: list[Sequence[str]] = []
    processes: dict[int, tuple[psutil.Process, int]] = {}
    for line in _lines(owner):
        match line:
            case {"end": int(pid), "by": int(number)}:
                with contextlib.suppress(psutil.NoSuchProcess):
                    processes[pid] = psutil.Process(pid), number
            case {"remove": str(folder)}:
                folders.append(folder)
            case {"run": [*command]}:
                commands.append([str(word) for word in command])
            case _:
                sys.exit(f"not understood: {line}")
    _end(processes)
    for words in commands:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(words, check=False, capture_output=True, timeout=30)  # noqa: S603
    until = time.monotonic() + _PATIENCE
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        while Path(folder).exists() and time.monotonic() < until:  # something in it was still being ended
            time.sleep(0.05)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
