"""Makes deterministic what the worker's modules take from outside: the time, chance and new ids.

It replaces the names that they have imported, and puts them back: nothing in `worker/` knows of it.
"""

import asyncio
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import aiormq.abc
from simulation.loop import ACTOR

EPOCH = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
_EPOCH_SECONDS = EPOCH.timestamp()
_OURS = ("worker", "schemas")


class Clock:
    """The clocks of one run: one for Postgres, and one for each worker, which may go wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        self._loop = loop
        self._begun = loop.time()
        self.chance = chance
        self.skew: dict[int, float] = {}

    def seconds(self) -> float:
        """Return the seconds since the run began."""
        return self._loop.time() - self._begun

    def now(self) -> datetime:
        """Return the time by the clock of Postgres."""
        return EPOCH + timedelta(seconds=self.seconds())

    def workers_seconds(self) -> float:
        return self.seconds() + self.skew.get(ACTOR.get(), 0.0)

    def new_id(self) -> UUID:
        return UUID(int=self.chance.getrandbits(128), version=4)


class _Now:
    """The clock of the run that is on."""

    clock: Clock


def _time() -> float:
    return _EPOCH_SECONDS + _Now.clock.workers_seconds()


def _monotonic() -> float:
    return _Now.clock.seconds()


def _uuid4() -> UUID:
    return _Now.clock.new_id()


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override] # a plain one
        return (EPOCH + timedelta(seconds=_Now.clock.workers_seconds())).astimezone(tz or UTC)


def _uniform(low: float, high: float) -> float:
    return _Now.clock.chance.uniform(low, high)


def _random() -> float:
    return _Now.clock.chance.random()


def _as_module(module: ModuleType, **instead: Any) -> Any:
    return SimpleNamespace(**{**vars(module), **instead})


def _replacements() -> list[tuple[object, object]]:
    times: dict[str, Callable[[], float]] = {
        "time": _time, "monotonic": _monotonic, "perf_counter": _monotonic,
    }  # fmt: skip
    return [
        (time, _as_module(time, **times)),
        *((getattr(time, name), instead) for name, instead in times.items()),
        (random, _as_module(random, uniform=_uniform, random=_random)),
        (uuid.uuid4, _uuid4),
        (datetime, _Datetime),
    ]


def _number_of(wrapper: aiormq.abc.TaskWrapper) -> int:
    return hash(wrapper.task)


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Go through the methods of the classes that a module defines."""
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield from (one for one in vars(value).values() if isinstance(one, FunctionType))


@contextmanager
def simulated_time() -> Iterator[None]:
    """Replace, in all modules of the worker that are loaded, what they take from outside, also where it is
    the default of a parameter.
    """
    pairs = _replacements()

    def instead_of(value: object) -> object:
        return next((instead for usual, instead in pairs if value is usual), value)

    put_back: list[tuple[object, str, object]] = []

    def replace(owner: object, name: str, value: object, instead: object) -> None:
        put_back.append((owner, name, value))
        setattr(owner, name, instead)

    for module in [one for name, one in sys.modules.items() if name.partition(".")[0] in _OURS]:
        for name, value in list(vars(module).items()):
            if instead_of(value) is not value:
                replace(module, name, value, instead_of(value))
        for function in _functions_of(module):
            defaults = tuple(map(instead_of, function.__defaults__ or ()))
            if defaults != (function.__defaults__ or ()):
                replace(function, "__defaults__", function.__defaults__, defaults)
    usual_hash = aiormq.abc.TaskWrapper.__hash__
    aiormq.abc.TaskWrapper.__hash__ = _number_of  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        aiormq.abc.TaskWrapper.__hash__ = usual_hash  # type: ignore[method-assign]
        for owner, name, value in put_back:
            setattr(owner, name, value)


def begin(clock: Clock) -> None:
    """Let the worker's modules go by this clock from now on."""
    _Now.clock = clock
