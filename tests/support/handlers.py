"""Handlers for workers in the test's process. A test says what the steered one does."""

from collections.abc import Mapping
from typing import Any

from schemas import CreateSessionRequest
from worker.handlers import Context, Handler, RetryLater

PATH = "support.handlers:steered"
_acts: list[Handler] = []


def steer(act: Handler) -> str:
    """Makes the steered handler do this from now on; returns its path for WORKER_HANDLER."""
    _acts[:] = [act]
    return PATH


async def steered(request: CreateSessionRequest, context: Context) -> Mapping[str, Any] | None:
    return await _acts[0](request, context)


def not_async(_request: CreateSessionRequest, _context: Context) -> None:
    """Is refused by a worker: it is no async function."""


async def harmless(_request: CreateSessionRequest, _context: Context) -> None:
    """Does nothing."""


async def blurts_out_secrets(request: CreateSessionRequest, _context: Context) -> None:
    """Fails with an error that holds the whole request."""
    raise RuntimeError(request.model_dump_json())


async def does_as_the_user_says(request: CreateSessionRequest, context: Context) -> None:
    """Fails with all of the request in its error, puts it off once so, or creates the session."""
    everything = RuntimeError(request.model_dump_json())
    if request.user_id == "fails":
        raise everything
    if request.user_id == "later" and context.attempt == 1:
        raise RetryLater(0.01) from everything


async def takes_nothing() -> None:
    """Is refused by a worker: it takes no request."""
