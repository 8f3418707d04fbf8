"""Simulates workers, queues and commits event by event: how many requests a second, and how long each takes.

It knows what each stage costs (`Costs`), and who shares what (`Plan`): the loop of a worker, the leader of a
queue, the cores, the write that a commit waits for. What comes of that nobody has told it: how large batches
get, what waits, where it ends. `python -m bench sizing` measures the costs, and points to hold it against.
"""

import random
import statistics
from collections import deque
from functools import partial
from typing import NamedTuple

from bench.resources import Clock, Cores, Disk, One, Process, nothing

TICK_SECONDS = 0.002  # the load publishes what is due, again and again, as the bench does
_AT_ONCE = 64  # that a queue sends to a consumer before it looks at others
_GATHER_SECONDS = 0.005  # at most, until a batch begins beside others


class Costs(NamedTuple):
    """What each stage takes: processor time in µs, for a request and for a batch; waits in seconds.

    For a request: measured, docs/performance.md. What a batch costs, and the disk, was not measured then:
    with these the simulation comes nearest to the points of that page.
    """

    worker_us: float = 109
    broker_in_us: float = 65 / 3  # a request comes in
    broker_us: float = 65  # it goes out, its response comes in and goes out
    postgres_us: float = 48
    load_in_us: float = 12.5  # a request is published
    load_us: float = 12.5  # a response is heard
    worker_batch_us: float = 1250
    postgres_batch_us: float = 480
    broker_batch_us: float = 180  # each time that some come in or go out
    load_batch_us: float = 290
    beside: float = (
        0  # of what a batch costs: acknowledgements, notes, and all else that no request waits for
    )
    postgres_commit_seconds: float = 0.0001
    broker_commit_seconds: float = 0.00023
    postgres_disk_us: float = 20  # for a request, of the disk
    broker_disk_us: float = 25


class Plan(NamedTuple):
    """What there is of each. `cores` None: each part has as many as it can use."""

    workers: int = 1
    cores: float | None = 1.9  # of one machine of two, for all parts: the kernel has the rest
    batch_size: int = 128
    batches: int = 3
    prefetch: int = 512
    shards: int = 1  # queues, each with a leader on one core
    brokers: int = 1  # nodes: each keeps a copy of every message
    postgres_cores: float | None = None  # a machine of its own
    gathers: bool = True  # as workers do since docs/decisions/0044


class Open(NamedTuple):
    """A load that always has so many requests unanswered, and publishes so many at once."""

    requests: int
    batch: int = 1


Load = float | Open | None
"""Requests a second; or so many open; or None: a queue that is full from the beginning."""


class Result(NamedTuple):
    per_second: float
    p50: float  # milliseconds
    p99: float
    batch: float  # how many requests in one, in the middle


class Worker:
    """Holds what was delivered, and has so many batches on their way."""

    def __init__(self, clock: Clock, cores: Cores, plan: Plan) -> None:
        self.loop = One(clock, cores)
        self.held: deque[float] = deque()  # when each was published
        self.free = plan.batches
        self.room = plan.prefetch
        self.delivering = False
        self.begun = 0  # batches


