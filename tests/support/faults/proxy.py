"""A TCP proxy that a test breaks: the network between a worker and a server."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536


class Proxy:
    """Forwards bytes until a test breaks it. Counts what it does to connections, as proof that it did it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._cuts = 0
        self.delay_seconds = 0.0
        self.broken_connections = 0
        self.held_bytes = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        return len(self._pairs)

    async def start(self, listening: socket.socket | None = None) -> None:
        """`listening`: a socket of the caller's, in place of one on any port of the loopback."""
        if listening is None:
            listening = socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=listening)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *, reset: bool = False, refuse: bool = False) -> int:
        """End every connection: in order, or with a reset. `refuse`: and every new one, until `heal`."""
        self._refusing = refuse
        self._cuts += 1
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for writer in pair:
                if reset:
                    raw = writer.get_extra_info("socket")
                    with suppress(OSError):
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        self.broken_connections += len(pairs)
        return len(pairs)

    def stall(self) -> int:
        """Leave connections half-open: they stay, and nothing passes any more, until `heal`."""
        self._flowing.clear()
        return len(self._pairs)

    def heal(self) -> None:
        self._flowing.set()
        self._refusing = False
        self.delay_seconds = 0.0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        cuts = self._cuts
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        if cuts != self._cuts:  # meanwhile
            for half in (writer, far_writer):
                half.transport.abort()
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._tasks.difference_update(ways)
        self._pairs.discard(pair)
        for end in pair:
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not self._flowing.is_set():
                    self.held_bytes += len(data)
                    await self._flowing.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yields a proxy in front of a server, and the server's URL by way of it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    await proxy.start()
    account, at, _ = parts.netloc.rpartition("@")
    try:
        yield proxy, urlunsplit(parts._replace(netloc=f"{account}{at}127.0.0.1:{proxy.port}"))
    finally:
        await proxy.close()
