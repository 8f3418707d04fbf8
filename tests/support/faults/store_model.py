"""Says again in Python what each statement of `queries.sql` does, and holds a database to it.

The steps that a request and a lease may take are not said again: they are those of `worker/law.py`.
"""

import copy
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from worker import law
from worker.monitoring.readiness import Readiness
from worker.postgres.database import Database

ALL = "(all)"


@dataclass
class Row:
    """A request. `sessions` and `history` are what the other tables hold of it."""

    fingerprint: bytes
    session_id: str
    worker: UUID | None
    lease: int | None
    org: str
    reply_to: str | None = None
    status: str = law.BEGIN
    attempt: int = 0
    response: str | None = None
    error_code: str | None = None
    published: bool = False
    waits: bool = False  # its response, for a queue
    due: bool | None = None  # put off, or in line with a deadline: whether its time has come
    line: str | None = None  # of the organisation in whose line it waits
    begins: bool | None = None  # it was put in line: whether it might have begun
    counted: str | None = None  # the organisation under whose limit it runs
    deadline: bool = False
    late: bool = False  # its deadline has passed
    failed: list[tuple[int, str]] = field(default_factory=list)  # attempts, and of which kind they failed
    sessions: list[str] = field(default_factory=list)
    history: list[tuple[str, int]] = field(default_factory=list)

    def go(self, statement: str, status: str) -> None:
        """Takes the step that the law has for this statement."""
        legal = [step for step in law.steps_from(self.status, statement) if step.after == status]
        assert legal, f"{statement} takes no step from {self.status} to {status}"
        self.status, self.attempt = status, self.attempt + legal[0].attempts
        self.history.append((self.status, self.attempt))

    @property
    def finished(self) -> bool:
        return self.status in law.FINISHED

    @property
    def attempt_over(self) -> bool:
        return self.attempt in [attempt for attempt, _ in self.failed]

    def fail(self, kind: str | None) -> None:
        if kind and not self.attempt_over:
            self.failed.append((self.attempt, kind))


@dataclass
class Lease:
    worker: UUID | None
    due: bool = False
    spends_attempt: bool = True

    @property
    def stands(self) -> str:
        """Says where the law sees it."""
        if self.worker is None:
            return law.FREE
        return law.RUN_OUT if self.due else law.HELD


@dataclass
class InForce:
    """What people have decided."""

    paused: set[str] = field(default_factory=set)  # organisations, or ALL
    running: dict[str, int] = field(default_factory=dict)  # at once, of an organisation, or of ALL


@dataclass
class State:
    requests: dict[UUID, Row] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)


SNAPSHOT = """
select request_id, r.fingerprint, r.session_id, r.worker, r.lease, r.reply_to, r.status, r.attempt,
  r.response, r.error_code, l.published_at is not null as published, r.answer_at is not null as waits,
  r.due_at <= now() as due, r.org_id as org, r.waits_in as line, r.begins_at <= now() as begins,
  r.runs_in as counted, r.deadline_at is not null as deadline,
  coalesce(r.deadline_at <= now(), false) as late,
  array(
    select a.attempt || ' ' || a.kind from attempts a where a.request_id = r.request_id order by a.attempt
  ) as failed,
  array(select s.id from sessions s where s.request_id = r.request_id order by 1) as sessions,
  array(
    select t.status || ' ' || t.attempt from request_transitions t where t.request_id = r.request_id
    order by at, attempt, t.status in ('completed', 'failed')
  ) as history
from requests r join listed_requests l using (request_id)
"""
LEASES = "select id, worker, lease_until < now() as due, spends_attempt from leases"


async def read(db: asyncpg.Connection) -> State:
    state = State()
    for record in await db.fetch(SNAPSHOT):
        values = dict(record)
        request_id = values.pop("request_id")
        steps = [step.split() for step in values.pop("history")]
        history = [(status, int(attempt)) for status, attempt in steps]
        failed = [(int(one.split()[0]), one.split()[1]) for one in values.pop("failed")]
        state.requests[request_id] = Row(**values, history=history, failed=failed)
    for record in await db.fetch(LEASES):
        state.leases[record["id"]] = Lease(record["worker"], record["due"], record["spends_attempt"])
    return state


