"""The HTTP server outlives clients that are slow, idle or many, and ends soon."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from worker.console import forms, server
from worker.console.forms import form_of
from worker.console.server import serve
from worker.errors import SettingsError

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    if scope["path"] == "/slow":
        await asyncio.Event().wait()
    answer: Response = PlainTextResponse("there")
    if scope["path"] == "/large":
        answer = StreamingResponse(b"x" * 65_536 for _ in range(1_000))
    if scope["method"] == "POST":
        try:
            answer = PlainTextResponse(repr(dict(await form_of(request))))
        except Exception as error:  # noqa: BLE001 — the app's handlers turn it into an answer
            answer = PlainTextResponse(str(error), getattr(error, "status", 500))
    await answer(scope, receive, send)


@asynccontextmanager
async def connections(port: int) -> AsyncIterator[Callable[[], Awaitable[Stream]]]:
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in opened:
            writer.close()
        for writer in opened:
            with suppress(OSError):
                await writer.wait_closed()


async def status_of(stream: Stream) -> int:
    line = await asyncio.wait_for(stream[0].readline(), 60)
    return int(line.split()[1])


async def ask(stream: Stream, request: bytes = REQUEST) -> int:
    stream[1].write(request)
    status = await status_of(stream)
    headers = await stream[0].readuntil(b"\r\n\r\n")
    length = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await stream[0].readexactly(length)
    return status


async def test_it_ends_soon_with_idle_and_busy_connections_open() -> None:
    clock = asyncio.get_running_loop().time
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        idle, silent, busy = await connect(), await connect(), await connect()
        assert await ask(idle) == await ask(idle) == 200
        busy[1].write(REQUEST.replace(b"/ ", b"/slow "))
        assert await ask(await connect()) == 200
        before = clock()
    assert clock() - before < server.IDLE_SECONDS / 2
    assert await idle[0].read() == await silent[0].read() == await busy[0].read() == b""
    with socket.create_server(("127.0.0.1", port)):
        pass  # nothing listens there any more


async def test_it_touches_neither_signals_nor_the_root_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    before = (
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        list(logging.getLogger().handlers),
    )
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        assert await ask(await connect()) == 200
        now = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert (now, list(logging.getLogger().handlers)) == before
    assert not caplog.records


async def test_a_client_that_is_slow_to_ask_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        never, dripping, kept = await connect(), await connect(), await connect()
        dripping[1].write(REQUEST[:10])
        assert await ask(kept) == 200
        kept[1].write(REQUEST[:10])
        for stream in (never, dripping, kept):
            assert await asyncio.wait_for(stream[0].read(), 60) == b""
        busy = await connect()
        busy[1].write(REQUEST.replace(b"/ ", b"/slow "))
        with pytest.raises(TimeoutError):  # it is the server's turn: however long that takes
            await asyncio.wait_for(busy[0].read(), 0.5)


async def test_one_connection_too_many_ends_the_one_that_is_idle_for_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        first, busy, third = await connect(), await connect(), await connect()
        busy[1].write(REQUEST.replace(b"/ ", b"/slow "))
        assert await ask(third) == await ask(first) == 200
        assert await ask(await connect()) == 200
        assert await asyncio.wait_for(third[0].read(), 60) == b""
        assert await ask(first) == 200


async def test_a_client_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STUCK_SECONDS", 0.2)
    ended = asyncio.Event()

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        ended.set()

    async with serve(noted, "127.0.0.1", 0) as port:
        with socket.create_connection(("127.0.0.1", port)) as stuck:
            stuck.sendall(REQUEST.replace(b"/ ", b"/large "))
            await asyncio.wait_for(ended.wait(), 60)


POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s"
FORM = POST.replace(b"Host: h", b"Host: h\r\nContent-Type: application/x-www-form-urlencoded")
REFUSED = [
    (b"\x16\x03\x01 canary\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", 400),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + b"Host: h\r\n" * 2 + b"\r\n", 400),
    (POST % (4, b"a=&b"), 415),
    (POST % (10, b"a"), 408),
    (FORM % (3_000_000, b"a=" * 1_500_000), 413),
    (FORM % (4_000, b"a=&b" * 1_000), 400),
    (FORM % (5, b"a=%ff"), 400),
]


@pytest.mark.parametrize(("request_", "status"), REFUSED, ids=range(len(REFUSED)))
async def test_what_is_no_request_or_too_large_is_refused(
    monkeypatch: pytest.MonkeyPatch, request_: bytes, status: int
) -> None:
    monkeypatch.setattr(forms, "_SECONDS", 0.3 if status == 408 else 60)
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        stream = await connect()
        stream[1].write(request_)
        assert await status_of(stream) == status
        assert await ask(await connect()) == 200


async def test_an_address_that_cannot_be_listened_at_is_a_settings_error() -> None:
    async with serve(app, "127.0.0.1", 0) as port:
        with pytest.raises(SettingsError, match=r"^WORKER_HTTP_PORT: cannot listen"):
            async with serve(app, "127.0.0.1", port):
                pass


async def test_an_address_with_many_connections_ends_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        probe = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        assert await ask(probe) == 200
        flood = [await connect() for _ in range(5)]
        assert await ask(flood[-1]) == 200
        assert await ask(probe) == 200, "it was idle for the longest, but the others are of one address"
        assert await asyncio.wait_for(flood[0][0].read(), 60) == b""
        probe[1].close()


async def test_requests_that_are_too_many_wait_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUESTS_AT_ONCE", 1)
    monkeypatch.setattr(server, "REQUESTS_IN_A_SECOND", 20)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    clock = asyncio.get_running_loop().time
    async with serve(app, "127.0.0.1", 0) as port, connections(port) as connect:
        streams = [await connect() for _ in range(3)]
        begun = clock()
        assert await asyncio.gather(*(ask(stream) for stream in streams)) == [200, 200, 200]
        assert clock() - begun >= 2 / 20
