"""Lets a test kill or freeze a worker in a gap between two steps. Production mode refuses it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

from worker.errors import SettingsError

T = TypeVar("T")
_FLUSH_SECONDS = 0.1
_ACTIONS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


class Gap(StrEnum):
    """The gaps between the steps of a batch, and within some of them."""

    AFTER_WAIT = "after_wait"
    AFTER_CLAIM = "after_claim"
    AFTER_ACCEPT = "after_accept"
    AFTER_CREATE = "after_create"
    DURING_FINISH = "during_finish"
    AFTER_FINISH = "after_finish"
    DURING_PUBLISH = "during_publish"
    AFTER_PUBLISH = "after_publish"
    AFTER_SETTLE = "after_settle"
    WHILE_READING = "while_reading"


class FailPoint:
    """Ends or freezes this process where the setting says: `after_accept:kill`, `after_accept:freeze:3` for
    the third time a batch comes by, or `while_reading:kill:WORD` when a body with this word in it is read.
    """

    def __init__(self, text: str) -> None:
        self._gap: Gap | None = None
        self._word = b""
        if not text:
            return
        name, _, rest = text.partition(":")
        action, _, count = rest.partition(":")
        try:
            self._gap = Gap(name)
            self._signal = _ACTIONS[action]
            if self._gap is Gap.WHILE_READING:
                self._word, count = count.encode(), ""
            self._left = int(count or 1)
        except (ValueError, KeyError):
            raise SettingsError(
                f"WORKER_FAIL_POINT: {text!r} is not GAP:kill or GAP:freeze with one of {', '.join(Gap)}"
            ) from None

    def read(self, body: bytes) -> None:
        """Kill or freeze the process that reads a body with the word in it."""
        if self._word and self._word in body:
            os.kill(os.getpid(), self._signal)

    def reach_during(self, gap: Gap, step: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Kill or freeze in the middle of a step, if this is the gap: it is sent, its answer is not read."""
        if gap is not self._gap:
            return step
        return self._begin_and_reach(gap, step)

    async def _begin_and_reach(self, gap: Gap, step: Coroutine[Any, Any, T]) -> T:
        begun = asyncio.ensure_future(step)
        await self.reach(gap)
        return await begun

    async def reach(self, gap: Gap) -> None:
        """Kill or freeze this process, if this is the gap. What was written before is sent first."""
        if gap is not self._gap:
            return
        self._left -= 1
        if self._left == 0:
            await asyncio.sleep(_FLUSH_SECONDS)
            os.kill(os.getpid(), self._signal)