class Expected:
    """Keeps the state as it has to be, and knows what each statement has to return."""

    def __init__(self) -> None:
        self.state = State()
        self.in_force = InForce()

    def apply(self, query: str, args: Sequence[Any], rows: Sequence[asyncpg.Record]) -> None:
        """Does what the statement does, and compares what it returned."""
        before = self._leases_stand()
        effect = getattr(self, f"_{query}", None)
        if effect is not None:
            effect(rows, *args)
        after = self._leases_stand()
        steps = {(before.get(lease, law.BEGIN), after.get(lease, law.GONE)) for lease in before | after}
        legal = {(step.before, step.after) for step in law.LEASE if step.statement == query}
        assert {step for step in steps if step[0] != step[1]} <= legal, query

    def _leases_stand(self) -> dict[int, str]:
        return {lease: held.stands for lease, held in self.state.leases.items()}

    def _register(self, *_: object) -> None:
        """Changes nothing: the model does not compare workers."""

    def _publish(self, request_ids: Sequence[UUID]) -> None:
        for request_id in request_ids:
            row = self.state.requests[request_id]
            if row.finished and not row.published:
                row.published, row.due = True, None
            row.waits &= not row.published

    def _release(self, rows: Any, done: Sequence[int], confirmed: Sequence[int], me: UUID) -> None:
        """Removes these leases. What was finished under a confirmed one, and does not wait, was published."""
        released = [
            lease for lease in (*done, *confirmed)
            if lease in self.state.leases and self.state.leases[lease].worker == me
        ]  # fmt: skip
        for lease in released:
            del self.state.leases[lease]
        for row in self.state.requests.values():
            row.published |= row.finished and not row.waits and row.lease in {*released} & {*confirmed}
        assert sorted(rows[0]["released"]) == sorted(released)

    def _accept(self, rows: Any, lease: int, me: UUID, _seconds: float, ids: Any, *columns: Any) -> None:
        self._release(rows, [], columns[-1], me)
        held = self.state.leases.setdefault(lease, Lease(me)).worker == me
        if held:
            self.state.leases[lease].due = False
        begun = set()
        for index, request_id in enumerate(ids):
            if held and request_id not in self.state.requests:
                row = Row(
                    columns[2][index], columns[5][index], me, lease, columns[0][index], columns[6][index]
                )
                for status in ("pending", "processing"):
                    row.go("accept", status)
                self.state.requests[request_id] = row
                begun.add(request_id)
        assert (set(rows[0]["begun"]), rows[0]["held"]) == (begun, held)

    def _wait(self, rows: Any, ids: Any, *columns: Any) -> None:
        joined = set()
        for index, request_id in enumerate(ids):
            if request_id not in self.state.requests:
                row = self.state.requests[request_id] = Row(
                    columns[2][index], columns[5][index], None, None, columns[0][index], columns[6][index]
                )
                row.go("wait", "pending")
                row.line, row.begins = row.org, columns[11][index] is None
                row.deadline = columns[9][index] is not None
                row.due = False if row.deadline else None
                joined.add(request_id)
        assert set(rows[0]["waiting"]) == joined

    def may_begin(self) -> set[UUID]:
        """Return those in line that pauses and limits let begin now."""
        rows, in_force = self.state.requests, self.in_force
        running = Counter(row.counted for row in rows.values() if row.counted is not None)

        def has_room(org: str, count: int) -> bool:
            return org not in in_force.paused and in_force.running.get(org, count + 1) > count

        if not has_room(ALL, running.total()):
            return set()
        return {
            one
            for one, row in rows.items()
            if row.line is not None and row.begins and has_room(row.line, running[row.line])
        }

    def why_waiting(self, org: str) -> bool:
        return bool({org, ALL} & (self.in_force.paused | self.in_force.running.keys()))

    def _claim_waiting(self, rows: Any, lease: int, me: UUID, _seconds: Any, most: int) -> None:
        """Which of them are next, tests of fairness ask: here, that some are, and none that may not be."""
        requests, held = self.state.requests, self.state.leases.get(lease)
        found = {row["request_id"] for row in rows}
        mine = {one for one, row in requests.items() if row.lease == lease and not row.published}
        if held and held.worker != me:
            assert found == set()
        elif mine:
            self._compare_held(rows, mine)
        else:
            may_begin = self.may_begin()
            assert found <= may_begin
            assert len(found) <= most
            assert bool(found) == bool(may_begin and most)
            for one in found:
                row = requests[one]
                if row.status == "pending":
                    row.go("claim_waiting", "processing")
                    row.worker = me
                counted = {str(row.line), ALL} & self.in_force.running.keys()
                row.counted, row.lease, row.line, row.due = row.line if counted else None, lease, None, None
            if found:
                self.state.leases.setdefault(lease, Lease(me)).due = False
            self._compare_held(rows, found)
            running = Counter(row.counted for row in requests.values() if row.counted is not None)
            for org in {own for one in found if (own := requests[one].counted) is not None}:
                assert running[org] <= self.in_force.running.get(org, len(requests))
            if found:
                assert running.total() <= self.in_force.running.get(ALL, len(requests))

    def _begin_pending(self, _: Any, me: UUID, ids: Any) -> None:
        for one in ids:
            row = self.state.requests[one]
            if row.status == "pending":
                row.go("begin_pending", "processing")
                row.worker, row.line, row.due = me, None, False

    def _note(self, rows: Any, published: Any, done: Any, me: UUID, confirmed: Any) -> None:
        self._publish(published)
        self._release(rows, done, confirmed, me)

    def _known(self, rows: Any, ids: Any) -> None:
        found = {
            row["request_id"]: (row["status"], row["attempt"], row["response"], row["lease"]) for row in rows
        }
        state = self.state.requests
        assert found == {
            one: (state[one].status, state[one].attempt, state[one].response, state[one].lease)
            for one in ids if one in state
        }  # fmt: skip

    def _redirect(self, rows: Any, ids: Any, reply_to: Any, *_: Any) -> None:
        moved = set()
        for request_id, queue in zip(ids, reply_to, strict=True):
            row = self.state.requests.get(request_id)
            if row is not None and not row.finished:
                row.reply_to = queue
                moved.add(request_id)
        assert {row["request_id"] for row in rows} == moved

    def _finish(
        self, rows: Any, me: UUID, ids: Any, attempts: Any, statuses: Any, responses: Any, codes: Any,
        sessions: Any, *_: Any,
    ) -> None:  # fmt: skip
        stored = set()
        for index, request_id in enumerate(ids):
            row = self.state.requests[request_id]
            if row.finished or row.attempt != attempts[index]:
                continue
            row.go("finish", statuses[index])
            row.response, row.error_code, row.worker = responses[index], codes[index], me
            row.due = None if row.due is None and row.line is None else False
            row.line = row.counted = None
            row.sessions += [sessions[index]] if sessions[index] else []
            stored.add((request_id, row.reply_to))
        assert {(row["request_id"], row["reply_to"]) for row in rows} == stored

    def _retry_later(
        self, rows: Any, ids: Any, attempts: Any, delays: Any, _workers: Any, kinds: Any, *_: Any
    ) -> None:
        moved = set()
        for request_id, attempt, delay, kind in zip(ids, attempts, delays, kinds, strict=True):
            row = self.state.requests[request_id]
            if not row.finished and row.attempt == attempt:
                row.lease, row.due, row.counted = None, delay == 0, None
                row.fail(kind)
                moved.add(request_id)
        assert {row["request_id"] for row in rows} == moved

    def _note_attempts(self, _: Any, ids: Any, attempts: Any, _workers: Any, kinds: Any, *_more: Any) -> None:
        for request_id, attempt, kind in zip(ids, attempts, kinds, strict=True):
            if self.state.requests[request_id].attempt == attempt:
                self.state.requests[request_id].fail(kind)

    def _next_due(self, rows: Any) -> None:
        put_off = [row.due for row in self.state.requests.values() if row.due is not None]
        seconds = rows[0]["seconds"]
        assert (seconds is None, seconds is not None and seconds <= 0) == (not put_off, any(put_off))

    def _take_due(self, rows: Any, lease: int, me: UUID, _seconds: Any, most: int, _late_ones: bool) -> None:
        requests, held = self.state.requests, self.state.leases.get(lease)
        mine = {
            one for one, row in requests.items()
            if held and held.worker == me and row.lease == lease and not row.published
        }  # fmt: skip
        due = {one for one, row in requests.items() if row.due}
        for one in [one for one in due if not (requests[one].finished or requests[one].late)]:
            row = requests[one]
            if self.why_waiting(row.org):
                row.line, row.begins, row.due = row.org, True, False if row.deadline else None
                due.remove(one)
        assert most - len(mine) >= len(due), "the model knows no order"
        if due and self.state.leases.setdefault(lease, Lease(me)).worker == me:
            self.state.leases[lease].due = False
            for one in due:
                row = requests[one]
                row.lease, row.due, row.line = lease, None, None
                if row.status == "pending":
                    row.go("take_due", "processing")
                    row.worker = me
            mine |= due
        self._compare_held(rows, {one for one in mine if not requests[one].published})

    def _heartbeat(
        self, _: Any, me: UUID, _host: Any, _pid: Any, _version: Any, _seconds: Any, busy: Any, *_me: Any
    ) -> None:
        for lease in busy:
            if lease in self.state.leases and self.state.leases[lease].worker == me:
                self.state.leases[lease].due = False

    def _sign_off(self, _: Any, me: UUID) -> None:
        for lease, held in self.state.leases.items():
            if held.worker == me:
                self.state.leases[lease] = Lease(None, due=True, spends_attempt=False)

    def _answer_later(self, rows: Any, ids: Any, _reasons: Any, *_: Any) -> None:
        put = set()
        for request_id in ids:
            row = self.state.requests[request_id]
            if row.finished and not row.published:
                row.waits = True
                put.add((request_id, True))
        assert {(row["request_id"], row["waits"]) for row in rows} == put

    def _take_over(self, rows: Any, me: UUID, _seconds: Any, _most: Any, silent: bool, busy: Any) -> None:
        taken = set()
        for lease, held in self.state.leases.items():
            if held.due and (held.worker is None or silent) and lease not in busy:
                taken.add((lease, held.worker is not None, held.spends_attempt))
                self.state.leases[lease] = Lease(me)
        assert {(row["id"], row["holder_silent"], row["spends_attempt"]) for row in rows} == taken

    def _held(self, rows: Any, leases: Any) -> None:
        self._compare_held(
            rows,
            {one for one, row in self.state.requests.items() if row.lease in leases and not row.published},
        )

    def _compare_held(self, rows: Any, expected: set[UUID]) -> None:
        def kinds(row: Row, *of: str) -> int:
            return sum(kind in of for _, kind in row.failed)

        found = {
            (row["request_id"], row["status"], row["attempt"], row["response"], row["attempt_over"],
             row["errors"], row["put_offs"], row["crashes"])
            for row in rows
        }  # fmt: skip
        assert found == {
            (one, row.status, row.attempt, row.response, row.attempt_over,
             kinds(row, "raised", "timeout"), kinds(row, "retry_later"), kinds(row, "worker_lost"))
            for one, row in self.state.requests.items() if one in expected
        }  # fmt: skip

    def _claim_again(
        self, rows: Any, me: UUID, ids: Any, attempts: Any, lease: int, _holders: Any, lost: Any, _reason: Any
    ) -> None:
        held = self.state.leases.get(lease)
        claimed = set()
        for request_id, attempt, gone in zip(ids, attempts, lost, strict=True):
            row = self.state.requests[request_id]
            if (
                held
                and held.worker == me
                and row.lease == lease
                and not row.finished
                and row.attempt == attempt
            ):
                row.fail("worker_lost" if gone else None)
                row.go("claim_again", "processing")
                row.worker = me
                claimed.add(request_id)
        assert {row["request_id"] for row in rows} == claimed

    def differences(self, found: State) -> list[str]:
        """Returns the places where the tables are not as they have to be."""
        told = []
        for name in ("requests", "leases"):
            wanted, there = getattr(self.state, name), getattr(found, name)
            for key in sorted(wanted.keys() | there.keys(), key=str):
                one, other = wanted.get(key), there.get(key)
                if one != other:
                    told.append(f"{name} {key}: is {other and asdict(other)}, not {one and asdict(one)}")
        return told

    def adopt(self, found: State) -> None:
        """Takes over the tables' state after steps at the same moment, whose order is unknown."""
        self.state = copy.deepcopy(found)


class WatchedDatabase(Database):
    """Compares every statement with what it has to do; a test can have answers lost on their way."""

    def __init__(self, url: str, expected: Expected) -> None:
        super().__init__(url, 2, None, Readiness(["postgres"]))
        self._expected = expected
        self.watched = True
        self.lose_answer: Callable[[], Awaitable[None]] | None = None
        self.answers_lost = 0

    async def once(self, query: str, *args: Any, **how: Any) -> list[asyncpg.Record]:
        rows = await super().once(query, *args, **how)
        if self.watched:
            self._expected.apply(query, args, rows)
        return rows

    async def call(self, query: str, *args: Any, **how: Any) -> list[asyncpg.Record]:
        meanwhile, self.lose_answer = self.lose_answer, None
        if meanwhile is not None:
            await super().call(query, *args, **how)  # committed, and nobody learns of it
            self.answers_lost += 1
            await meanwhile()
        return await super().call(query, *args, **how)