class Simulation:
    """Has one run of a plan."""

    def __init__(self, costs: Costs, plan: Plan, seed: int = 1) -> None:
        self._costs = costs
        self._plan = plan
        self._chance = random.Random(seed)  # noqa: S311 — a simulation
        self._clock = Clock()
        shared = Cores(self._clock, plan.cores)
        own = plan.postgres_cores
        self._postgres = shared if own is None else Cores(self._clock, own)
        self._ready: list[deque[float]] = [deque() for _ in range(plan.shards)]
        self._load = One(self._clock, shared)  # who publishes and listens, in one process
        self._requests = [One(self._clock, shared) for _ in range(plan.shards)]
        self._responses = [One(self._clock, shared) for _ in range(plan.shards)]
        self._workers = [Worker(self._clock, shared, plan) for _ in range(plan.workers)]
        device = self._device()
        self._wal = Disk(self._clock, device, costs.postgres_commit_seconds, self._chance)
        other = device if plan.cores and not plan.postgres_cores else self._device()
        self._log = Disk(self._clock, other, costs.broker_commit_seconds, self._chance)
        self._turn = self._next = self._answered = 0
        self._batch_open = 0
        self.took: list[tuple[float, float]] = []  # when each was answered, and after how long
        self.batches: list[int] = []

    def _device(self) -> One:
        return One(self._clock, Cores(self._clock, None))

    def run(self, load: Load, seconds: float) -> Result:
        if load is None:
            for number, worker in enumerate(self._workers):
                self._ready[number % self._plan.shards].extend([0.0] * int(20_000 * seconds))
                self._deliver(worker)
        elif isinstance(load, Open):
            self._batch_open = load.batch
            for _ in range(load.requests // load.batch):
                self._clock.begin(self._published(load.batch))
        else:
            self._clock.begin(self._publishing(load, seconds))
        self._clock.run(seconds)
        later = [took for at, took in self.took if at > seconds / 5]
        if not later:
            return Result(0, 0, 0, 0)
        ordered = sorted(later)
        rate = len(later) / (seconds * 4 / 5)
        p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
        return Result(rate, p50 * 1000, p99 * 1000, statistics.median(self.batches))

    def _publishing(self, per_second: float, seconds: float) -> Process:
        number = 0
        while self._clock.now < seconds:
            yield self._clock.sleep(TICK_SECONDS)
            yield self._load.work(0)  # its loop is busy, too
            count = int(self._clock.now * per_second) - number
            number += count
            if count:
                self._clock.begin(self._published(count))

    def _published(self, count: int) -> Process:
        """Publish some; the broker writes them and delivers them."""
        costs, begun = self._costs, self._clock.now
        yield self._load.work(costs.load_batch_us + count * costs.load_in_us)
        self._turn += 1
        shard = self._turn % self._plan.shards
        yield from self._hop(self._requests[shard], count * costs.broker_in_us, self._copies())
        yield self._log.write(count * costs.broker_disk_us / 2)
        self._ready[shard].extend([begun] * count)
        for _ in self._workers:
            self._next = (self._next + 1) % self._plan.workers
            self._deliver(self._workers[self._next])

    def _hop(self, leader: One, messages_us: float, copies: float = 1) -> Process:
        """Have some messages come in, or go out. What is done beside that follows; nobody waits for it."""
        batch_us = self._costs.broker_batch_us
        yield leader.work(copies * (messages_us + batch_us * (1 - self._costs.beside)))
        leader.work(copies * batch_us * self._costs.beside)(nothing)

    def _copies(self) -> float:
        """Each further node writes what comes in; that is about half of the leader's work."""
        return 1 + (self._plan.brokers - 1) / 2

    def _deliver(self, worker: Worker) -> None:
        shard = self._workers.index(worker) % self._plan.shards
        if not worker.delivering and worker.room and self._ready[shard]:
            worker.delivering = True
            self._clock.begin(self._delivering(worker, shard))

    def _delivering(self, worker: Worker, shard: int) -> Process:
        """Send a worker what lies ready, as far as its prefetch goes."""
        while worker.room and (ready := self._ready[shard]):
            count = min(len(ready), worker.room, _AT_ONCE)
            worker.room -= count
            going = [ready.popleft() for _ in range(count)]
            yield from self._hop(self._requests[shard], count * self._costs.broker_us / 3)
            worker.held.extend(going)
            self._feed(worker)
        worker.delivering = False

    def _feed(self, worker: Worker) -> None:
        while worker.free and worker.held:
            if len(worker.held) < self._enough(worker):
                self._clock.at(
                    self._clock.now + _GATHER_SECONDS, partial(self._gathered, worker, worker.begun)
                )
                return
            self._begin(worker)

    def _enough(self, worker: Worker) -> int:
        """Return how many are worth a batch: beside another a quarter of a full one, else a full one."""
        in_hand = self._plan.batches - worker.free
        if not in_hand or not self._plan.gathers:
            return 1
        return self._plan.batch_size if in_hand > 1 else self._plan.batch_size // 4

    def _gathered(self, worker: Worker, begun: int) -> None:
        if worker.begun == begun and worker.free and worker.held:
            self._begin(worker)

    def _begin(self, worker: Worker) -> None:
        worker.begun += 1
        worker.free -= 1
        most = min(len(worker.held), self._plan.batch_size)
        self.batches.append(most)
        self._clock.begin(self._batch(worker, [worker.held.popleft() for _ in range(most)]))

    def _batch(self, worker: Worker, requests: list[float]) -> Process:
        """Go the way of a batch: read, accepted, created, finished, answered, settled."""
        costs, count = self._costs, len(requests)
        batch = 1 - costs.beside
        loop = worker.loop.work((costs.worker_batch_us * batch + count * costs.worker_us) / 3)
        statement = self._postgres.work((costs.postgres_batch_us * batch + count * costs.postgres_us) / 2)
        for _ in ("accept", "finish"):
            yield loop
            yield statement
            yield self._wal.write(count * costs.postgres_disk_us / 2)
        yield loop
        self._turn += 1
        shard = self._turn % self._plan.shards
        yield from self._hop(self._responses[shard], count * costs.broker_us / 3, self._copies())
        yield self._log.write(count * costs.broker_disk_us / 2)
        self._clock.begin(self._heard(requests, shard))
        self._log.write(0)(nothing)  # that they are acknowledged
        worker.loop.work(costs.worker_batch_us * costs.beside)(nothing)
        self._postgres.work(costs.postgres_batch_us * costs.beside)(nothing)
        worker.free += 1
        worker.room += count
        self._feed(worker)
        self._deliver(worker)

    def _heard(self, requests: list[float], shard: int) -> Process:
        costs, count = self._costs, len(requests)
        yield from self._hop(self._responses[shard], count * costs.broker_us / 3)
        self._log.write(0)(nothing)
        yield self._load.work(costs.load_batch_us + count * costs.load_us)
        self.took += [(self._clock.now, self._clock.now - begun) for begun in requests]
        self._answered += count
        while self._batch_open and self._answered >= self._batch_open:
            self._answered -= self._batch_open
            self._clock.begin(self._published(self._batch_open))


def simulate(costs: Costs, plan: Plan, load: Load, seconds: float = 5.0) -> Result:
    """Run a plan with this load."""
    return Simulation(costs, plan).run(load, seconds)
