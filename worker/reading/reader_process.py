"""Reads for a worker as a child process: one message after the other, within limits of memory and time.

The process ends when its pipe closes, so it outlives no worker. It may die over a message, which harms no
other message.
"""

import os
import pickle
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from worker.errors import SealError
from worker.messages.decoding import decode, restore
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.process.failpoint import FailPoint
from worker.reading.protocol import LENGTH_BYTES, NotRestored, ReaderSettings, ToRead, ToRestore, framed
from worker.values import Arrival, Read, Requested

_NICE = 15  # the messages that the worker reads itself go first, on a busy machine by far
_MEMORY_BYTES = 256 << 20  # more than the process has at its start
_MEMORY_PER_BODY_BYTE = 64
_CPU_SECONDS = 5.0
_CPU_SECONDS_PER_BODY_MIB = 2.0


def main() -> None:
    """Answers the questions on standard input until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the worker acts upon Ctrl-C
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that is printed may get between the answers
    settings: ReaderSettings = _receive(source)
    keys, limits = parse_seal_keys(settings.seal_keys), settings.limits
    fail_point = FailPoint(settings.fail_point)
    os.nice(_NICE)
    _limit_memory(_MEMORY_BYTES + _MEMORY_PER_BODY_BYTE * limits.max_body_bytes)
    seconds = _CPU_SECONDS + _CPU_SECONDS_PER_BODY_MIB * limits.max_body_bytes / (1 << 20)
    _send(sink, None)
    while (question := _receive(source)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # ends the process when it runs out
        match question:
            case ToRead():
                fail_point.read(question.message.body)
                answer: object = _to_send(
                    decode(question.message, limits, keys, question.now), settings.wants_whole
                )
            case ToRestore():
                fail_point.read(question.body.encode())
                answer = _restored(question, keys, settings.wants_whole)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(sink, answer)
        del question, answer


def _to_send(read: Read, wants_whole: bool) -> Read:
    """Packs or leaves out the request itself, which takes long to make again on the worker's side."""
    if not isinstance(read, Arrival) or read.request is None:
        return read
    return read._replace(request=_packed(read.request, wants_whole))


def _packed(requested: Requested, wants_whole: bool) -> Requested:
    return requested.packed() if wants_whole else requested._replace(given=b"")


def _restored(question: ToRestore, keys: SealKeys, wants_whole: bool) -> tuple[Requested, str] | NotRestored:
    try:
        requested, document = restore(question.body, question.request_id, keys)
    except SealError as error:
        return NotRestored(str(error), sealed=True)
    except ValueError:  # its text is not repeated: pydantic may quote what was sent
        return NotRestored("this version cannot read it", sealed=False)
    return _packed(requested, wants_whole), document


def _receive(source: BinaryIO) -> Any:  # noqa: ANN401 — a value of the protocol
    head = source.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    return pickle.loads(source.read(int.from_bytes(head, "big")))  # noqa: S301 — the worker itself wrote it


def _send(sink: BinaryIO, value: object) -> None:
    sink.write(framed(value))
    sink.flush()


def _limit_memory(more: int) -> None:
    """Limits this process to so many bytes more than it has: a message that takes more ends it alone."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # only root may raise it
        wanted = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:  # noqa: BLE001 — its text may quote what was read
        sys.stderr.write(f"reader: {type(error).__name__}\n")
        sys.exit(1)
