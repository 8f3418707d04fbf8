"""Workers that share the tables keep the promises in any order of steps: hypothesis drives a state machine.

Two workers accept, put in line, claim, finish, put off, answer and take over; leases run out meanwhile,
answers of the database get lost, workers die and stop, people pause and limit. After each step the tables are
compared with what each statement has to do (`store_model.py`), and every promise that the tables can show is
checked.
"""

import asyncio
import json
import os
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as how_many
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.faults.lines import overlooked
from support.faults.store_model import ALL, Expected, InForce, State, WatchedDatabase, read

from schemas import FailureCode
from worker import law
from worker.errors import LeaseLost
from worker.monitoring import log
from worker.monitoring.metrics import Metrics
from worker.operations.promises import Received, Recorded, illegal_history, verify
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.rows import Claim, Held, TakenOver
from worker.postgres.store import Store
from worker.postgres.waiting_answers import Undelivered, WaitingAnswers
from worker.postgres.waiting_line import WaitingLine
from worker.process.failpoint import FailPoint
from worker.settings import Settings
from worker.steps.finishing import Finishing
from worker.values import (
    Arrival,
    Completed,
    Failed,
    Failure,
    NewSession,
    PutOff,
    Receipt,
    Route,
    Verdict,
    Waiting,
    Work,
    first_work,
)

EXAMPLES, STEPS = int(os.environ.get("EXAMPLES", "200")), 50
LEASE_SECONDS = 3600.0  # it runs out when a test says so
T = TypeVar("T")
PAUSE = """
insert into pauses (scope, name, reason, paused_by) values ($1, $2, 'a test', 'me') on conflict do nothing
"""
LIMIT = """
insert into limits (scope, name, source, running, set_by) values ($1, $2, 'command', $3, 'me')
on conflict (scope, name, source) do update set running = excluded.running
"""

WORKER = st.integers(0, 1)
BATCH = st.integers(
    0, 11
)  # of those there are, counted round: what is drawn depends on nothing that was found
SOME = st.integers(1, 3)
NUMBER = st.integers(1, 12)
REQUESTS = st.lists(NUMBER, min_size=1, max_size=3, unique=True)
VERDICT = st.sampled_from(["completed", "failed", "retry now", "retry much later", "retry with a key"])
MEANWHILE = st.sampled_from([*["no loss"] * 6, "nothing", "lost lease", "finished by the other"])
WHEN = st.sampled_from(["now", "now", "later", "with a deadline"])
DECISION = st.tuples(
    st.sampled_from(["pause", "resume", "resume", "limit", "clear"]),
    st.sampled_from([ALL, "org-0", "org-1", "org-2"]),
    SOME,
)
STEP = st.tuples(BATCH, st.integers(0, 11), SOME, VERDICT, MEANWHILE)


@dataclass
class Batch:
    """The requests that a worker believes it holds."""

    worker: int
    lease: int
    works: dict[UUID, Work] = field(default_factory=dict)
    answers: dict[UUID, str] = field(default_factory=dict)  # finished, to be published
    taken: TakenOver | None = None
    unseen: bool = False  # taken over, not looked into
    todo: list[Held] = field(default_factory=list)
    holds: bool = True  # what it answers: a cancelled request may be of any batch

    @property
    def over(self) -> bool:
        return not (self.works or self.answers or self.unseen or self.todo)


