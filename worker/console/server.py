"""Serves an application over HTTP in the loop that runs: with limits, and no hand on signals or logs."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from worker.console.accepting import accepting
from worker.console.turns import Turns
from worker.errors import SettingsError
from worker.process import own_task

MOST_CONNECTIONS = 256  # one more, and another one is closed
IDLE_SECONDS = 20  # for a request to have come whole but for its body, since the connection or the one before
STUCK_SECONDS = 30  # for a client to take what was sent to it
MOST_HEADER_BYTES = 16_384
CONNECTIONS_IN_A_SECOND = 500  # are accepted, however many are made
CONNECTIONS_AT_ONCE = 256
REQUESTS_IN_A_SECOND = 200  # begin, however many are sent: they take a part of the processor, and no more
REQUESTS_AT_ONCE = 100  # after a quiet time, as the pages of a console bring them
_END_SECONDS = 0.5
_STEP_SECONDS = 0.02


class Connection(H11Protocol):
    """A connection that is closed when its client is slow, idle, or one too many."""

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 — uvicorn's
        super().__init__(*args, **more)
        self.idle_since = self.loop.time()
        self._idle: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """The address of its client."""
        return self.client[0] if self.client else ""

    @property
    def at_work(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            self._one_too_many().transport.abort()

    def _one_too_many(self) -> "Connection":
        """Choose the connection to end: of the address that has the most, the one idle for the longest."""
        others = [each for each in self.connections if isinstance(each, Connection) and each is not self]
        number = Counter(each.address for each in others)
        return min(others, key=lambda each: (-number[each.address], each.at_work, each.idle_since))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._idle, self._stuck):
            if timer is not None:
                timer.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def _wait(self) -> None:
        """Give it some time, from now on, to send the next request."""
        if self._idle is not None:
            self._idle.cancel()
        self.idle_since = self.loop.time()
        self._idle = self.loop.call_later(IDLE_SECONDS, self._look)

    def _look(self) -> None:
        if not self.at_work:
            self.transport.close()


@asynccontextmanager
async def serve(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the context is open; yield the port. Of what is under way at the end, half a second is
    waited for it; idle connections are closed at once.
    """
    config = Config(
        _limited(app), http=Connection, ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES, timeout_keep_alive=IDLE_SECONDS,
    )  # fmt: skip
    config.load()
    state = ServerState()

    def connection() -> Connection:
        return Connection(config=config, server_state=state, app_state={})

    async with AsyncExitStack() as opened:
        opened.push_async_callback(_end, state)
        at = accepting(connection, host, port, CONNECTIONS_IN_A_SECOND, CONNECTIONS_AT_ONCE)
        yield await _opened(opened, at, host, port)


async def _opened(opened: AsyncExitStack, at: AbstractAsyncContextManager[int], host: str, port: int) -> int:
    """Begin to accept; an error is said in words of the settings."""
    try:
        return await opened.enter_async_context(at)
    except (socket.gaierror, UnicodeError):
        raise SettingsError(f"WORKER_HTTP_HOST: {host!r} is no address of this machine") from None
    except OSError as error:
        raise SettingsError(
            f"WORKER_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror}); "
            "set another port, or 0 for any"
        ) from error


def _limited(app: ASGIApp) -> ASGIApp:
    """Let requests begin in turn. Refuse a header that is too long: the parser does so only where it comes
    in pieces.
    """
    turns = Turns(REQUESTS_IN_A_SECOND, REQUESTS_AT_ONCE, MOST_CONNECTIONS)

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > MOST_HEADER_BYTES // 2:
            await PlainTextResponse("The header is too long.", 400)(scope, receive, send)
        elif not await turns.take(scope["client"][0] if scope["client"] else ""):
            await PlainTextResponse("Too many requests wait.", 503)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return limited


async def _end(state: ServerState) -> None:
    for connection in list(state.connections):
        if not connection.transport.is_closing():
            connection.shutdown()
    until = asyncio.get_running_loop().time() + _END_SECONDS
    while (state.connections or state.tasks) and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 — uvicorn tells nobody when they have ended
        await asyncio.sleep(_STEP_SECONDS)
    for connection in list(state.connections):
        connection.transport.abort()
    await own_task.end(list(state.tasks))
