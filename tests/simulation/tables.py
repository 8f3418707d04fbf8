"""Stands in for Postgres: the statements of a worker, each at once and as a whole, over plain rows.

It knows what the simulated parts call, and not the rest: no limits, and no pauses but those of an
organisation or of all. `test_fidelity.py` holds it against the real one by one script.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from simulation.answer_statements import AnswerStatements
from simulation.rows import Failed, Request
from simulation.table_rows import ALL, LOOKED_AT_LATER, Rows
from support.faults.store_model import Lease as SeenLease
from support.faults.store_model import State


class Tables(AnswerStatements):
    """Carries statements out: a method without an underscore is one of `queries.sql`, with its arguments."""

    def run(self, query: str, args: Sequence[Any]) -> Rows:
        """Carry a statement out, as a whole or not at all, and return its rows."""
        self.now = self._clock()
        statement: Callable[..., Rows] = getattr(self, query)
        return statement(*args)

    def state(self) -> State:
        """Return what there is, as the model of the store has it."""
        now = self.now = self._clock()
        return State(
            requests={one: row.seen(now, self.confirmed) for one, row in self.requests.items()},
            leases={
                one: SeenLease(lease.worker, lease.until < now, lease.spends_attempt)
                for one, lease in self.leases.items()
            },
        )

    def all_is_safe(self) -> Rows:
        return []

    def accept(self, lease: int, me: UUID, seconds: float, ids: list[UUID], *columns: list[Any]) -> Rows:
        self._refuse_unstorable(columns[3])
        *columns_of_each, confirmed = columns
        released = self._release([], confirmed, me)
        held = self._hold(lease, me, seconds)
        begun = []
        for request_id, *values in zip(ids, *columns_of_each, strict=True) if held else ():
            if request_id not in self.requests:
                row = self.requests[request_id] = Request(self.now, request_id, *values)
                row.go("accept", "pending", me)
                row.go("accept", "processing", me)
                row.lease = lease
                begun.append(request_id)
        return [{"begun": begun, "held": held, "released": released}]

    def note(self, published: list[UUID], done: list[int], me: UUID, confirmed: list[int]) -> Rows:
        self._publish(published)
        return [{"released": self._release(done, confirmed, me)}]

    def known(self, ids: list[UUID]) -> Rows:
        rows = [self.requests[one] for one in ids if one in self.requests]
        return [{**vars(row), "published": row.is_published(self.confirmed)} for row in rows]

    def to_cancel(self, ids: list[UUID]) -> Rows:
        return [{**row, "casefile_id": None} for row in self.known(ids)]

    def begin_pending(self, me: UUID, ids: list[UUID]) -> Rows:
        for one in ids:
            if (row := self.requests.get(one)) and row.status == "pending":
                row.go("begin_pending", "processing", me)
                row.leave_line()
                row.due_at = self.now + LOOKED_AT_LATER
        return []

    def redirect(self, ids: list[UUID], *columns: list[str | None]) -> Rows:
        moved = []
        for one, *route in zip(ids, *columns, strict=True):
            if (row := self.requests.get(one)) and not row.finished:
                row.reply_to, row.correlation_id, row.traceparent = route
                moved.append({"request_id": one})
        return moved

    def finish(
        self, me: UUID, ids: list[UUID], attempts: list[int], statuses: list[str], responses: list[str],
        codes: list[str | None], sessions: list[str | None], *_: list[Any],
    ) -> Rows:  # fmt: skip
        given = list(zip(ids, attempts, statuses, responses, codes, sessions, strict=True))
        stored = [one for one in given if self._current(one[0], one[1])]
        made = {session: one for one, *_, session in stored if session is not None}
        if made.keys() & self.sessions.keys():
            raise asyncpg.UniqueViolationError("a session with this id is there")
        self.sessions |= made
        rows = []
        for one, attempt, status, response, code, session in stored:
            row = self.requests[one]
            assert row.attempt == attempt, (
                f"the verdict of attempt {attempt} is stored as that of {row.attempt}"
            )
            row.go("finish", status, me)
            row.response, row.error_code, row.finished_at = response, code, self.now
            put_off = row.due_at is not None or row.waits_in is not None
            row.due_at = self.now + LOOKED_AT_LATER if put_off else None
            row.leave_line()
            row.sessions += [session] if session is not None else []
            rows.append(vars(row).copy())
        return rows

    def retry_later(
        self, ids: list[UUID], attempts: list[int], delays: list[float], workers: list[UUID | None],
        kinds: list[str | None], *_: list[Any],
    ) -> Rows:  # fmt: skip
        moved = []
        for one, attempt, delay, worker, kind in zip(ids, attempts, delays, workers, kinds, strict=True):
            if row := self._current(one, attempt):
                row.lease, row.due_at = None, self._in(delay)
                if kind is not None:
                    row.fail(attempt, Failed(worker, kind, self.now))
                moved.append({"request_id": one})
        return moved

    def note_attempts(
        self, ids: list[UUID], attempts: list[int], workers: list[UUID | None], kinds: list[str],
        *_: list[Any],
    ) -> Rows:  # fmt: skip
        given = list(zip(ids, attempts, workers, kinds, strict=True))
        noted = [one for one in given if (row := self.requests.get(one[0])) and row.attempt == one[1]]
        if any(attempt < 1 for _, attempt, *_ in noted):
            raise asyncpg.CheckViolationError("no attempt was begun")
        for one, attempt, worker, kind in noted:
            self.requests[one].fail(attempt, Failed(worker, kind, self.now))
        return []

    def next_due(self) -> Rows:
        due = [row.due_at for row in self.requests.values() if row.due_at is not None]
        return [{"seconds": (min(due) - self.now).total_seconds() if due else None}]

    def due_now(self, _most: int) -> Rows:
        due = [row.due_at for row in self.requests.values() if row.due_at and row.due_at <= self.now]
        return [
            {"due": len(due), "overdue": max(((self.now - at).total_seconds() for at in due), default=0.0)}
        ]

    def take_due(self, lease: int, me: UUID, seconds: float, most: int, late_ones: bool) -> Rows:
        held = self.leases.get(lease)
        mine = self._under(lease) if held and held.worker == me else []

        def late(row: Request) -> bool:
            return row.deadline_at is not None and row.deadline_at <= self.now

        due = [
            row
            for row in self.requests.values()
            if row.due_at and row.due_at <= self.now and (not late_ones or late(row) or row.finished)
        ]
        due = sorted(due, key=lambda row: str(row.due_at))[: max(0, most - len(mine))]
        lined = [row for row in due if not (row.finished or late(row)) and self._is_paused(row.org_id)]
        for row in lined:
            row.join_line("paused", self.now)
        due = [row for row in due if row not in lined]
        if due and self._hold(lease, me, seconds):
            for row in due:
                self._claim(row, lease, me, "take_due")
            mine += [row for row in due if row.published_at is None]
        return [row.held(self.now) for row in mine]

    def _claim(self, row: Request, lease: int, me: UUID, statement: str) -> None:
        if row.status == "pending":
            row.go(statement, "processing", me)
        row.lease, row.due_at = lease, None
        row.leave_line()

    def wait(self, ids: list[UUID], *columns: list[Any]) -> Rows:
        *of_requests, reasons, moments = columns
        self._refuse_unstorable(of_requests[3])
        joined = []
        for one, reason, not_before, *values in zip(ids, reasons, moments, *of_requests, strict=True):
            if one not in self.requests:
                row = self.requests[one] = Request(self.now, one, *values)
                row.go("wait", "pending", None)
                row.join_line(reason, not_before or self.now)
                joined.append(one)
        return [{"waiting": joined}]

    def claim_waiting(self, lease: int, me: UUID, seconds: float, most: int) -> Rows:
        if lease in self.leases and self.leases[lease].worker != me:
            return []
        if mine := self._under(lease):
            return [row.held(self.now) for row in mine]
        found = [row for row in self._may_begin() if not self._is_paused(row.waits_in)][:most]
        if found and self._hold(lease, me, seconds):
            for row in found:
                self._claim(row, lease, me, "claim_waiting")
        return [row.held(self.now) for row in found]

    def next_in_line(self) -> Rows:
        moments = [
            row.begins_at
            for row in self.requests.values()
            if row.waits_in is not None and row.begins_at and not self._is_paused(row.waits_in)
        ]
        seconds = (min(moments) - self.now).total_seconds() if moments else None
        return [{"seconds": None if seconds is None else max(0.0, seconds)}]

    def lines_awake(self, _most: int) -> Rows:
        lines = [row.waits_in for row in self._may_begin() if not self._is_paused(row.waits_in)]
        return [{"org_id": org} for org in dict.fromkeys(lines)]

    def count_waiting(self, most: int) -> Rows:
        waiting = [row for row in self.requests.values() if row.waits_in is not None]
        counted = len(waiting[:most])
        return [{"reason": "over_share", "waiting": counted, "oldest_seconds": 0.0}] if waiting else []

    def rules_edition(self) -> Rows:
        awake = bool(self.lines_awake(1))
        return [{"version": self.edition, "pauses": len(self.paused), "any_in_line": awake}]

    def rules(self) -> Rows:
        place = {"reason": "a test", "paused_by": "me", "paused_at": self.now, "ends_at": None}
        return [
            {
                "kind": "pause",
                "scope": "all" if org == ALL else "org",
                "name": "" if org == ALL else org,
                **place,
            }
            for org in sorted(self.paused)
        ]

    def pause(self, org: str) -> None:
        """Let nothing of an organisation begin, or of all."""
        self.paused.add(org)
        self.edition += 1

    def resume(self, org: str) -> None:
        self.paused.discard(org)
        self.edition += 1

    def register(self, me: UUID, *_: Any) -> Rows:
        self.numbers += 1
        self.workers.setdefault(me, self.numbers)
        return [{"number": self.workers[me], "heartbeat": self.now}]

    def heartbeat(
        self, me: UUID, _host: str, _pid: int, _version: str, seconds: float, busy: list[int], *_: Any
    ) -> Rows:
        for lease in busy:
            if lease in self.leases and self.leases[lease].worker == me:
                self._hold(lease, me, seconds)
        return [{"heartbeat": self.now}]

    def sign_off(self, me: UUID) -> Rows:
        self.workers.pop(me, None)
        for lease in self.leases.values():
            if lease.worker == me:
                lease.worker, lease.until, lease.spends_attempt = None, self.now, False
        return []

    def take_over(
        self, me: UUID, seconds: float, most: int, last_beat: datetime | None, own: list[int]
    ) -> Rows:
        judges = last_beat is not None and self.now < last_beat + timedelta(seconds=seconds / 2)
        due = sorted(
            (one for one, lease in self.leases.items()
             if lease.until < self.now and (lease.worker is None or judges) and one not in own),
            key=lambda one: (self.leases[one].until, one),
        )[:most]  # fmt: skip
        taken = []
        for one in due:
            lease = self.leases[one]
            taken.append({
                "id": one, "holder_silent": lease.worker is not None, "spends_attempt": lease.spends_attempt,
            })  # fmt: skip
            lease.worker, lease.until, lease.spends_attempt = me, self._in(seconds), True
        return taken

    def held(self, leases: list[int]) -> Rows:
        return [row.held(self.now) for one in leases for row in self._under(one)]

    def claim_again(
        self, me: UUID, ids: list[UUID], attempts: list[int], lease: int, holders: list[UUID | None],
        lost: list[bool], _reason: str,
    ) -> Rows:  # fmt: skip
        held = self.leases.get(lease)
        if held is None or held.worker != me:
            return []
        claimed = []
        for one, attempt, holder, gone in zip(ids, attempts, holders, lost, strict=True):
            row = self.requests.get(one)
            if row and not row.finished and row.attempt == attempt and row.lease == lease:
                assert attempt > 0, "nothing that waits is under a lease"
                row.go("claim_again", "processing", me)
                if gone:
                    row.fail(attempt, Failed(holder, "worker_lost", self.now))
                claimed.append({"request_id": one})
        return claimed
