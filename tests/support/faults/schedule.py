"""Says which fault comes when: kinds in a random order, several at a time if they break other parts."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from support.faults.stage import Fault, Kind, Stage

_TRIES = 3
_LONGEST = 200  # of what is told of an error
_FLOWING = 100  # responses before the next fault, unless they do not come within the rest
_REST_SECONDS = 10
_UNHEARD_SECONDS = 60


class Schedule:
    """Causes faults while requests are on their way. The seed gives their order, and what each one is like.

    One that could not be proven does not count, and comes again.
    """

    def __init__(
        self,
        stage: Stage,
        kinds: Mapping[str, Kind],
        seed: int,
        faults: int,
        *,
        at_once: int,
        say: Callable[[str], None],
    ) -> None:
        self.done: list[Fault] = []
        self.not_proven: list[str] = []
        self._stage = stage
        self._kinds = kinds
        self._seed = seed
        self._at_once = at_once
        self._say = say
        self._begun = time.monotonic()
        dice = random.Random(seed)  # noqa: S311 — a schedule, no secret
        order: list[str] = []
        while len(order) < faults:
            order += dice.sample(list(kinds), len(kinds))
        self._ahead = list(enumerate(order[:faults]))
        self._tried: dict[int, int] = {}
        self._breaking: set[str] = set()
        self._turn = asyncio.Condition()

    @property
    def left(self) -> int:
        return len(self._ahead)

    @property
    def seconds_left(self) -> float:
        """Says how long the rest will take, as the faults so far."""
        each = (time.monotonic() - self._begun) / len(self.done) if self.done else 6.0 / self._at_once
        return each * (self.left + 1)

    async def run(self, sending: "asyncio.Task[None]") -> None:
        """Returns when all were caused, or all requests were sent."""
        await asyncio.gather(*(self._cause_one_after_the_other(sending) for _ in range(self._at_once)))
        if self.left:
            self._say("every request was sent before the last fault: send more requests")

    async def _cause_one_after_the_other(self, sending: "asyncio.Task[None]") -> None:
        while True:
            async with self._turn:
                await self._turn.wait_for(lambda: not self._ahead or self._next() is not None)
                if (place := self._next()) is None or sending.done():
                    return
                number, name = self._ahead.pop(place)
                parts = self._kinds[name].parts
                self._breaking |= parts
            try:
                await self._cause(number, name, sending)
            finally:
                async with self._turn:
                    self._breaking -= parts
                    self._turn.notify_all()

    def _next(self) -> int | None:
        """Returns the place of the first one of which no part is broken."""
        for place, (_, name) in enumerate(self._ahead):
            if not self._kinds[name].parts & self._breaking:
                return place
        return None

    async def _cause(self, number: int, name: str, sending: "asyncio.Task[None]") -> None:
        stage, tried = self._stage, self._tried.get(number, 0)
        dice = random.Random(f"{self._seed}/{number}/{tried}")  # noqa: S311 — as above
        await asyncio.sleep(dice.uniform(0.3, 2.0))
        some_more = len(stage.books.received) + _FLOWING
        with suppress(AssertionError):  # then this one comes on top of another one
            await stage.books.until(
                lambda: len(stage.books.received) >= some_more or sending.done(),
                _REST_SECONDS,
                "flowing again",
            )
        with suppress(AssertionError):
            await stage.books.until(
                lambda: stage.books.open > 0 or sending.done(), _UNHEARD_SECONDS, "work in flight"
            )
        if not (in_flight := stage.books.open):
            self._ahead.append((number, name))  # all that was sent is answered: it would break nothing
            return
        try:
            proof = await self._kinds[name].do(stage, dice)
        except Exception as error:  # noqa: BLE001 — told, and tried again: an hour's run is not lost to it
            why = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
            self.not_proven.append(f"{name}: {why}")
            self._say(f"{time.monotonic() - self._begun:6.1f} s  {name}: NOT PROVEN, {why}")
            self._tried[number] = tried + 1
            if tried + 1 < _TRIES:
                self._ahead.append((number, name))
            return
        fault = Fault(time.monotonic() - self._begun, name, proof, in_flight)
        self.done.append(fault)
        self._say(f"{fault.at_seconds:6.1f} s  {name}: {proof}; {in_flight} in flight")


async def keep_pace(stage: Stage, schedule: Schedule, requests: int) -> None:
    """Spreads the requests that are left over the faults to come, for ever."""
    with suppress(asyncio.CancelledError):
        while schedule.left:
            left = requests - len(stage.books.confirmed)
            stage.producers.per_second = max(50.0, left / max(1.0, schedule.seconds_left))
            await asyncio.sleep(1)
        stage.producers.per_second = None
