"""Finds out which code of the handler blocks the event loop. Nothing in the loop could tell meanwhile."""

import asyncio
import sys
import threading
from contextvars import copy_context
from time import monotonic
from types import FrameType, TracebackType
from typing import NamedTuple, Self

import structlog

from worker.monitoring.places import own_frame, place_at

LATE_SECONDS = 0.1
LOOK_SECONDS = 0.1
_STUCK_SECONDS = 5.0  # of a loop that is blocked for longer is told before it is free again
_AGAIN_SECONDS = 60.0  # until the same place is told again
_PLACES = 100
_log = structlog.get_logger(__name__)


class Block(NamedTuple):
    """A place of the handler that has held up the event loop, for at least so long."""

    place: str
    seconds: float


class Blocking:
    """Asks the loop, from a thread, whether it goes on, and while it does not answer, looks where it is. The
    handler blocks it if the loop is in the same call of one of its functions at two looks.
    """

    def __init__(
        self, handler: object, name: str, build: str | None = None, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._handler = handler
        self._name = name
        self._build = build
        self._look_seconds = look_seconds
        self._answered = True
        self._asked_at = 0.0
        self._seen: FrameType | None = None
        self._block: Block | None = None
        self._is_told = False
        self._told: dict[str, float] = {}
        self._worst: Block | None = None
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Begin to look. It is entered in the loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        context = copy_context()  # its events have what others have
        self._looking = threading.Thread(
            target=context.run, args=(self._watch,), name="blocking", daemon=True
        )
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._looking.join()

    def take_worst(self) -> Block | None:
        """Return the longest block since the last time."""
        worst, self._worst = self._worst, None
        return worst

    def _watch(self) -> None:
        while not self._closed.wait(self._look_seconds):
            if not self._answered:
                self._look(monotonic() - self._asked_at)
                continue
            self._over()
            self._answered, self._asked_at = False, monotonic()
            self._loop.call_soon_threadsafe(self._answer)
        self._over()

    def _answer(self) -> None:
        self._answered = True

    def _look(self, late: float) -> None:
        if late < LATE_SECONDS:
            return
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 — there is no other way
        own = own_frame(frame, self._handler)
        if own is not None and own is self._seen and (place := place_at(own, self._handler)):
            self._block = Block(place, late)
        self._seen = own
        if self._block and late > _STUCK_SECONDS:
            self._tell(self._block)

    def _over(self) -> None:
        """Tell of the block that is over."""
        block, self._block, self._seen = self._block, None, None
        if block is None:
            return
        if self._worst is None or block.seconds > self._worst.seconds:
            self._worst = block
        self._tell(block)
        self._is_told = False

    def _tell(self, block: Block) -> None:
        """Tell of a block once, and of a place once in a while."""
        if self._is_told:
            return
        self._is_told, now = True, monotonic()
        self._told = {place: at for place, at in self._told.items() if now - at < _AGAIN_SECONDS}
        if block.place in self._told or len(self._told) >= _PLACES:
            return
        self._told[block.place] = now
        _log.warning(
            "handler.blocking", handler=self._name, build=self._build, place=block.place,
            seconds=round(block.seconds, 1), consequence="nothing else of this worker went on meanwhile",
            remedy="await what takes long, or make the handler a plain function: it runs in a thread then",
        )  # fmt: skip
