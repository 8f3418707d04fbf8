"""Every periodic service runs in this loop."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

_log = structlog.get_logger(__name__)


async def every(
    seconds: float, service: str, work: Callable[[], Awaitable[None]], *, at_once: bool = False
) -> None:
    """Run `work` again and again, with jitter, so that many workers do not all come at once.

    A run that fails is logged and the next one comes as ever: a service outlives its errors.
    """
    wait = 0.0 if at_once else 1.0
    while True:
        await asyncio.sleep(wait * seconds * random.uniform(0.8, 1.2))  # noqa: S311 — spreads load, guards nothing
        wait = 1.0
        try:
            await work()
        except Exception:  # noqa: BLE001 — logged with its traceback; the service goes on
            _log.exception("service.failed", service=service)
