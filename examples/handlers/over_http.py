r"""A handler that calls a service over HTTP.

    PYTHONPATH=examples/handlers ROOMS_URL=http://localhost:9000 \
      WORKER_HANDLER=over_http:create session-worker run

All calls share one client, which is open for as long as the worker lives. `tests/test_over_http.py` tests it.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from session_worker.handlers import Context, Rejected, RetryLater, handler
from session_worker.schemas import CreateSessionRequest

_UNPROCESSABLE = 422
_BUSY = (429, 503)
_SECONDS = 10  # less than WORKER_HANDLER_TIMEOUT_SECONDS, so that it is this that says what took so long


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """Open the client of the service. What is yielded here is `context.state` there."""
    async with aiohttp.ClientSession(
        os.environ.get("ROOMS_URL", "http://localhost:9000"),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        connector=aiohttp.TCPConnector(limit=0),  # WORKER_HANDLER_CONCURRENCY is the limit
    ) as opened:
        yield opened


@handler(lifespan=client)
async def create(request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
    """Make a room. The session id makes a second call for the same request harmless."""
    room = {"name": request.payload.name}
    try:
        async with context.state.put(f"/rooms/{context.session_id}", json=room) as answer:
            if answer.status in _BUSY:
                raise RetryLater(_seconds(answer.headers.get("Retry-After")), "the service of rooms is busy")
            if answer.status == _UNPROCESSABLE:
                raise Rejected("the service of rooms does not take this name")
            answer.raise_for_status()  # anything else is a failed attempt, and tried again, too
            return {"room": (await answer.json())["room"]}
    except aiohttp.ClientConnectionError:
        raise RetryLater(reason="the service of rooms cannot be reached") from None


def _seconds(after: str | None) -> float | None:
    """Return None, for a delay that grows, where the service does not say seconds."""
    return float(after) if after and after.isdecimal() else None
