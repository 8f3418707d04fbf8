"""What the tables of the stand-in for Postgres hold. The steps of a request are those of `worker/law.py`."""

from collections.abc import Container
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from support.faults import store_model

from worker import law
from worker.rules import NO_ORG


class Failed(NamedTuple):
    """A row of `attempts`."""

    worker: UUID | None
    kind: str
    at: datetime


@dataclass
class Request:
    """A row of `requests`, and what the other tables hold of it."""

    received_at: datetime
    request_id: UUID
    org_id: str | None
    user_id: str | None
    fingerprint: bytes
    body: str | None
    refusal: str | None
    session_id: str
    reply_to: str | None
    correlation_id: str | None
    traceparent: str | None
    deadline_at: datetime | None
    status: str = law.BEGIN
    attempt: int = 0
    worker: UUID | None = None
    lease: int | None = None
    response: str | None = None
    error_code: str | None = None
    finished_at: datetime | None = None
    published_at: datetime | None = None
    due_at: datetime | None = None
    waits_in: str | None = None
    waits_for: str | None = None
    begins_at: datetime | None = None
    answer_at: datetime | None = None
    answer_way: str | None = None
    undelivered: str | None = None
    failed: dict[int, Failed] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)
    history: list[tuple[str, int, UUID | None]] = field(default_factory=list)

    def go(self, statement: str, after: str, worker: UUID | None) -> None:
        """Take the step that the law has for this statement."""
        legal = [step for step in law.steps_from(self.status, statement) if step.after == after]
        assert legal, f"{statement} takes no step from {self.status} to {after}"
        self.status, self.attempt, self.worker = after, self.attempt + legal[0].attempts, worker
        self.history.append((after, self.attempt, worker))

    @property
    def finished(self) -> bool:
        return self.status in law.FINISHED

    def fail(self, attempt: int, failed: Failed) -> None:
        """Note why an attempt came to nothing; what is noted first stays."""
        self.failed.setdefault(attempt, failed)

    def join_line(self, reason: str, begins_at: datetime) -> None:
        self.waits_in, self.waits_for, self.begins_at = self.org_id or NO_ORG, reason, begins_at
        self.due_at = self.deadline_at

    def leave_line(self) -> None:
        self.waits_in = self.waits_for = None

    def is_published(self, confirmed: Container[int | None]) -> bool:
        """Return whether the row says it, or its batch is among these."""
        follows = self.answer_at is None and self.undelivered is None
        return self.published_at is not None or (follows and self.lease in confirmed)

    def deliver(self, now: datetime, *, by_its_batch: bool) -> None:
        """Note that the response is confirmed, where its batch does not say so."""
        unsaid = self.published_at is None and (self.undelivered is not None or not by_its_batch)
        if self.finished and (self.answer_at is not None or unsaid):
            self.published_at = self.published_at or now
            self.due_at = self.answer_at = self.undelivered = None

    def held(self, now: datetime) -> dict[str, Any]:
        """Return what an attempt needs to know."""
        errors = [one.at for one in self.failed.values() if one.kind in ("raised", "timeout")]
        kinds = [one.kind for one in self.failed.values()]
        return {
            **vars(self),
            "late": self.deadline_at is not None and self.deadline_at <= now,
            "errors": len(errors),
            "put_offs": kinds.count("retry_later"),
            "crashes": kinds.count("worker_lost"),
            "since": min(errors, default=None),
            "attempt_over": self.attempt in self.failed,
        }

    def seen(self, now: datetime, confirmed: Container[int | None]) -> store_model.Row:
        """Return it as the model of the store has it, which is compared with what is in Postgres."""
        return store_model.Row(
            fingerprint=self.fingerprint,
            session_id=self.session_id,
            worker=self.worker,
            lease=self.lease,
            org=self.org_id or "",
            reply_to=self.reply_to,
            status=self.status,
            attempt=self.attempt,
            response=self.response,
            error_code=self.error_code,
            published=self.is_published(confirmed),
            waits=self.answer_at is not None,
            due=None if self.due_at is None else self.due_at <= now,
            line=self.waits_in,
            begins=None if self.begins_at is None else self.begins_at <= now,
            deadline=self.deadline_at is not None,
            late=self.deadline_at is not None and self.deadline_at <= now,
            failed=[(attempt, self.failed[attempt].kind) for attempt in sorted(self.failed)],
            sessions=sorted(self.sessions),
            history=[(status, attempt) for status, attempt, _ in self.history],
        )

    def copied(self) -> "Request":
        return replace(
            self, failed=dict(self.failed), sessions=list(self.sessions), history=list(self.history)
        )


@dataclass
class Lease:
    """A row of `leases`."""

    worker: UUID | None
    until: datetime
    spends_attempt: bool = True


@dataclass
class OtherAnswer:
    """A row of `other_answers`."""

    row: dict[str, Any]
    answer_at: datetime
