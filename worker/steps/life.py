"""Keeps open what a handler needs, around the life of its worker."""

import asyncio
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import structlog

from worker.errors import LifespanFailed
from worker.handlers import Lifespan
from worker.messages.masking import masked_text
from worker.process import own_task
from worker.steps.loading import opened

_LONGEST = 300  # characters of an error's text
_CUT_SECONDS = 1  # for a lifespan that has not closed within the grace
_log = structlog.get_logger(__name__)


class Life:
    """The lifespan of a handler. It is opened and closed in a task of its own, since much of what is opened
    has to be closed by the task that has opened it.
    """

    def __init__(self, name: str = "", lifespan: Lifespan = nullcontext) -> None:
        self.state: Any = None
        self._name = name
        self._lifespan = lifespan
        self._is_open = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open it. An error of it is raised as `LifespanFailed`."""
        if self._lifespan is nullcontext:
            return
        begun = perf_counter()
        self._task = asyncio.create_task(self._live())
        is_open = asyncio.create_task(self._is_open.wait())
        try:
            await asyncio.wait([self._task, is_open], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_open.cancel()
        if not self._is_open.is_set():
            self._task.result()
        _log.info("handler.opened", handler=self._name, took_ms=round((perf_counter() - begun) * 1000))

    async def until_over(self) -> None:
        """Wait until it ends by itself, which is an error. Most never do."""
        if self._task is None:
            await asyncio.Event().wait()
        else:
            await asyncio.wait([self._task])
            self._task.result()

    async def close(self) -> None:
        """Close it, and wait until that is done, however long it takes."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def end(self) -> None:
        """End it now, if it is not closed already: it has a second more to close."""
        if self._task is None:
            return
        self._closing.set()
        await asyncio.wait([self._task], timeout=_CUT_SECONDS if self._is_open.is_set() else 0)
        if not self._task.done() and self._is_open.is_set():
            _log.warning("handler.close_cut", handler=self._name, consequence="it is cancelled, half closed")
        await own_task.end([self._task])

    async def _live(self) -> None:
        try:
            async with opened(self._lifespan) as self.state:
                self._is_open.set()
                await self._closing.wait()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and own_task.is_being_cancelled():
                raise
            if not self._closing.is_set():
                when = "while the worker ran" if self._is_open.is_set() else "at the start"
                raise LifespanFailed(self._name, when, _in_words(error)) from error
            _log.error("handler.close_failed", handler=self._name, error=type(error).__name__)
        else:
            if not self._closing.is_set():
                raise LifespanFailed(self._name, "while the worker ran", "it has ended")


def _in_words(error: BaseException) -> str:
    """Say what an error is: it may quote an address of the author's, with a password."""
    text = masked_text(str(error)).strip()
    return type(error).__name__ + (f": {text[:_LONGEST]}" if text else "")
