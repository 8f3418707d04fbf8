"""Reserves ports on the loopback that stay ours, also while the server on them is down.

A port is held by binding the UDP port of the same number: the kernel gives it to one
process, frees it when that process dies, and TCP, which the servers use, is not touched.
So two stacks that start at once cannot choose the same port, and a server that was killed
finds its port again. Numbers come from below the range from which the kernel serves
outgoing connections, since one of those could sit on the port during a restart.
"""

import random
import socket
from dataclasses import dataclass

from worker.stack.errors import StackError

LOOPBACK = "127.0.0.1"
_RANGE = range(20000, 32000)
_TRIES = 400


@dataclass(frozen=True)
class Port:
    number: int
    _hold: socket.socket

    def release(self) -> None:
        self._hold.close()


def reserve() -> Port:
    """Choose a port that nobody listens on and no other stack has chosen."""
    for _ in range(_TRIES):
        number = random.choice(_RANGE)  # noqa: S311 - a guess at what is free, not a secret
        hold = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            hold.bind((LOOPBACK, number))
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((LOOPBACK, number))
        except OSError:
            hold.close()
            continue
        return Port(number, hold)
    raise StackError(f"no free port between {_RANGE.start} and {_RANGE.stop} on {LOOPBACK}")
