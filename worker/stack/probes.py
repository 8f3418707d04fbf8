"""Asks a server, in its own protocol, whether it serves.

An open port alone proves little: it may listen before its server serves, and Docker's does at once.
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable

from worker.stack.ports import LOOPBACK

_ANSWER_SECONDS = 2.0
_PAUSE_SECONDS = 0.05


async def rabbitmq_answers(port: int) -> bool:
    """Ask a broker, which opens the AMQP handshake with a method frame on channel 0."""
    return await _answers(port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")


async def postgres_answers(port: int) -> bool:
    """Ask a Postgres, which wants a password; while it starts up it sends an error instead."""
    words = b"user\x00postgres\x00database\x00postgres\x00\x00"
    return await _answers(port, struct.pack("!II", len(words) + 8, 3 << 16) + words, b"R")


async def until(answers: Callable[[], Awaitable[bool]], alive: Callable[[], bool], limit: float) -> bool:
    """Ask until the server answers, has ended, or the time is over; return whether it answered."""
    deadline = time.monotonic() + limit
    while alive() and time.monotonic() < deadline:
        if await answers():
            return True
        await asyncio.sleep(_PAUSE_SECONDS)
    return False


async def _answers(port: int, question: bytes, expected: bytes) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(question)
                return await reader.readexactly(len(expected)) == expected
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
