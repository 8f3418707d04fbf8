"""Handlers for workers in the test's process. A test says what the steered one does."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from schemas import CreateSessionRequest
from worker.handlers import Context, Handler, Lifespan, PlainHandler, Rejected, RetryLater, handler

PATH = "support.handlers:steered"
_acts: list[Handler] = []
_plain_acts: list[PlainHandler] = []
_lifespans: list[Lifespan] = [nullcontext]
_calls: list[str] = []


def steer(act: Handler, lifespan: Lifespan = nullcontext) -> str:
    """Makes the steered handler do this from now on; returns its path for WORKER_HANDLER."""
    _acts[:], _lifespans[:] = [act], [lifespan]
    return PATH


def steer_plain(act: PlainHandler) -> str:
    """Does the same with a handler that is a plain function."""
    _plain_acts[:] = [act]
    return "support.handlers:steered_plain"


def _steered_lifespan() -> AbstractAsyncContextManager[Any]:
    return _lifespans[0]()


@handler(lifespan=_steered_lifespan)
async def steered(request: CreateSessionRequest, context: Context) -> Mapping[str, Any] | None:
    return await _acts[0](request, context)


def steered_plain(request: CreateSessionRequest, context: Context) -> Mapping[str, Any] | None:
    return _plain_acts[0](request, context)


class Rooms:
    """Is no handler: an instance of it is one."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[str]:
        yield "blue"

    async def __call__(self, _request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
        return {"room": context.state, "session": len(context.session_id)}


rooms = Rooms()


async def yields(_request: CreateSessionRequest, _context: Context) -> AsyncIterator[None]:
    """Is refused by a worker: it returns nothing."""
    yield


async def _half() -> AsyncIterator[None]:
    yield


@handler(lifespan=_half)  # type: ignore[arg-type]  # the slip
async def half_a_lifespan(_request: CreateSessionRequest, _context: Context) -> None:
    """Is refused by a worker: its lifespan is no context manager."""


@asynccontextmanager
async def _away() -> AsyncIterator[None]:
    if _lifespans:  # always
        raise ConnectionRefusedError("postgresql://rooms:canary-password@rooms/rooms does not answer")
    yield


@handler(lifespan=_away)
async def cannot_be_opened(_request: CreateSessionRequest, _context: Context) -> None:
    """Loads, and ends its worker at the start."""


def in_a_thread(_request: CreateSessionRequest, _context: Context) -> None:
    time.sleep(0.2)  # harms nobody there


async def blocks(_request: CreateSessionRequest, _context: Context) -> None:
    time.sleep(0.2)  # noqa: ASYNC251 — the fault


async def counts(_request: CreateSessionRequest, _context: Context) -> Mapping[str, Any]:
    _calls.append("")
    return {"room": len(_calls)}


async def rejects(_request: CreateSessionRequest, _context: Context) -> None:
    raise Rejected("no seats left", code="no_seats", details={"seats": 0})


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
