"""Watches how late the event loop is: what blocks it makes everything late, heartbeats included."""

import asyncio
from collections.abc import Callable

SECONDS = 0.25


async def watch(observe: Callable[[float], None], seconds: float = SECONDS) -> None:
    """Report, four times a second, how much later than asked for this task was woken."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + seconds
        await asyncio.sleep(seconds)
        observe(max(0.0, clock() - due))
