"""Has what a simulation's processes wait for: time, cores, one that does one thing at a time, a disk."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Generator

_US = 1e-6
Wait = Callable[[Callable[[], None]], None]
Process = Generator[Wait, None, None]


class Clock:
    """Runs what is due, in order. Time passes only here."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (seconds, self._number, act))

    def sleep(self, seconds: float) -> Wait:
        return lambda resume: self.at(self.now + seconds, resume)

    def begin(self, process: Process) -> None:
        def resume() -> None:
            for wait in process:
                wait(resume)
                return

        resume()

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()


class Cores:
    """Shares some cores out equally: each job gets at most one."""

    def __init__(self, clock: Clock, cores: float | None) -> None:
        self._clock = clock
        self._cores = cores
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []  # by the share at which each is done
        self._share = self._since = 0.0
        self._number = self._version = 0
        self.used = 0.0

    def work(self, microseconds: float) -> Wait:
        def begin(resume: Callable[[], None]) -> None:
            self._pass_time()
            self._number += 1
            self.used += microseconds * _US
            heapq.heappush(self._jobs, (self._share + microseconds * _US, self._number, resume))
            self._look_again()

        return begin

    def _rate(self) -> float:
        return 1.0 if self._cores is None else min(1.0, self._cores / max(1, len(self._jobs)))

    def _pass_time(self) -> None:
        self._share += (self._clock.now - self._since) * self._rate()
        self._since = self._clock.now

    def _look_again(self) -> None:
        self._version += 1
        if not self._jobs:
            return
        version, left = self._version, max(0.0, self._jobs[0][0] - self._share)

        def done() -> None:
            if version != self._version:
                return  # somebody has come since
            self._pass_time()
            _, _, resume = heapq.heappop(self._jobs)
            self._look_again()
            resume()

        self._clock.at(self._clock.now + left / self._rate(), done)


class One:
    """Does one thing at a time: the loop of a worker, the leader of a queue."""

    def __init__(self, clock: Clock, cores: Cores) -> None:
        self._clock = clock
        self._cores = cores
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._busy = False

    def work(self, microseconds: float) -> Wait:
        def begin(resume: Callable[[], None]) -> None:
            self._waiting.append((microseconds, resume))
            self._next()

        return begin

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        microseconds, resume = self._waiting.popleft()

        def done() -> None:
            self._busy = False
            resume()
            self._next()

        self._cores.work(microseconds)(done)


class Disk:
    """Keeps a log on a device: writes what waits in one go, and then what has come meanwhile, as commits
    share a write. Logs on one device wait for each other.
    """

    def __init__(self, clock: Clock, device: One, seconds: float, chance: random.Random) -> None:
        self._clock = clock
        self._device = device
        self._microseconds = seconds / _US
        self._chance = chance
        self._waiting: list[Callable[[], None]] = []
        self._more = 0.0
        self._busy = False

    def write(self, microseconds: float) -> Wait:
        """Wait until this is on the disk, which takes so long beside what each write takes."""

        def begin(resume: Callable[[], None]) -> None:
            self._waiting.append(resume)
            self._more += microseconds
            if not self._busy:
                self._next()

        return begin

    def _next(self) -> None:
        going, self._waiting = self._waiting, []
        more, self._more = self._more, 0.0
        self._busy = bool(going)
        if not going:
            return

        def done() -> None:
            self._next()
            for resume in going:
                resume()

        # With a p99 of 1.9 times the p50.
        self._device.work(self._microseconds * self._chance.gammavariate(9, 1 / 9) + more)(done)


def nothing() -> None:
    """Is for what nobody waits for."""
