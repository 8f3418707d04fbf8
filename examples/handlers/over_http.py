r"""A handler that calls a service over HTTP.

    PYTHONPATH=examples/handlers ROOMS_URL=http://localhost:9000 \
      WORKER_HANDLER=over_http:create session-worker run

All calls share one client. The first call opens it, in the worker's event loop: at the import of this module
there is none yet. It is closed when that loop ends: see `_close_at_the_end`.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import aiohttp

from schemas import CreateSessionRequest
from worker.handlers import Context, Rejected, RetryLater

_UNPROCESSABLE = 422
_BUSY = (429, 503)
_SECONDS = 10  # less than WORKER_HANDLER_TIMEOUT_SECONDS, so that it is this that says what took so long


class Rooms:
    """The service, as far as it is needed here."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: aiohttp.ClientSession | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def client(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                self._url,
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                connector=aiohttp.TCPConnector(limit=0),  # WORKER_HANDLER_CONCURRENCY is the limit
            )
            self._closing = asyncio.create_task(self._close_at_the_end(self._client))
        return self._client

    async def _close_at_the_end(self, client: aiohttp.ClientSession) -> None:
        """A worker has no hook for its end yet. But once every call has ended, its loop cancels the tasks
        that are left, and waits for them.
        """
        try:
            await asyncio.Event().wait()
        finally:
            await client.close()


_rooms = Rooms(os.environ.get("ROOMS_URL", "http://localhost:9000"))


async def create(request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
    try:
        # The session id makes a second call for the same request harmless.
        async with _rooms.client.put(
            f"/rooms/{context.session_id}", json={"name": request.payload.name}
        ) as answer:
            if answer.status in _BUSY:
                raise RetryLater(_seconds(answer.headers.get("Retry-After")), "the service of rooms is busy")
            if answer.status == _UNPROCESSABLE:
                raise Rejected("the service of rooms does not take this name")
            answer.raise_for_status()  # anything else is a failed attempt, and tried again, too
            return {"room": (await answer.json())["room"]}
    except aiohttp.ClientConnectionError:
        raise RetryLater(reason="the service of rooms cannot be reached") from None


def _seconds(after: str | None) -> float | None:
    """None, for a delay that grows, where the service does not say seconds."""
    return float(after) if after and after.isdecimal() else None
