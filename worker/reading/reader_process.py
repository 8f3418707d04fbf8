"""The process that reads for a worker: one message after the other, within limits of memory and time.

It ends when its pipe closes, so it outlives no worker; and it may die over a message, which costs nobody else
anything.
"""

import os
import pickle
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from worker.errors import SealError
from worker.messages.decoding import Limits, decode, restore
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.process.failpoint import FailPoint
from worker.reading.protocol import HEAD_BYTES, Given, NotOpened, ToRead, ToRestore, pack
from worker.values import Arrival, Read, Requested

_NICE = 5  # the light messages go first
_MEMORY_BYTES = 256 << 20  # beside what it has at its start
_MEMORY_PER_BYTE = 64
_CPU_SECONDS = 5.0
_CPU_SECONDS_PER_MIB = 2.0


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to hear
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the answers
    given: Given = _take(source)
    keys, limits = parse_seal_keys(given.seal_keys), Limits(given.max_body_bytes)
    fail_point = FailPoint(given.fail_point)
    os.nice(_NICE)
    _limit_memory(_MEMORY_BYTES + _MEMORY_PER_BYTE * given.max_body_bytes)
    seconds = _CPU_SECONDS + _CPU_SECONDS_PER_MIB * given.max_body_bytes / (1 << 20)
    _put(sink, None)
    while (asked := _take(source)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # it ends the process
        match asked:
            case ToRead():
                fail_point.read(asked.message.body)
                answer: object = _light(decode(asked.message, limits, keys, asked.now), given.wants_whole)
            case ToRestore():
                fail_point.read(asked.body.encode())
                answer = _restored(asked, keys, given.wants_whole)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _put(sink, answer)
        del asked, answer


def _light(read: Read, wants_whole: bool) -> Read:
    """Leaves out what takes long to make again on the other side of the pipe."""
    if not isinstance(read, Arrival) or read.request is None:
        return read
    return read._replace(request=_packed(read.request, wants_whole))


def _packed(requested: Requested, wants_whole: bool) -> Requested:
    return requested.packed() if wants_whole else requested._replace(given=b"")


def _restored(asked: ToRestore, keys: SealKeys, wants_whole: bool) -> tuple[Requested, str] | NotOpened:
    try:
        requested, document = restore(asked.body, asked.request_id, keys)
    except SealError as error:
        return NotOpened(str(error), sealed=True)
    except ValueError:  # no message of pydantic's: it may quote what was sent
        return NotOpened("this version cannot read it", sealed=False)
    return _packed(requested, wants_whole), document


def _take(source: BinaryIO) -> Any:  # noqa: ANN401 — a value of the classes above
    head = source.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    return pickle.loads(source.read(int.from_bytes(head, "big")))  # noqa: S301 — the worker itself wrote it


def _put(sink: BinaryIO, value: object) -> None:
    sink.write(pack(value))
    sink.flush()


def _limit_memory(more: int) -> None:
    """Ends this process, not the machine's work, when a message takes more than this."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]  # raising that is for root alone
        wanted = now + more if most == resource.RLIM_INFINITY else min(now + more, most)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:  # noqa: BLE001 — its text may quote what was read
        sys.stderr.write(f"reader: {type(error).__name__}\n")
        sys.exit(1)
