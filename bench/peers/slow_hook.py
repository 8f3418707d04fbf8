"""A handler that takes its time, as one does that calls something elsewhere."""

import asyncio
import os

SECONDS = float(os.environ.get("BENCH_HOOK_SECONDS", "0.2"))


async def create(_request: object, _context: object) -> None:
    await asyncio.sleep(SECONDS)
