"""The handler that tests name in WORKER_HANDLER: each test says what it does."""

from collections.abc import Mapping
from typing import Any

from schemas import CreateSessionRequest
from worker.handlers import Context, Handler

PATH = "support.handlers:steered"
_acts: list[Handler] = []


def steer(act: Handler) -> str:
    """From now on the handler does this; returns what WORKER_HANDLER is to say."""
    _acts[:] = [act]
    return PATH


async def steered(request: CreateSessionRequest, context: Context) -> Mapping[str, Any] | None:
    return await _acts[0](request, context)


def not_async(_request: CreateSessionRequest, _context: Context) -> None:
    """A handler that a worker refuses."""


async def harmless(_request: CreateSessionRequest, _context: Context) -> None:
    """Does nothing."""


async def blurts_out_secrets(request: CreateSessionRequest, _context: Context) -> None:
    """Fails with everything it was told in its error."""
    raise RuntimeError(request.model_dump_json())


async def takes_nothing() -> None:
    """A handler that could never be called."""
