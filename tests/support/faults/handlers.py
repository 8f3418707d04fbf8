"""Handlers for worker processes that do what users' own code may do to a worker."""

import asyncio
import os
import signal
from pathlib import Path

from schemas import CreateSessionRequest
from worker.handlers import Context, RetryLater


async def kills_its_worker(request: CreateSessionRequest, _context: Context) -> None:
    """Kills its worker for a request named "poison"; all others are harmless."""
    if request.payload.name == "poison":
        os.kill(os.getpid(), signal.SIGKILL)


async def never_ends(request: CreateSessionRequest, _context: Context) -> None:
    if request.payload.name == "endless":
        await asyncio.Event().wait()


async def fails_twice(_request: CreateSessionRequest, context: Context) -> None:
    if context.attempt < 3:
        raise RetryLater(reason="not yet")


async def waits_for_the_gate(request: CreateSessionRequest, _context: Context) -> None:
    """Goes on once the file named by the request is there."""
    gate = Path(request.payload.name or "")
    while not gate.exists():  # noqa: ASYNC110, ASYNC240 — a file sends no event
        await asyncio.sleep(0.05)


async def takes_a_moment(_request: CreateSessionRequest, _context: Context) -> None:
    """Takes so long that a worker always has work in hand, though requests come in half-second bursts."""
    await asyncio.sleep(1)


async def fails_for_some(request: CreateSessionRequest, _context: Context) -> None:
    """Fails for a third of the requests, as the handler of a bad build may."""
    if request.request_id.int % 3 == 0:
        raise KeyError("room")
