"""One script of what workers do with their tables, for the stand-in and for the real Postgres.

Time does not pass by itself: the script says when, and then so much of it that it does not matter how quick a
machine is. What a statement returns is compared, and afterwards all rows.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from simulation.clock import EPOCH
from simulation.sides import WORKERS, Real, Side, StandIn
from simulation.table_rows import ALL

from schemas import FailureCode
from worker.errors import LeaseLost, NotStorable
from worker.postgres.rows import Claim
from worker.postgres.waiting_answers import Undelivered
from worker.values import (
    Answer,
    Arrival,
    Completed,
    Failed,
    Failure,
    NewSession,
    PutOff,
    Receipt,
    Route,
    Waiting,
    Work,
)

A_WHILE, LONG = 0.5, 10_000.0
"""Steps of time: in the first one nothing comes to its end; in the second all does."""
LATER = 5_000.0
_MOST = 1000
K = TypeVar("K")
_NUMBERS = range(1, 9)


class Script:
    """Draws one step after the other, by what the stand-in has, and takes each on both sides."""

    def __init__(self, seed: int, stand_in: StandIn, real: Real) -> None:
        self._chance = random.Random(seed)  # noqa: S311 — as above
        self._stand_in = stand_in
        self._sides: list[Side] = [stand_in, real]
        self.steps: list[str] = []

    async def take_step(self) -> None:
        draw = self._chance.choice(_STEPS)
        name, step = draw(self)
        self.steps.append(name)
        found = [await self._taken(step, side) for side in self._sides]
        assert found[0] == found[1], f"{name}: the stand-in returns {found[0]}, Postgres {found[1]}"
        there, real = [await side.state() for side in self._sides]
        differences = [*_differences(there.requests, real.requests), *_differences(there.leases, real.leases)]
        assert not differences, f"after {self.steps[-8:]}: {differences}"

    async def _taken(self, step: "Taken", side: Side) -> object:
        try:
            return comparable(await step(side))
        except (LeaseLost, NotStorable) as error:
            return str(error)

    # What is drawn.

    def _number(self) -> int:
        return self._chance.choice(_NUMBERS)

    def _some(self) -> list[int]:
        return sorted(self._chance.sample(_NUMBERS, self._chance.randint(1, 3)))

    def _lease(self, worker: int) -> int:
        """Draw a lease: one that is on record, or a new one."""
        known = sorted(self._stand_in.tables.leases)
        if known and self._chance.random() < 0.7:
            return self._chance.choice(known)
        leases = [side.workers[worker].leases.new() for side in self._sides]
        assert leases[0] == leases[1]
        return leases[0]

    def _works(self) -> list[Work]:
        """Draw attempts: mostly the current ones."""
        rows = self._stand_in.tables.requests
        found = []
        for number in self._some():
            if row := rows.get(UUID(int=number)):
                attempt = row.attempt if self._chance.random() < 0.8 else self._chance.randint(0, 3)
                found.append(
                    Work(row.request_id, attempt, row.session_id, Route(None, None, None), row.org_id)
                )
        return found

    def _verdict(self, work: Work) -> Completed | Failed:
        if self._chance.random() < 0.3:
            return Failed(work, FailureCode.REJECTED, "{}")
        session = NewSession(
            work.session_id, work.request_id, "org", None, None, "active", None, None, None, 60.0, EPOCH, "{}"
        )
        return Completed(work, session, "{}")

    def _why(self) -> Failure | None:
        kind = self._chance.choice(["raised", "timeout", "retry_later", "worker_lost", None])
        return Failure(kind, "a test") if kind else None

    def accept(self) -> "Step":
        worker, numbers, queue = self._chance.randrange(WORKERS), self._some(), self._queue()
        lease = self._lease(worker)
        deadline = self._chance.random() < 0.2

        async def step(side: Side) -> object:
            arrivals = [_arrival(number, queue, side.now() if deadline else None) for number in numbers]
            return await side.workers[worker].store.accept(arrivals, lease)

        return f"accept {numbers} under {lease}", step

    def _queue(self) -> str | None:
        return self._chance.choice([None, "one", "two"])

    def wait(self) -> "Step":
        worker, numbers, queue = self._chance.randrange(WORKERS), self._some(), self._queue()
        later, deadline = self._chance.random() < 0.4, self._chance.random() < 0.3

        async def step(side: Side) -> object:
            waiting = []
            for number in numbers:
                one = _arrival(number, queue, side.now() if deadline else None)
                if later:
                    one = one._replace(not_before=side.now() + timedelta(seconds=LATER))
                waiting.append(Waiting(one, "over_share"))
            return await side.workers[worker].waiting.put(waiting)

        return f"wait {numbers}", step

    def finish(self) -> "Step":
        worker, verdicts = self._chance.randrange(WORKERS), [self._verdict(work) for work in self._works()]

        async def step(side: Side) -> object:
            return await side.workers[worker].store.finish(verdicts)

        return f"finish {[(one.work.request_id.int, one.work.attempt) for one in verdicts]}", step

    def put_off(self) -> "Step":
        worker, delay = self._chance.randrange(WORKERS), self._chance.choice([0.0, LATER])
        verdicts = [PutOff(work, delay, "later", self._why()) for work in self._works()]

        async def step(side: Side) -> object:
            return await side.workers[worker].line.retry_later(verdicts)

        return (
            f"put off {[(one.work.request_id.int, one.work.attempt) for one in verdicts]} for {delay}",
            step,
        )

    def note_attempts(self) -> "Step":
        worker = self._chance.randrange(WORKERS)
        works = [(work, self._why()) for work in self._works()]
        verdicts = [Failed(work, FailureCode.REJECTED, "{}", why) for work, why in works if why]

        async def step(side: Side) -> object:
            await side.workers[worker].line.note_attempts(verdicts)
            return None

        return "note attempts", step

    def note(self) -> "Step":
        worker, numbers = self._chance.randrange(WORKERS), self._some()
        known = sorted(self._stand_in.tables.leases)
        lease = self._chance.choice(known) if known and self._chance.random() < 0.5 else None

        async def step(side: Side) -> object:
            leases = side.workers[worker].leases
            leases.note_published([UUID(int=number) for number in numbers], lease)
            if lease is not None:
                leases.done(lease)
            await leases.flush_notes()
            return None

        return f"note {numbers}, {lease} is done", step

    def take_due(self) -> "Step":
        worker, late_ones = self._chance.randrange(WORKERS), self._chance.random() < 0.2
        lease = self._lease(worker)

        async def step(side: Side) -> object:
            return await side.workers[worker].line.take(lease, _MOST, late_ones=late_ones)

        return f"take due {'and late' if late_ones else ''} under {lease}", step

    def claim_waiting(self) -> "Step":
        worker = self._chance.randrange(WORKERS)
        lease = self._lease(worker)

        async def step(side: Side) -> object:
            return await side.workers[worker].waiting.take(lease, _MOST)

        return f"claim waiting under {lease}", step

    def look(self) -> "Step":
        worker, numbers = self._chance.randrange(WORKERS), self._some()

        async def step(side: Side) -> object:
            ids, mine = [UUID(int=number) for number in numbers], side.workers[worker]
            return [
                await mine.store.known(ids),
                await mine.store.to_cancel(ids),
                _sign(await mine.line.next_in()),
                (await mine.line.due_now(100))[0],
            ]

        return f"look at {numbers}", step

    def held(self) -> "Step":
        worker = self._chance.randrange(WORKERS)
        lease = self._lease(worker)

        async def step(side: Side) -> object:
            return await side.workers[worker].leases.held(lease)

        return f"held by {lease}", step

    def take_over(self) -> "Step":
        worker, silent = self._chance.randrange(WORKERS), self._chance.random() < 0.7

        async def step(side: Side) -> object:
            leases = side.workers[worker].leases
            if silent:
                await leases.heartbeat("host", worker, "1")
            leases._busy_with.clear()
            return await leases.take_over(_MOST, from_silent_holders=silent)

        return f"take over by {worker}", step

    def claim_again(self) -> "Step":
        worker, works = self._chance.randrange(WORKERS), self._works()
        lost, lease = self._chance.random() < 0.5, self._lease(worker)
        claims = [Claim(work.request_id, work.attempt, UUID(int=1), lost) for work in works]

        async def step(side: Side) -> object:
            return await side.workers[worker].store.claim_again(claims, lease)

        return f"claim {[(one.request_id.int, one.attempt) for one in claims]} under {lease}", step

    def sign_off(self) -> "Step":
        worker = self._chance.randrange(WORKERS)

        async def step(side: Side) -> object:
            await side.workers[worker].leases.sign_off()
            await side.workers[worker].leases.register("host", worker, "1")
            return None

        return f"sign off {worker}", step

    def redirect(self) -> "Step":
        worker, queue, numbers = self._chance.randrange(WORKERS), self._queue(), self._some()

        async def step(side: Side) -> object:
            route = Route(queue, "c", None)
            return await side.workers[worker].store.redirect(
                [(UUID(int=number), route) for number in numbers]
            )

        return f"redirect {numbers} to {queue}", step

    def begin_pending(self) -> "Step":
        worker, numbers = self._chance.randrange(WORKERS), self._some()

        async def step(side: Side) -> object:
            await side.workers[worker].store.begin_pending([UUID(int=number) for number in numbers])
            return None

        return f"begin pending {numbers}", step

    def answer_later(self) -> "Step":
        worker, queue, numbers = self._chance.randrange(WORKERS), self._queue(), self._some()
        why = self._chance.choice([Receipt.REFUSED, Receipt.UNROUTABLE, Receipt.UNPUBLISHABLE, None])

        async def step(side: Side) -> object:
            undelivered = [Undelivered(UUID(int=number), queue, why) for number in numbers]
            return await side.workers[worker].answers.put(undelivered)

        return f"answer later {numbers} at {queue}: {why}", step

    def claim_answers(self) -> "Step":
        worker = self._chance.randrange(WORKERS)

        async def step(side: Side) -> object:
            mine = side.workers[worker].answers
            shared = [await mine.claim_shared(status, _MOST) for status in ("completed", "failed")]
            return [*shared, await mine.claim_replies(_MOST, direct=False)]

        return "claim answers", step

    def other_answers(self) -> "Step":
        worker, numbers, heard = self._chance.randrange(WORKERS), self._some(), self._chance.random() < 0.5
        once_more = self._chance.random() < 0.5  # each is asked for once more while it is sent

        async def step(side: Side) -> object:
            mine = side.workers[worker].answers
            answers = [
                Answer(UUID(int=number), "failed", "x", "{}", f"m{number}", Route(None, None, None))
                for number in numbers
            ]
            await mine.put_other(answers)
            claimed, until = await mine.claim_other("failed", _MOST)
            if once_more:
                await mine.put_other(answers)
            ids = [one.message_id for one in claimed]
            await mine.other_tried(ids if heard else [], [] if heard else ids, until)
            return sorted(ids)

        return f"other answers {numbers}", step

    def next_in_line(self) -> "Step":
        """Postgres may say that something may begin where nothing may, since it has not looked yet; not the
        reverse.
        """
        tables = self._stand_in.tables
        may_begin = None if tables.paused else bool(tables.lines_awake(_MOST))

        async def step(side: Side) -> object:
            seconds = _sign(await side.workers[0].waiting.next_in())
            return None if may_begin is None else (may_begin and seconds)

        return "next in line", step

    def pause(self) -> "Step":
        org, paused = self._chance.choice([ALL, "org-0", "org-1"]), self._chance.random() < 0.4

        async def step(side: Side) -> object:
            await (side.pause(org) if paused else side.resume(org))
            return None

        return f"{'pause' if paused else 'resume'} {org}", step

    def pass_time(self) -> "Step":
        seconds = self._chance.choice([A_WHILE, LONG])

        async def step(side: Side) -> object:
            await side.pass_time(seconds)
            return None

        return f"{seconds} s pass", step


Taken = Callable[[Side], Awaitable[object]]
Step = tuple[str, Taken]
_STEPS: Sequence[Callable[[Script], Step]] = [
    *[Script.accept, Script.wait, Script.finish, Script.put_off, Script.claim_again] * 2,
    Script.note_attempts, Script.note, Script.take_due, Script.claim_waiting, Script.look, Script.held,
    Script.take_over, Script.sign_off, Script.redirect, Script.begin_pending, Script.answer_later,
    Script.claim_answers, Script.other_answers, Script.next_in_line, Script.pause, Script.pass_time,
    Script.pass_time,
]  # fmt: skip


def _arrival(number: int, queue: str | None, now: datetime | None) -> Arrival:
    return Arrival(
        request_id=UUID(int=number),
        fingerprint=b"1",
        session_id=f"ts_{number}",
        route=Route(queue, None, None),
        org_id=f"org-{number % 2}",
        body="{}",
        document="{}",
        deadline_at=now and now + timedelta(seconds=LATER),
    )


def _differences(ours: Mapping[K, object], theirs: Mapping[K, object]) -> list[str]:
    return [
        f"{key}: {ours.get(key)}, and in Postgres {theirs.get(key)}"
        for key in ours.keys() | theirs.keys()
        if ours.get(key) != theirs.get(key)
    ]


def _sign(seconds: float | None) -> str | None:
    return None if seconds is None else "now" if seconds <= 0 else "later"


def comparable(value: object) -> object:
    """Return what is left of a result without its times, and with its rows in one order."""
    match value:
        case datetime():
            return "a time"
        case tuple() | list():
            made = [comparable(one) for one in value]
            return made if isinstance(value, tuple) else sorted(made, key=repr)
        case dict():
            return sorted(([repr(key), comparable(one)] for key, one in value.items()), key=repr)
        case set() | frozenset():
            return sorted(map(repr, value))
        case float():
            return "a number"
        case _:
            return value
