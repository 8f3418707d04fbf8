"""Listens at an address, and accepts so many connections in a second, however many are made."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

from worker.process import own_task

_WAITING = 1_024  # that the kernel keeps meanwhile
_OUT_OF_FILES_SECONDS = 1.0
_QUIET_SECONDS = 1.0
_TOGETHER = 10  # are accepted before the loop has a rest from it


@asynccontextmanager
async def accepting(
    protocol: Callable[[], asyncio.Protocol], host: str, port: int, in_a_second: float, at_once: int
) -> AsyncIterator[int]:
    """Accept while the context is open; yield the port. Raises OSError, or UnicodeError for no host."""
    with ExitStack() as opened:
        listeners = [opened.enter_context(each) for each in await _listeners(host, port)]
        tasks = [asyncio.create_task(_accept(each, protocol, 1 / in_a_second, at_once)) for each in listeners]
        try:
            yield listeners[0].getsockname()[1]
        finally:
            await own_task.end(tasks)


async def _accept(
    listener: socket.socket, protocol: Callable[[], asyncio.Protocol], step: float, at_once: int
) -> None:
    """Accept one after the other; after a quiet time, some at once."""
    loop = asyncio.get_running_loop()
    left = at_once
    while True:
        asked = loop.time()
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError:  # there is no descriptor for one more, or it is gone already
            await asyncio.sleep(_OUT_OF_FILES_SECONDS)
            continue
        left = (at_once if loop.time() - asked > _QUIET_SECONDS else left) - 1
        await loop.connect_accepted_socket(protocol, connection)
        if left < 0 and left % _TOGETHER == 0:
            await asyncio.sleep(_TOGETHER * step)


async def _listeners(host: str, port: int) -> list[socket.socket]:
    """Open a socket for each address that the host stands for."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    with ExitStack() as undone:
        for family, kind, number, _, address in dict.fromkeys(found):
            listener = undone.enter_context(socket.socket(family, kind, number))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setblocking(False)
            listener.bind(address)
            listener.listen(_WAITING)
            opened.append(listener)
        undone.pop_all()
    return opened
