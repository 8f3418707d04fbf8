"""Runs one seed: workers, their servers, what is sent and what breaks; then it is judged."""

import asyncio
import gc
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID

import structlog
from simulation import clock, worker
from simulation.breaking import ANSWER_LOST, BREAK
from simulation.broker import Broker, Message
from simulation.clock import Clock
from simulation.database import Postgres
from simulation.loop import SimulatedLoop, TooLong
from simulation.plan import FULL, OWN, PREFIX, Fault, Plan, Sent, plan_of
from simulation.promises import broken_promises, settled
from simulation.tables import Tables
from simulation.wire import Network

from schemas import CreateSessionRequest
from worker.errors import LeaseLost, NotStorable
from worker.handlers import Context, Handler, Rejected, RetryLater
from worker.settings import Settings

_MOST_STEPS = 400_000
_SETTLED_WITHIN = 200.0  # seconds after the last fault
_STOPPED_WITHIN = 30.0
_EXPECTED = (LeaseLost, NotStorable)  # in the log: what is in hand comes again, or is refused
RESPONSES, DEAD = f"{PREFIX}.responses", f"{PREFIX}.dead"


class Run:
    """All that there is in one run."""

    def __init__(self, plan: Plan, *, level: int = logging.WARNING) -> None:
        self.plan = plan
        self.level = level
        chances = [random.Random(plan.seed * 8 + number) for number in range(5)]  # noqa: S311 — as above
        self.loop = SimulatedLoop(chances[0], in_order=plan.in_order, most_steps=_MOST_STEPS)
        self.clock = Clock(self.loop, chances[1])
        self.tables = Tables(self.clock.now, chances[2])
        self.postgres: Postgres = Postgres(self.loop, chances[2], self.tables)
        self.broker = Broker(chances[3])
        self.network: Network = Network(self.loop, chances[3], self.broker)
        self.chance = chances[4]
        self.received: list[tuple[float, str, Message]] = []
        self.problems: list[str] = []
        self.happened: Counter[str] = Counter()
        self.trace: list[tuple[float, str]] = []
        self.calls: Counter[UUID] = Counter()
        self.workers: dict[int, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._actors = self.to_come = 0
        self.pauses: Counter[str] = Counter()
        self._moments = 0
        self._is_calm = False
        self.postgres.on_commit = self.network.on_message = self._moment
        self.broker.on_wrong = self.problems.append
        self.loop.set_exception_handler(self._unhandled)
        self._declare()

    def tell(self, what: str) -> None:
        self.trace.append((round(self.clock.seconds(), 6), what))

    # The servers and the producers.

    def _declare(self) -> None:
        requests = f"{PREFIX}.requests"
        self.broker.declare(requests, (requests, "create"))
        self.broker.declare(f"{PREFIX}.cancels", (requests, "cancel"))
        self.broker.declare(f"{PREFIX}.undelivered")
        self._subscribe(DEAD, (DEAD, ""))
        self._subscribe(RESPONSES, (RESPONSES, "completed"), (RESPONSES, "failed"))
        self._subscribe(OWN)
        self._subscribe(FULL)
        self.broker.queues[FULL].room = 0

    def _subscribe(self, name: str, *bindings: tuple[str, str]) -> None:
        def receive(message: Message) -> None:
            self.received.append((self.clock.seconds(), name, message))
            self.tell(f"{name} got {message.properties.message_id}")

        self.broker.declare(name, *bindings).subscriber = receive

    def _send(self, sent: Sent) -> None:
        taken = self.broker.put(sent.message)
        assert taken
        self.happened["messages"] += 1
        self.tell(f"sent {sent.kind} {sent.request_id}")

    # The workers.

    def begin_worker(self) -> None:
        self._actors += 1
        actor, stop = self._actors, asyncio.Event()
        self.clock.skew[actor] = self.plan.skews[actor % len(self.plan.skews)]
        me = self.clock.new_id()
        running = worker.run(me, self._settings, self._handler, self.postgres, self.network, stop)
        task = self.loop.create_task(running, context=self.loop.context_of(actor))
        self.workers[actor] = task, stop
        self.tell(f"worker {actor} begins")

        def ended(task: asyncio.Task[None]) -> None:
            self.workers.pop(actor, None)
            self.tell(f"worker {actor} ended")
            if not task.cancelled() and (error := task.exception()):
                self.problems.append(f"worker {actor} ended with {error!r}")

        task.add_done_callback(ended, context=self.loop.context_of(0))

    def begin_worker_in(self, seconds: float) -> None:
        self.to_come += 1

        def begin() -> None:
            self.to_come -= 1
            self.begin_worker()

        self.loop.later(seconds, begin)

    @property
    def _settings(self) -> Settings:
        return _settings(self.plan)

    @property
    def _handler(self) -> Handler | None:
        return self._handle if self.plan.handler else None

    async def _handle(self, request: CreateSessionRequest, _context: Context) -> None:
        name = request.payload.name
        self.calls[request.request_id] += 1
        calls = self.calls[request.request_id]
        if name == "hang" and calls == 1:
            await asyncio.sleep(5)
        await asyncio.sleep(self.chance.choice([0.0, 0.001, 0.05, self.chance.uniform(0, 0.8)]))
        if name == "reject":
            raise Rejected("not today")
        if name == "later" and calls <= 2:
            raise RetryLater(timedelta(seconds=self.chance.uniform(0, 1)), reason="later")
        if name == "error" and calls <= 1:
            raise ValueError("an error of the handler's")

    def kill(self, actor: int) -> None:
        self.tell(f"worker {actor} dies")
        self.loop.kill(actor)
        self.network.lose(actor)
        del self.workers[actor]

    def _one_of_them(self, which: int) -> int | None:
        actors = list(self.workers)
        return actors[which % len(actors)] if actors else None

    # What breaks.

    def _moment(self, actor: int) -> bool:
        """Let break what was to break at this moment. Returns whether the answer of a statement is lost."""
        self._moments += 1
        due = [fault for fault in self.plan.faults if fault.moment == self._moments and not self._is_calm]
        for fault in due:
            self.loop.later(fault.delay, partial(self._break, fault, actor))
        return any(fault.kind == ANSWER_LOST for fault in due)

    def _break(self, fault: Fault, actor: int | None = None) -> None:
        if actor is None:
            actor = self._one_of_them(fault.which)
        if actor is None or actor not in self.workers:
            return
        self.happened[fault.kind] += 1
        self.tell(f"{fault.kind} for {fault.seconds:.2f} s")
        BREAK[fault.kind](self, fault, actor)

    # One run.

    async def _all(self) -> None:
        for _ in range(self.plan.workers):
            self.begin_worker()
        for sent in self.plan.sent:
            self.loop.later(sent.at, partial(self._send, sent))
        for fault in self.plan.faults:
            if not fault.moment:
                self.loop.later(fault.at, partial(self._break, fault))
        await asyncio.sleep(self.plan.ends + 0.001)
        self.broker.queues[FULL].room = None
        self._is_calm = True
        self.tell("nothing breaks any more")
        until = self.clock.seconds() + _SETTLED_WITHIN
        while self.clock.seconds() < until and (self.to_come or self.loop.has_frozen or not settled(self)):  # noqa: ASYNC110 — it costs no time here
            await asyncio.sleep(0.5)
        for _, stop in self.workers.values():
            stop.set()
        until = self.clock.seconds() + _STOPPED_WITHIN
        while self.workers and self.clock.seconds() < until:  # noqa: ASYNC110 — as above
            await asyncio.sleep(0.2)
        if self.workers:
            self.problems.append("a worker does not stop")

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        if error := context.get("exception"):
            self.problems.append(f"{context['message']}: {error!r}")

    def run(self) -> None:
        clock.begin(self.clock)
        with self._listening():
            try:
                self.loop.run(self._all())
            except TooLong as error:
                self.problems.append(f"it goes round in circles: {error}")
            self.problems += broken_promises(self)
            self.happened["responses"] += len(self.received)
            self.happened["steps"] += self.loop.steps
            problems, trace = list(self.problems), list(self.trace)
            self.loop.discard()
            self.problems, self.trace = problems, trace  # what the dead say at their burial does not count

    @contextmanager
    def _listening(self) -> Iterator[None]:
        def listen(_logger: object, method: str, event: structlog.typing.EventDict) -> str:
            error = sys.exc_info()[1]
            self.tell(
                f"log {method} {event['event']} {error!r}" if error else f"log {method} {event['event']}"
            )
            if method in ("error", "exception") and error and not isinstance(error, _EXPECTED):
                self.problems.append(f"{event['event']}: {error!r}")
            raise structlog.DropEvent

        usual = structlog.get_config()
        structlog.configure(
            processors=[listen], wrapper_class=structlog.make_filtering_bound_logger(self.level),
            logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False,
        )  # fmt: skip
        try:
            yield
        finally:
            structlog.configure(**usual)


@cache
def _usual_settings() -> Settings:
    return Settings(
        amqp_url="amqp://worker@simulated/",
        database_url="postgresql://worker@simulated/x",
        prefix=PREFIX,
    )


def _settings(plan: Plan) -> Settings:
    handler = "simulation.run:Run" if plan.handler else ""
    return _usual_settings().model_copy(update={**dict(plan.settings), "handler": handler})


@contextmanager
def simulated() -> Iterator[None]:
    """Put in place what all runs need."""
    with clock.simulated_time(), worker.simulated_services():
        usual = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # the client library tells of each lost connection
        gc.collect()
        gc.disable()  # what it would end, and when, is not the seed's to say
        gc.freeze()  # `run_some` collects between seeds: what was there before need not be looked at
        try:
            yield
        finally:
            logging.disable(usual)
            gc.unfreeze()
            gc.enable()


def run_seed(seed: int, *, level: int = logging.WARNING) -> Run:
    """Run one seed, inside `simulated`."""
    made = Run(plan_of(seed), level=level)
    made.run()
    return made
