"""An event loop without a clock and without input: the time jumps to the next timer, and chance chooses.

What is ready runs in an order that is drawn, each thing in the name of its actor: a worker, or nobody for the
servers. A worker that dies runs nothing more, at whatever `await` it is; a frozen one goes on later.
"""

import asyncio
import heapq
import random
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
SERVERS = 0
"""The actor whose callbacks are those of RabbitMQ, Postgres, the producers and the judge."""
ACTOR: ContextVar[int] = ContextVar("actor", default=SERVERS)
_FIRST_MOMENT = 1000.0


class TooLong(Exception):
    """More has happened than a run has to need: something goes round in circles."""


class _Future(asyncio.Future[Any]):
    """Has a number: what is kept in a set comes out of it in the same order each time."""

    __slots__ = ("number",)

    def __init__(self, *, loop: "SimulatedLoop") -> None:
        super().__init__(loop=loop)
        self.number = loop.next_number()

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[Any]):
    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: "SimulatedLoop", **how: Any) -> None:
        self.number = loop.next_number()  # before it is kept in a set
        super().__init__(coro, loop=loop, **how)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs the callbacks that are ready in a drawn order, or, if that is asked for, as they came."""

    _ready: list[asyncio.Handle]

    def __init__(self, chance: random.Random, *, in_order: bool, most_steps: int) -> None:
        super().__init__()
        self._ready = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._contexts: dict[int, Context] = {}
        self._now = _FIRST_MOMENT
        self._chance = chance
        self._in_order = in_order
        self._number = 0
        self._kept: list[asyncio.Task[Any]] = []  # what is left of a dead worker must not end in the middle
        self._dead: set[int] = set()
        self._frozen: dict[int, list[asyncio.Handle]] = {}
        self.steps = 0
        self._most_steps = most_steps
        self.set_task_factory(self._make_task)  # type: ignore[arg-type] # the stubs want a wider one

    def time(self) -> float:
        return self._now

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    @staticmethod
    def _make_task(loop: "SimulatedLoop", coro: Coroutine[Any, Any, T], **how: Any) -> asyncio.Task[T]:
        task = _Task(coro, loop=loop, **how)
        if len(loop._kept) > 5000:
            loop._kept = [one for one in loop._kept if not one.done()]
        loop._kept.append(task)
        return task

    def call_at(  # type: ignore[override] # the stubs tie the arguments' types together
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Keep a timer. Two of the same moment come in the order in which they were set."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self.next_number(), timer))
        return timer

    def context_of(self, actor: int) -> Context:
        """Return the context in which an actor's callbacks run."""
        if actor not in self._contexts:
            self._contexts[actor] = copy_context()
            self._contexts[actor].run(ACTOR.set, actor)
        return self._contexts[actor]

    def later(self, seconds: float, call: Callable[[], object], actor: int = SERVERS) -> None:
        """Call something in the name of an actor."""
        self.call_later(seconds, call, context=self.context_of(actor))

    def kill(self, actor: int) -> None:
        """Let an actor run nothing more. Nothing of it is cleaned up: that is how a process dies."""
        self._dead.add(actor)
        self._frozen.pop(actor, None)

    def freeze(self, actor: int, seconds: float) -> None:
        if actor not in self._dead and actor not in self._frozen:
            self._frozen[actor] = []
            self.later(seconds, lambda: self._thaw(actor))

    def is_frozen(self, actor: int) -> bool:
        return actor in self._frozen

    @property
    def has_frozen(self) -> bool:
        return bool(self._frozen)

    def _thaw(self, actor: int) -> None:
        self._ready += self._frozen.pop(actor, [])

    def _run_once(self) -> None:  # noqa: C901 — the innermost loop of all: calls would cost a third of its time
        timers, ready = self._timers, self._ready
        if not ready:
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise RuntimeError("nothing is left that could happen")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                ready.append(timer)
        self._ready = []
        if len(ready) > 1 and not self._in_order:
            self._chance.shuffle(ready)
        for handle in ready:
            if handle.cancelled():
                continue
            actor = handle._context.get(ACTOR, SERVERS)  # type: ignore[attr-defined] # nothing else tells whose it is
            if actor in self._dead:
                continue
            if actor in self._frozen:
                self._frozen[actor].append(handle)
                continue
            handle._run()
        self.steps += len(ready)
        if self.steps > self._most_steps:
            raise TooLong(f"{self.steps} steps until {self._now - _FIRST_MOMENT:.1f} s")

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Leave a cancelled timer where it is: it is passed over when its time comes."""

    def _process_events(self, event_list: object) -> None:
        """There is no input."""

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until this has ended, and leave the rest as it is."""
        task = self.create_task(main)
        task.add_done_callback(lambda _: self.stop())
        previous = events._get_running_loop()
        assert previous is None
        self.run_forever()
        return task.result()

    def discard(self) -> None:
        """End what was left, so that nothing of it ends in the middle of another run."""
        self.set_exception_handler(lambda *_: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what they would still have awaited
            for task in self._kept:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined] # it is meant to be left
                    with suppress(BaseException):
                        task.get_coro().close()
        self.close()