class World:
    """Two workers' connections to one database, which outlive the examples."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.expected = Expected()
        self.happened: Counter[str] = Counter()
        self.databases = [WatchedDatabase(url, self.expected) for _ in range(2)]
        self.admin: asyncpg.Connection = self.run(self._open())

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    async def _open(self) -> asyncpg.Connection:
        for database in self.databases:
            await database.open()
        return await asyncpg.connect(self.url)

    async def _close(self) -> None:
        for database in self.databases:
            await database.close()
        await self.admin.close()

    def close(self) -> None:
        self.run(self._close())
        self.runner.close()

    async def clear(self) -> None:
        await self.admin.execute("set session_replication_role = replica")
        await self.admin.execute(
            "truncate requests, recorded_transitions, attempts, sessions, leases, confirmed_leases, workers, "
            "lines, pauses, limits"
        )
        await self.admin.execute("reset session_replication_role")
        self.expected.state, self.expected.in_force = State(), InForce()


def request_id(number: int) -> UUID:
    return UUID(int=number)


def arrival(number: int, content: bytes) -> Arrival:
    route = Route("first", None, None)
    return Arrival(
        request_id=request_id(number),
        fingerprint=content,
        session_id=f"ts_{number}",
        route=route,
        org_id=f"org-{number % 3}",
        body="{}",
        document="{}",
    )


class StoreMachine(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.run = self.world.run
        self.run(self.world.clear())
        self.metrics = Metrics()
        self.stores: list[Store] = [None, None]  # type: ignore[list-item]
        self.leases: list[Leases] = [None, None]  # type: ignore[list-item]
        self.lines: list[PutOffLine] = [None, None]  # type: ignore[list-item]
        self.waiting: list[WaitingLine] = [None, None]  # type: ignore[list-item]
        self.finishing: list[Finishing] = [None, None]  # type: ignore[list-item]
        self.batches: list[Batch] = []
        self.on_their_way: list[tuple[Finishing, Batch]] = []
        self.published: dict[UUID, list[str]] = defaultdict(list)
        self.terminal: dict[UUID, object] = {}
        for worker in (0, 1):
            self.run(self._new_worker(worker))

    # The steps of a batch, as the pipeline and the recovery take them.

    @rule(worker=WORKER, numbers=REQUESTS, other_content=st.booleans(), meanwhile=MEANWHILE)
    def a_batch_arrives(self, worker: int, numbers: list[int], other_content: bool, meanwhile: str) -> None:
        batch = Batch(worker, self.leases[worker].new())
        self._run_losing(
            worker, meanwhile, self._accept(batch, numbers, b"other" if other_content else b"content")
        )

    @rule(which=BATCH, numbers=REQUESTS, meanwhile=MEANWHILE)
    def the_other_half_of_a_batch_arrives(self, which: int, numbers: list[int], meanwhile: str) -> None:
        """Postgres refused the whole batch, so the worker halves it."""
        for batch in self._pick(which, lambda batch: batch.taken is None):
            self._run_losing(batch.worker, meanwhile, self._accept(batch, numbers, b"content"))

    @rule(steps=st.lists(STEP, min_size=2, max_size=6))
    def batches_go_on(self, steps: list[tuple[int, int, int, str, str]]) -> None:
        for which, kind, some, verdict, meanwhile in steps:
            fits: Callable[[Batch], bool] = (lambda _: True) if kind == 0 else (lambda batch: not batch.over)
            for batch in self._pick(which, fits):
                possible = list(self._possible(batch, some, verdict))
                self._run_losing(batch.worker, meanwhile, possible[kind % len(possible)]())
                self.the_tables_are_as_they_have_to_be()

    @rule(which=BATCH)
    def a_batch_fails(self, which: int) -> None:
        for batch in self._pick(which, lambda _: True):
            self.leases[batch.worker].abandon(batch.lease)
            self.batches.remove(batch)

    @rule(worker=WORKER, meanwhile=MEANWHILE)
    def notes_are_written(self, worker: int, meanwhile: str) -> None:
        self._run_losing(worker, meanwhile, self.leases[worker].flush_notes())

    @rule(worker=WORKER, silent=st.booleans(), meanwhile=MEANWHILE)
    def due_leases_are_taken_over(self, worker: int, silent: bool, meanwhile: str) -> None:
        self._run_losing(worker, meanwhile, self._take_over(worker, silent=silent))

    @rule(worker=WORKER, some=SOME, meanwhile=MEANWHILE)
    def what_is_due_is_taken(self, worker: int, some: int, meanwhile: str) -> None:
        self.run(self._become_due(some))
        self.run(self.lines[worker].next_in())
        self._run_losing(worker, meanwhile, self._take_due(worker))

    @rule(worker=WORKER, numbers=REQUESTS, when=WHEN, meanwhile=MEANWHILE)
    def a_batch_waits(self, worker: int, numbers: list[int], when: str, meanwhile: str) -> None:
        self._run_losing(worker, meanwhile, self._put_in_line(worker, numbers, when))

    @rule(worker=WORKER, most=SOME, meanwhile=MEANWHILE)
    def what_waits_is_claimed(self, worker: int, most: int, meanwhile: str) -> None:
        self._run_losing(worker, meanwhile, self._claim_waiting(worker, most))

    @rule(decision=DECISION)
    def people_decide(self, decision: tuple[str, str, int]) -> None:
        self.run(self._decide(*decision))

    @rule(some=SOME)
    def a_time_comes(self, some: int) -> None:
        self.run(self._may_begin(some))

    @rule(worker=WORKER, number=NUMBER, queue=st.sampled_from(["second", None]), meanwhile=MEANWHILE)
    def another_asks_for_the_response(
        self, worker: int, number: int, queue: str | None, meanwhile: str
    ) -> None:
        self._run_losing(
            worker, meanwhile, self.stores[worker].redirect([(request_id(number), Route(queue, None, None))])
        )

    # What happens to workers.

    @rule(which=BATCH, taken_by=st.sampled_from([None, 0, 1]))
    def a_lease_runs_out(self, which: int, taken_by: int | None) -> None:
        if leases := sorted(self.world.expected.state.leases):
            self.run(self._run_out([leases[which % len(leases)]]))
            if taken_by is not None:
                self.run(self._take_over(taken_by, silent=True))

    @rule(worker=WORKER)
    def a_worker_shows_that_it_lives(self, worker: int) -> None:
        self.run(self.leases[worker].heartbeat("host", 1, "1"))

    @rule(worker=WORKER)
    def a_worker_dies(self, worker: int) -> None:
        self.world.happened["died"] += 1
        self._forget(worker)
        self.run(self._new_worker(worker))

    @rule(worker=WORKER)
    def a_worker_stops(self, worker: int) -> None:
        self.on_their_way += [
            (self.finishing[worker], batch)
            for batch in self.batches
            if batch.worker == worker and batch.works
        ]
        self._forget(worker)
        self.run(self.leases[worker].sign_off())
        self.run(self._new_worker(worker))

    @rule(some=SOME, verdict=VERDICT)
    def a_statement_of_a_worker_that_stopped_is_carried_out(self, some: int, verdict: str) -> None:
        if self.on_their_way:
            finishing, batch = self.on_their_way.pop()
            self.run(self._finish(batch, some, verdict, finishing))

    @rule(worker=WORKER, which=BATCH, meanwhile=MEANWHILE)
    def a_request_is_cancelled(self, worker: int, which: int, meanwhile: str) -> None:
        """Someone cancels it who does not hold it: the attempt number is the fence."""
        if unfinished := self._unfinished():
            self._run_losing(worker, meanwhile, self._cancel(worker, unfinished[which % len(unfinished)]))

    @rule(worker=WORKER, which=BATCH)
    def an_answer_is_put_off_that_is_none_yet(self, worker: int, which: int) -> None:
        """The statement changes nothing: the holder keeps the request."""
        if unfinished := self._unfinished():
            self.run(self._put_off(worker, [unfinished[which % len(unfinished)]]))

    @rule(worker=WORKER, meanwhile=MEANWHILE)
    def what_waits_for_a_queue_is_sent(self, worker: int, meanwhile: str) -> None:
        self._run_losing(worker, meanwhile, self._send(worker))

    # At the very same moment.

    @rule(numbers=st.tuples(REQUESTS, REQUESTS))
    def both_accept(self, numbers: tuple[list[int], list[int]]) -> None:
        batches = [Batch(worker, self.leases[worker].new()) for worker in (0, 1)]
        self._at_once([
            self._accept(batch, each, b"content") for batch, each in zip(batches, numbers, strict=True)
        ])  # fmt: skip
        assert batches[0].works.keys().isdisjoint(batches[1].works)

    @rule(which=BATCH, some=SOME, verdict=VERDICT)
    def one_finishes_what_the_other_takes_over(self, which: int, some: int, verdict: str) -> None:
        for batch in self._pick(which, lambda batch: bool(batch.works)):
            self.run(self._run_out([batch.lease]))
            self._at_once([self._finish(batch, some, verdict), self._recover(1 - batch.worker)])

    @rule(which=BATCH, some=SOME)
    def one_claims_what_the_other_takes_over(self, which: int, some: int) -> None:
        for batch in self._pick(which, lambda batch: bool(batch.todo)):
            self.run(self._run_out([batch.lease]))
            self._at_once([self._claim(batch, some), self._recover(1 - batch.worker)])

    @rule(some=SOME)
    def both_take_what_is_due(self, some: int) -> None:
        self.run(self._become_due(some))
        before = len(self.batches)
        self._at_once([self._take_due(worker) for worker in (0, 1)])
        taken = [
            {row.request_id for row in batch.todo} | set(batch.answers) for batch in self.batches[before:]
        ]
        assert sum(map(len, taken)) == len(set[UUID]().union(*taken)), "one request taken twice"

    @rule(numbers=REQUESTS, when=WHEN, decision=DECISION)
    def one_puts_in_line_while_the_other_claims(
        self, numbers: list[int], when: str, decision: tuple[str, str, int]
    ) -> None:
        self._at_once([
            self._put_in_line(0, numbers, when), self._claim_waiting(1, 2), self._decide(*decision),
        ])  # fmt: skip

    @rule(some=SOME)
    def both_claim_what_waits(self, some: int) -> None:
        before = len(self.batches)
        self._at_once([self._claim_waiting(worker, some) for worker in (0, 1)])
        taken = [{row.request_id for row in batch.todo} for batch in self.batches[before:]]
        assert sum(map(len, taken)) == len(set[UUID]().union(*taken)), "one request claimed twice"

    @rule(worker=WORKER, which=BATCH, some=SOME)
    def one_cancels_what_the_other_claims(self, worker: int, which: int, some: int) -> None:
        if unfinished := self._unfinished():
            self._at_once([
                self._cancel(worker, unfinished[which % len(unfinished)]),
                self._claim_waiting(1 - worker, some),
            ])  # fmt: skip

    @rule(worker=WORKER, which=BATCH, some=SOME)
    def one_cancels_what_the_other_takes_as_due(self, worker: int, which: int, some: int) -> None:
        self.run(self._become_due(some))
        put_off = [one for one in self._unfinished() if self.world.expected.state.requests[one].due]
        if put_off:
            self._at_once([self._cancel(worker, put_off[which % len(put_off)]), self._take_due(1 - worker)])

    # What has to hold, whatever happened.

    @invariant()
    def the_tables_are_as_they_have_to_be(self) -> None:
        found = self.run(read(self.world.admin))
        assert self.world.expected.differences(found) == []
        if any(row.line is not None for row in found.requests.values()):
            assert self.run(overlooked(self.world.admin)) == []
        for one, row in found.requests.items():
            assert row.line is not None or row.status in {"processing"} | law.FINISHED
            recorded = Recorded(
                row.status,
                row.attempt,
                row.session_id,
                row.response,
                row.error_code,
                row.history,
                row.sessions,
            )
            assert illegal_history(recorded) is None
            assert row.attempt == sum(status == "processing" for status, _ in row.history)
            assert row.sessions == ([row.session_id] if row.status in law.WITH_SESSION else [])
            looked_after = (
                row.published or row.waits or row.lease in found.leases or row.due is not None
                or row.line is not None
            )  # fmt: skip
            assert looked_after, f"{one} would be stuck if all workers died now"
            assert row.due is None or row.lease is None or row.finished, "put off, and held all the same"
            assert len(row.failed) <= row.attempt
            if row.finished:
                verdict = (row.status, row.attempt, row.response, row.error_code, row.history, row.sessions)
                assert self.terminal.setdefault(one, verdict) == verdict
            assert set(self.published[one]) <= {row.response}
            if row.published:
                assert self.published[one], "nobody published it"

    def teardown(self) -> None:
        """All workers die, and others come; then every request ends answered."""
        for worker in (0, 1):
            self._forget(worker)
            self.run(self._new_worker(worker))
        for scope in (ALL, "org-0", "org-1", "org-2"):
            self.run(self._decide("resume", scope, 0))
            self.run(self._decide("clear", scope, 0))
        self.run(self._finish_everything(0))
        self.run(self._send(0))
        self.run(self.leases[0].flush_notes())
        self.the_tables_are_as_they_have_to_be()
        state = self.world.expected.state
        assert not state.leases
        assert all(row.due is None for row in state.requests.values())
        assert all(row.finished and row.published for row in state.requests.values())
        received = [
            Received(str(one), body.encode()) for one, bodies in self.published.items() for body in bodies
        ]
        assert self.run(verify(self.world.url, list(state.requests), received)) == []

    # How it is done.

    async def _new_worker(self, worker: int) -> None:
        database = self.world.databases[worker]
        leases = self.leases[worker] = Leases(database, uuid4(), LEASE_SECONDS)
        store = self.stores[worker] = Store(database, leases, FailPoint(""))
        line = self.lines[worker] = PutOffLine(database, leases)
        self.waiting[worker] = WaitingLine(database, leases)
        self.finishing[worker] = Finishing(store, line, self.metrics)
        await self.leases[worker].register("host", 1, "1")

    def _unfinished(self) -> list[UUID]:
        return sorted(one for one, row in self.world.expected.state.requests.items() if not row.finished)

    def _forget(self, worker: int) -> None:
        self.batches = [batch for batch in self.batches if batch.worker != worker]

    def _pick(self, which: int, fits: Callable[[Batch], bool]) -> Iterator[Batch]:
        fitting = [batch for batch in self.batches if fits(batch)]
        if fitting:
            yield fitting[which % len(fitting)]

    def _possible(
        self, batch: Batch, some: int, verdict: str
    ) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        """Returns the steps that may be next, as pipeline and recovery take them."""
        if batch.unseen:
            yield lambda: self._look(batch)
        if batch.todo:
            yield lambda: self._claim(batch, some)
        if batch.works:
            yield lambda: self._finish(batch, some, verdict)
        if batch.answers:
            yield lambda: self._publish(batch)
            yield lambda: self._publish_unconfirmed(batch)
            yield lambda: self._find_no_queue(batch)
        if batch.over:
            yield lambda: self._end(batch)

    def _run_losing(self, worker: int, meanwhile: str, step: Coroutine[Any, Any, object]) -> None:
        """Runs a step, and loses the answer of its first statement, if it makes one; the worker repeats that
        after what happens meanwhile.
        """
        if meanwhile != "no loss":
            self._lose(worker, meanwhile)
        self.run(step)
        self.world.databases[worker].lose_answer = None

    def _lose(self, worker: int, meanwhile: str) -> None:
        self.world.happened[f"answer lost: {meanwhile}"] += 1

        async def happens() -> None:
            other = 1 - worker
            if meanwhile != "nothing":
                await self._run_out(list(self.world.expected.state.leases))
                await self._recover(other)
            if meanwhile == "finished by the other":
                for batch in [batch for batch in self.batches if batch.worker == other]:
                    await self._work_off(batch)
                await self.leases[other].flush_notes()

        self.world.databases[worker].lose_answer = happens

    def _at_once(self, steps: Sequence[Awaitable[None]]) -> None:
        """Runs steps at once. Postgres chooses their order, so the model does not foresee the result."""

        async def all_of_them() -> None:
            for database in self.world.databases:
                database.watched = False
            try:
                await asyncio.gather(*steps)
            finally:
                for database in self.world.databases:
                    database.watched = True
            self.world.expected.adopt(await read(self.world.admin))

        self.world.happened["at once"] += 1
        self.run(all_of_them())

    async def _run_out(self, leases: Sequence[int]) -> None:
        await self.world.admin.execute(
            "update leases set lease_until = now() - interval '1 s' where id = any ($1::bigint[])", leases
        )
        for lease in leases:
            if lease in self.world.expected.state.leases:
                self.world.expected.state.leases[lease].due = True

    async def _accept(self, batch: Batch, numbers: Sequence[int], content: bytes) -> None:
        if batch not in self.batches:
            self.batches.append(batch)
        arrivals = {request_id(number): arrival(number, content) for number in numbers}
        try:
            begun = await self.stores[batch.worker].accept(list(arrivals.values()), batch.lease)
        except LeaseLost:
            self.world.happened["lease lost"] += 1
            self.leases[batch.worker].abandon(batch.lease)
            self.batches.remove(batch)
            return
        batch.works |= {one: first_work(arrivals[one]) for one in begun}

    async def _finish(
        self, batch: Batch, some: int, verdict: str, finishing: Finishing | None = None
    ) -> None:
        works = [batch.works.pop(one) for one in list(batch.works)[:some]]
        verdicts = [self._verdict(work, verdict, batch.worker) for work in works]
        answers = await (finishing or self.finishing[batch.worker]).finish(verdicts, batch.lease)
        self.world.happened["fenced off"] += len(works) - len(answers) if "retry" not in verdict else 0
        batch.answers |= {answer.request_id: answer.body for answer in answers}

    def _verdict(self, work: Work, verdict: str, worker: int) -> Verdict:
        if verdict.startswith("retry"):
            why = None if verdict == "retry with a key" else Failure("retry_later", "later")
            return PutOff(work, 3600 if verdict == "retry much later" else 0, "later", why)
        failed = verdict == "failed"
        response = json.dumps({
            "request_id": str(work.request_id),
            "status": verdict,
            "payload": {"session_id": work.session_id},
            "error": "no" if failed else None,
            "metadata": {"code": "rejected" if failed else None, "by": worker, "attempt": work.attempt},
        })  # fmt: skip
        if failed:
            return Failed(work, FailureCode.REJECTED, response)
        session = NewSession(
            work.session_id, work.request_id, "org", None, None, "active", None, None, None, 60,
            datetime.now(UTC), "{}",
        )  # fmt: skip
        return Completed(work, session, response)

    async def _cancel(self, worker: int, one: UUID) -> None:
        store = self.stores[worker]
        for row in await store.to_cancel([one]):
            if row.response is None:
                if row.status == "pending":
                    await store.begin_pending([one])
                work = Work(row.request_id, max(1, row.attempt), row.session_id, row.route)
                cancelled = self._verdict(work, "failed", worker)
                assert isinstance(cancelled, Failed)
                answers = await self.finishing[worker].finish_current([cancelled])
                batch = Batch(worker, self.leases[worker].new(), holds=False)
                batch.answers = {one.request_id: one.body for one in answers}
                self.batches.append(batch)
                self.world.happened["cancelled"] += len(answers)

    async def _publish(self, batch: Batch) -> None:
        await self._publish_unconfirmed(batch)
        answers, batch.answers = batch.answers, {}
        self.leases[batch.worker].note_published(list(answers), batch.lease if batch.holds else None)

    async def _publish_unconfirmed(self, batch: Batch) -> None:
        for one, body in batch.answers.items():
            self.published[one].append(body)

    async def _find_no_queue(self, batch: Batch) -> None:
        answers, batch.answers = batch.answers, {}
        await self._put_off(batch.worker, list(answers))

    async def _put_off(self, worker: int, request_ids: Sequence[UUID]) -> None:
        waiting = WaitingAnswers(self.world.databases[worker])
        rows = await self.world.admin.fetch(
            "select request_id, reply_to from requests where request_id = any ($1::uuid[])", request_ids
        )
        await waiting.put([Undelivered(row["request_id"], row["reply_to"], Receipt.REFUSED) for row in rows])

    async def _send(self, worker: int) -> None:
        """Sends the responses that wait for any queue, after time has passed until they are due."""
        await self.world.admin.execute(
            "update requests set answer_at = now() - interval '1 minute' where answer_at is not null"
        )
        waiting = WaitingAnswers(self.world.databases[worker])
        answers = [
            *await waiting.claim_replies(100, direct=False),
            *[one for status in law.FINISHED for one in await waiting.claim_shared(status, 100)],
        ]
        for answer in answers:
            self.published[answer.request_id].append(answer.body)
        self.leases[worker].note_published([answer.request_id for answer in answers])
        self.world.happened["sent late"] += len(answers)

    async def _end(self, batch: Batch) -> None:
        self.leases[batch.worker].done(batch.lease)
        self.batches.remove(batch)

    async def _take_over(self, worker: int, *, silent: bool) -> None:
        for taken in await self.leases[worker].take_over(100, from_silent_holders=silent):
            self.world.happened["taken over"] += 1
            self.batches.append(Batch(worker, taken.lease, taken=taken, unseen=True))

    async def _look(self, batch: Batch) -> None:
        held = await self.leases[batch.worker].held(batch.lease)
        batch.unseen = False
        batch.answers |= {row.request_id: row.response for row in held if row.response is not None}
        batch.todo = [row for row in held if row.response is None]

    async def _become_due(self, some: int) -> None:
        """Lets time pass for so many of the requests that were put off."""
        rows = self.world.expected.state.requests
        late = sorted(one for one, row in rows.items() if row.due is False)[:some]
        await self.world.admin.execute(
            "update requests set due_at = now() - interval '1 s', deadline_at = case "
            "when waits_in is not null and deadline_at is not null then now() - interval '1 s' "
            "else deadline_at end "
            "where request_id = any ($1::uuid[])",
            late,
        )
        for one in late:
            rows[one].due = True
            rows[one].late |= rows[one].line is not None and rows[one].deadline

    async def _may_begin(self, some: int) -> None:
        """Lets time pass until so many of those that wait for it may begin."""
        rows = self.world.expected.state.requests
        later = sorted(one for one, row in rows.items() if row.line is not None and not row.begins)[:some]
        await self.world.admin.execute(
            "update requests set begins_at = now() - interval '1 s' where request_id = any ($1::uuid[])",
            later,
        )
        await self.world.admin.execute(
            "update lines set asleep_until = now() - interval '1 s' where asleep_for = 'not_before' "
            "and org_id = any ($1::text[])", [rows[one].line for one in later],
        )  # fmt: skip
        for one in later:
            rows[one].begins = True

    async def _put_in_line(self, worker: int, numbers: Sequence[int], when: str) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        arrivals = [
            arrival(number, b"content")._replace(
                not_before=later if when == "later" else None,
                deadline_at=later if when == "with a deadline" else None,
            )
            for number in numbers
        ]
        joined = await self.waiting[worker].put([Waiting(one, "over_share") for one in arrivals])
        self.world.happened["put in line"] += len(joined)

    async def _decide(self, what: str, scope: str, most: int) -> None:
        """Pauses, resumes, sets a limit or clears it: of one organisation or of all."""
        place = ("all", "") if scope == ALL else ("org", scope)
        in_force, admin = self.world.expected.in_force, self.world.admin
        match what:
            case "pause":
                in_force.paused.add(scope)
                await admin.execute(PAUSE, *place)
            case "resume":
                in_force.paused.discard(scope)
                await admin.execute("delete from pauses where (scope, name) = ($1, $2)", *place)
            case "limit":
                in_force.running[scope] = most
                await admin.execute(LIMIT, *place, most)
            case "clear":
                in_force.running.pop(scope, None)
                await admin.execute("delete from limits where (scope, name) = ($1, $2)", *place)

    async def _take_due(self, worker: int) -> None:
        await self._take(worker, self.lines[worker], 100, "taken when due")

    async def _claim_waiting(self, worker: int, most: int) -> None:
        await self._take(worker, self.waiting[worker], most, "claimed from a line")

    async def _take(self, worker: int, source: PutOffLine | WaitingLine, most: int, what: str) -> None:
        lease = self.leases[worker].new()
        held = await source.take(lease, most)
        if not held:
            self.leases[worker].done(lease)
            return
        self.world.happened[what] += len(held)
        batch = Batch(worker, lease, taken=TakenOver(lease, holder_silent=False, spends_attempt=False))
        batch.answers = {row.request_id: row.response for row in held if row.response is not None}
        batch.todo = [row for row in held if row.response is None]
        self.batches.append(batch)

    async def _claim(self, batch: Batch, some: int) -> None:
        store, taken = self.stores[batch.worker], batch.taken
        group, batch.todo = batch.todo[:some], batch.todo[some:]
        assert taken is not None
        goes_on = [row for row in group if not (taken.spends_attempt or row.attempt_over)]
        batch.works |= {row.request_id: _work(row, row.attempt) for row in goes_on}
        claims = [
            Claim(row.request_id, row.attempt, row.worker, lost=taken.holder_silent and not row.attempt_over)
            for row in group if row not in goes_on
        ]  # fmt: skip
        if not claims:
            return
        self.world.happened["worker lost"] += sum(claim.lost for claim in claims)
        claimed = await store.claim_again(claims, batch.lease)
        batch.works |= {
            row.request_id: _work(row, row.attempt + 1) for row in group if row.request_id in claimed
        }
        missing = {claim.request_id for claim in claims} - claimed
        if missing:
            self.world.happened["not claimed"] += len(missing)
            batch.answers |= {
                row.request_id: row.response
                for row in await self.leases[batch.worker].held(batch.lease)
                if row.request_id in missing and row.response is not None
            }

    async def _recover(self, worker: int) -> None:
        """Takes over the requests that are due, and claims them."""
        await self._take_over(worker, silent=True)
        for batch in [batch for batch in self.batches if batch.worker == worker and batch.unseen]:
            await self._look(batch)
            while batch.todo:
                await self._claim(batch, 2)
        await self._take_due(worker)
        await self._claim_waiting(worker, 100)

    async def _work_off(self, batch: Batch) -> None:
        if batch.unseen:
            await self._look(batch)
        while batch.todo or batch.works:
            if batch.todo:
                await self._claim(batch, 2)
            await self._finish(batch, 3, "completed")
        await self._publish(batch)
        await self._end(batch)

    async def _finish_everything(self, worker: int) -> None:
        state = self.world.expected.state
        while state.leases or any(
            row.due is not None or row.line is not None for row in state.requests.values()
        ):
            await self._run_out(list(state.leases))
            await self._may_begin(len(state.requests))
            await self._become_due(len(state.requests))
            await self._recover(worker)
            for batch in list(self.batches):
                await self._work_off(batch)
            await self.leases[worker].flush_notes()


def _work(row: Held, attempt: int) -> Work:
    return Work(
        request_id=row.request_id,
        attempt=attempt,
        session_id=row.session_id,
        route=row.route,
        org_id=row.org_id,
        user_id=row.user_id,
        document="{}",
    )


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    log.configure(settings.model_copy(update={"log_level": "error"}))
    made = World(settings.database_url.get_secret_value())
    yield made
    made.close()


@pytest.mark.timeout(900)
def test_whatever_the_order_of_their_steps_workers_keep_the_promises(world: World) -> None:
    machine = type("Machine", (StoreMachine,), {"world": world})
    phases = [Phase.generate, *([Phase.shrink] if os.environ.get("SHRINK") else [])]  # that takes minutes
    run_state_machine_as_test(
        machine,
        settings=how_many(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, print_blob=True,
            suppress_health_check=list(HealthCheck), phases=phases,
        ),
    )  # fmt: skip

    for what in (
        "taken over",
        "taken when due",
        "put in line",
        "claimed from a line",
        "worker lost",
        "fenced off",
        "not claimed",
        "died",
        "at once",
        "answer lost: lost lease",
    ):
        assert world.happened[what] > 2, f"{what}: {world.happened}"
    assert all(database.answers_lost > 10 for database in world.databases)
