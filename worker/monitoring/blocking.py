"""Finds out which code of the handler blocks the event loop. While it does, nothing in the loop could tell."""

import sys
import threading
from contextvars import copy_context
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from worker.monitoring import loop_lag
from worker.monitoring.places import own_frame, place_at

LATE_SECONDS = 0.1
_LOOK_SECONDS = 0.1
_STUCK_SECONDS = 5.0  # of a loop that is blocked for longer is told before it is free again
_AGAIN_SECONDS = 60.0  # until the same place is told again
_PLACES = 100
_log = structlog.get_logger(__name__)


class Block(NamedTuple):
    """A place of the handler that has held up the event loop, for at least so long."""

    place: str
    seconds: float


class Blocking:
    """Looks, in a thread, where the loop's thread is while the loop is late: a place of the handler that it is at
    in two looks, in the same call of a function, blocks it.
    """

    def __init__(
        self, handler: object, name: str, build: str | None = None, beat_seconds: float = loop_lag.SECONDS
    ) -> None:
        self._handler = handler
        self._name = name
        self._build = build
        self._beat_seconds = beat_seconds
        self._look_seconds = min(_LOOK_SECONDS, beat_seconds)
        self._beat = monotonic()
        self._closed = threading.Event()
        self._seen = 0  # the identity of the frame of the handler's in the last look
        self._block: Block | None = None
        self._is_told = False
        self._told: dict[str, float] = {}
        self.worst: Block | None = None

    def __enter__(self) -> Self:
        """Begin to look. It is entered in the loop's thread."""
        self._loop = threading.get_ident()
        self._beat = monotonic()
        context = copy_context()  # the log has there what it has here
        self._thread = threading.Thread(
            target=context.run, args=(self._watch,), name="blocking", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def beat(self) -> None:
        """Show that the loop goes on."""
        self._beat = monotonic()

    def take_worst(self) -> Block | None:
        """Return the longest block since the last time."""
        worst, self.worst = self.worst, None
        return worst

    def _watch(self) -> None:
        while not self._closed.wait(self._look_seconds):
            self._look(monotonic() - self._beat - self._beat_seconds)
        self._over()

    def _look(self, late: float) -> None:
        if late < LATE_SECONDS:
            self._over()
            return
        frame = sys._current_frames().get(self._loop)  # noqa: SLF001 — there is no other way
        own = own_frame(frame, self._handler)
        if own is None:
            self._seen = 0
            return
        if self._seen == id(own) and (place := place_at(own, self._handler)):
            self._block = Block(place, late)
        self._seen = id(own)
        if self._block and late > _STUCK_SECONDS:
            self._tell(self._block)

    def _over(self) -> None:
        """Tell of the block that is over."""
        block, self._block, self._seen = self._block, None, 0
        if block is None:
            return
        if self.worst is None or block.seconds > self.worst.seconds:
            self.worst = block
        if not self._is_told:
            self._tell(block)
        self._is_told = False

    def _tell(self, block: Block) -> None:
        if self._is_told:
            return
        self._is_told = True
        now = monotonic()
        self._told = {place: at for place, at in self._told.items() if now - at < _AGAIN_SECONDS}
        if block.place in self._told or len(self._told) >= _PLACES:
            return
        self._told[block.place] = now
        _log.warning(
            "handler.blocking", handler=self._name, build=self._build, place=block.place,
            seconds=round(block.seconds, 1), consequence="nothing else of this worker went on meanwhile",
            remedy="await what takes long, or make the handler a plain function: it runs in a thread then",
        )  # fmt: skip
