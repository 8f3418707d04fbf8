"""Leads from a machine's loopback into a network namespace: `gate.py FILE:PORT …`.

It inherits sockets that listen, which stay where they were made. What it opens itself is in the namespace
that it was started in: so each connection to such a socket goes on to that port of the namespace's loopback.
"""

import asyncio
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.faults.proxy import Proxy


async def lead(ways: list[str]) -> None:
    for way in ways:
        file, _, port = way.partition(":")
        await Proxy("127.0.0.1", int(port)).start(socket.socket(fileno=int(file)))
    await asyncio.to_thread(sys.stdin.buffer.read)  # until whoever started it has ended


if __name__ == "__main__":
    asyncio.run(lead(sys.argv[1:]))
