"""Starts `python -m worker` quickly: a prepared process, which has imported everything, forks.

What runs is a process like any other, with a pid, streams, variables, signals and an exit code of its own.
Only what Python takes to start and to import, a second of processor time, is spent once for all of them.
"""

import asyncio
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

_LONGEST_ORDER = 100_000  # bytes of arguments and variables: a socket takes no more at once
_STREAMS = 3
_starting = threading.Lock()


async def start_worker(
    words: Sequence[str], environ: Mapping[str, str], *, stdin: int, stdout: int, stderr: int, limit: int
) -> Process:
    """Starts `python -m worker` with these words and variables, as `create_subprocess_exec` does."""
    order = json.dumps({"words": list(words), "environ": dict(environ), "folder": str(Path.cwd())})
    if len(order) > _LONGEST_ORDER or _for_python(environ) != _for_python(os.environ):
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker", *words,
            env=environ, stdin=stdin, stdout=stdout, stderr=stderr, limit=limit,
        )  # fmt: skip
    await asyncio.to_thread(_forking)  # the first time it takes a second
    loop = asyncio.get_running_loop()
    protocol, waiter = SubprocessStreamProtocol(limit=limit, loop=loop), loop.create_future()
    transport = _Transport(loop, protocol, [order], False, stdin, stdout, stderr, 0, waiter)
    await waiter
    return Process(transport, protocol, loop)


def _for_python(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that Python, or its loader, reads when it starts."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(("PYTHON", "LC_", "LANG", "LD_")) and name != "PYTHONPATH"
    }


class _Forked:
    """What a transport needs of a child process."""

    def __init__(self, order: str, stdin: int, stdout: int, stderr: int) -> None:
        self.returncode: int | None = None
        self.stdin, to_child = _streams(stdin, writes=True)
        self.stdout, from_child = _streams(stdout, writes=False)
        self.stderr, errors = _streams(stderr, writes=False)
        self.status, told = os.pipe()
        socket.send_fds(_forking(), [order.encode()], [to_child, from_child, errors, told])
        for number in (to_child, from_child, errors, told):
            os.close(number)
        self.pid = int.from_bytes(os.read(self.status, 4), sys.byteorder)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Transport(BaseSubprocessTransport):
    _proc: Any

    def _start(
        self,
        args: Any,
        shell: bool,  # noqa: ARG002 — the base class gives it
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,  # noqa: ARG002 — as above
        **_: Any,
    ) -> None:
        self._proc = _Forked(args[0], stdin, stdout, stderr)
        self._loop.add_reader(self._proc.status, self._ended)

    def _ended(self) -> None:
        told = os.read(self._proc.status, 4)
        self._loop.remove_reader(self._proc.status)
        os.close(self._proc.status)
        code = int.from_bytes(told, sys.byteorder, signed=True) if told else -signal.SIGKILL
        self._proc.returncode = code
        self._process_exited(code)


def _streams(kind: int, *, writes: bool) -> tuple[IO[bytes] | None, int]:
    """Makes a stream for this side, or none, and the number of the other side's."""
    if kind != subprocess.PIPE:
        return None, os.open(os.devnull, os.O_RDWR) if kind == subprocess.DEVNULL else os.dup(kind)
    reading, writing = os.pipe()
    if writes:
        return os.fdopen(writing, "wb", 0), reading
    return os.fdopen(reading, "rb", 0), writing


def _forking() -> socket.socket:
    """Returns the line to the prepared process of this test process, which is started once. It ends when this
    one does.
    """
    with _starting:
        return _line_to_it()


@cache
def _line_to_it() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.set_inheritable(True)
    os.posix_spawn(sys.executable, [sys.executable, __file__, str(theirs.fileno())], os.environ)
    theirs.close()
    assert ours.recv(1), "it has ended"
    return ours


def _serve(line: socket.socket) -> bool:
    """Forks for each order. Returns True in a child, and False when there are no more orders."""
    rings, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    tell: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([line.fileno(), rings], [], [])
        if rings in ready:
            os.read(rings, 4096)
            _tell_ends(tell)
        if line.fileno() not in ready:
            continue
        order, numbers, _, _ = socket.recv_fds(line, 2 * _LONGEST_ORDER, _STREAMS + 1)
        if not order:
            return False
        pid = os.fork()
        if not pid:
            line.detach()  # its number is closed with the others
            signal.set_wakeup_fd(-1)
            _become(json.loads(order), numbers)
            return True
        *streams, tell[pid] = numbers
        os.write(tell[pid], pid.to_bytes(4, sys.byteorder))
        for number in streams:
            os.close(number)


def _tell_ends(tell: dict[int, int]) -> None:
    while tell:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        number = tell.pop(pid)
        with suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(number, os.waitstatus_to_exitcode(status).to_bytes(4, sys.byteorder, signed=True))
        os.close(number)


def _become(order: dict[str, Any], numbers: list[int]) -> None:
    """Makes this process what a new one would be: streams, signals, variables, arguments, folder."""
    for target, number in enumerate(numbers[:_STREAMS]):
        os.dup2(number, target)
    os.closerange(_STREAMS, 256)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    added = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[1:1] = [folder for folder in added if folder not in sys.path]
    sys.argv = ["worker", *order["words"]]


def _import_all() -> None:
    import worker.cli.commands  # noqa: PLC0415 — only the prepared process

    for module in pkgutil.walk_packages(worker.cli.commands.__path__, "worker.cli.commands."):
        importlib.import_module(module.name)
    for name in ("worker.app", "worker.wiring", "uvloop"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _is_child() -> bool:
    sys.path[0] = ""  # as for `python -m`
    line = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    line.send(b"!")
    return _serve(line)


if __name__ == "__main__" and _is_child():
    runpy.run_module("worker", run_name="__main__", alter_sys=True)
