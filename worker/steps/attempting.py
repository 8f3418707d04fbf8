"""Makes a further attempt at stored requests: they are opened, claimed, and go through the same pipeline."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from worker.errors import KilledItsReader, ReaderUnavailable, SealError
from worker.messages.began_at import began_at
from worker.messages.decoding import restore
from worker.messages.heaviness import is_heavy
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.monitoring.tracing import Tracing
from worker.postgres import database
from worker.postgres.alarm import Alarm
from worker.postgres.leases import Leases
from worker.postgres.rows import WORKER_LOST, Claim, Held, stored_answer
from worker.postgres.store import Store
from worker.rabbitmq import intake, publisher
from worker.reading.reader import Reader
from worker.steps.answering import Answering
from worker.steps.creating import Creation
from worker.steps.finishing import Finishing
from worker.steps.pipeline import Pipeline
from worker.steps.slots import Line, Slots
from worker.steps.verdicts import exhausted, refused
from worker.values import Beginning, Failure, Path, PutOff, Requested, Verdict, Work

NEEDED = (database.PART, intake.PART, publisher.PART)  # a full response queue is no reason to wait
# A request that killed its worker may do so again: the more often it did, the fewer share its next attempt.
_GROUP_BY_CRASHES = {0: 128, 1: 32, 2: 4}
_UNREADABLE_SECONDS = 30  # until a request that cannot be opened is looked at again
_ANSWERS_AT_ONCE = 128
_log = structlog.get_logger(__name__)


class Opened(NamedTuple):
    """A request that can be tried again."""

    work: Work
    holder: UUID | None
    lost: bool  # the current attempt ended with its worker, and that is not on record yet
    spent: bool  # the current attempt is over: the next one has its own number

    @property
    def crashes(self) -> int:
        return self.work.tried.crashes + self.lost

    @property
    def claim(self) -> Claim:
        return Claim(
            request_id=self.work.request_id, attempt=self.work.attempt, holder=self.holder, lost=self.lost
        )


class Attempting:
    """Makes a new attempt at requests that this worker holds a lease on."""

    def __init__(
        self,
        store: Store,
        leases: Leases,
        keys: SealKeys,
        pipeline: Pipeline,
        creation: Creation,
        finishing: Finishing,
        answering: Answering,
        max_attempts: int,
        reader: Reader,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._store = store
        self._leases = leases
        self._keys = keys
        self._pipeline = pipeline
        self._creation = creation
        self._finishing = finishing
        self._answering = answering
        self._max_attempts = max_attempts
        self._reader = reader
        self._metrics = metrics
        self._tracing = tracing

    async def answer_again(self, held: Sequence[Held]) -> None:
        """Answer finished requests from the record."""
        for start in range(0, len(held), _ANSWERS_AT_ONCE):
            some = held[start : start + _ANSWERS_AT_ONCE]
            await self._answering.answer([stored_answer(row, since=_since(row)) for row in some])

    async def open(
        self, held: Sequence[Held], lease: int, path: Path, *, lost: bool, spent: bool
    ) -> list[Opened]:
        """Open unfinished requests; returns those that can be tried again. One that is too late gets its
        verdict now. One whose secrets no key at hand opens waits for the key, and one that a newer version
        stored waits for a worker of that version: they spend no attempt, and hold up no other.

        `lost`: their worker went silent. `spent`: their attempt is over, even if no reason is noted.
        """
        opened: list[Opened] = []
        others: list[Verdict] = []
        now = datetime.now(UTC)
        for row in held:
            gone = lost and not row.attempt_over
            self._tracing.remember(row.request_id, row.route.traceparent)
            try:
                work = _work(row, *await self._restore(row), path)
            except KilledItsReader as error:
                work = _work(row, None, None, path)
                others.append(exhausted(work, WORKER_LOST._replace(reason=str(error)), work.tried, now))
            except (SealError, ReaderUnavailable, ValueError) as error:
                # No message of pydantic's: it may quote what was sent.
                reason = "this version cannot read it" if isinstance(error, ValueError) else str(error)
                self._metrics.unopened.inc()
                _log.error("request.cannot_be_opened", request_id=str(row.request_id), reason=reason)
                work = _work(row, None, None, path)
                why = _lost_with(row.worker) if gone else None
                others.append(refused(work, now) or PutOff(work, _UNREADABLE_SECONDS, reason, why))
            else:
                # A request that was refused when it came gets its verdict from the pipeline.
                # By the clock of Postgres, which has woken it, or by this one's.
                by_now = max(now, row.deadline_at) if row.late and row.deadline_at else now
                late = None if work.refusal else refused(work, by_now)
                if late:
                    others.append(late._replace(failure=_lost_with(row.worker)) if gone else late)
                else:
                    opened.append(Opened(work, row.worker, gone, spent or row.attempt_over))
        if others:
            await self._answering.answer(await self._finishing.finish(others, lease))
        return opened

    async def _restore(self, row: Held) -> tuple[Requested | None, str | None]:
        """Restore a stored request. A large one is read in the process for that, as when it came."""
        if row.body is None:
            return None, None
        if is_heavy(row.body.encode()):
            return await self._reader.restore(row.body, row.request_id)
        await asyncio.sleep(0)  # others have their turn between two
        return restore(row.body, row.request_id, self._keys)

    async def begin(self, opened: Sequence[Opened], lease: int) -> list[Work]:
        """Claim the next attempt; returns those that are this worker's now."""
        claims = [one.claim for one in opened if one.spent]
        claimed = await self._store.claim_again(claims, lease) if claims else set()
        works = []
        for one in opened:
            if not one.spent:
                works.append(one.work)
            elif one.work.request_id in claimed:
                tried = one.work.tried
                if one.lost:
                    tried = tried.and_(WORKER_LOST.kind, datetime.now(UTC))
                works.append(one.work._replace(attempt=one.work.attempt + 1, tried=tried))
                _log.info(
                    "request.processing", request_id=str(one.work.request_id), attempt=works[-1].attempt,
                    org_id=one.work.org_id,
                )  # fmt: skip
        missing = {claim.request_id for claim in claims} - claimed
        if missing:
            await self._answer_for_holder(missing, lease)
        return works

    async def in_groups(self, opened: Sequence[Opened], lease: int, line: Line) -> int:
        """Try these as slots come free, the more often they ended with their worker the fewer at once.
        Returns how many were tried.
        """
        tried = 0
        rest = sorted(opened, key=lambda one: one.crashes)
        while rest:
            crashes = rest[0].crashes
            alike = sum(one.crashes == crashes for one in rest)
            with await self._creation.reserve(min(alike, _GROUP_BY_CRASHES.get(crashes, 1)), line) as slots:
                group, rest = rest[: slots.count], rest[slots.count :]
                tried += await self.work(group, lease, slots)
        return tried

    async def work(
        self, opened: Sequence[Opened], lease: int, slots: Slots, done: Alarm | None = None
    ) -> int:
        """Try these in the slots that are reserved for them; returns how many were tried. `done` rings when
        some have ended: others may begin then.
        """
        works = await self.begin(opened, lease)
        slots.keep(min(slots.count, len(works)))

        async def settle(_request_ids: Sequence[UUID]) -> None:
            """Tell the broker nothing: it was told before, and Postgres owns these requests."""
            if done:
                done.set(0)

        await self._pipeline.work(works, lease, slots, settle)
        return len(works)

    async def give_up(self, opened: Sequence[Opened], lease: int) -> list[Opened]:
        """Fail those that have ended their worker too often. Returns the others."""
        spent = [one for one in opened if one.lost and one.crashes >= self._max_attempts]
        if spent:
            now = datetime.now(UTC)
            verdicts = [
                exhausted(one.work, _lost_with(one.holder), one.work.tried.and_(WORKER_LOST.kind, now), now)
                for one in spent
            ]
            await self._answering.answer(await self._finishing.finish(verdicts, lease))
        return [one for one in opened if one not in spent]

    async def put_back(self, opened: Sequence[Opened], lease: int) -> None:
        """Put those back that may not begin now: what was lost is noted, and they join the line of their
        organisation.
        """
        if opened:
            later: list[Verdict] = [
                PutOff(one.work, 0, "it has to wait in line", _lost_with(one.holder) if one.lost else None)
                for one in opened
            ]
            await self._answering.answer(await self._finishing.finish(later, lease))

    async def _answer_for_holder(self, request_ids: Collection[UUID], lease: int) -> None:
        """Answer what the former holder finished in the moment of the take-over: that worker may be gone."""
        held = await self._leases.held(lease)
        await self.answer_again(
            [row for row in held if row.request_id in request_ids and row.response is not None]
        )


def _lost_with(worker: UUID | None) -> Failure:
    return WORKER_LOST._replace(worker=worker)


def _since(row: Held) -> Beginning:
    return Beginning(row.received_at.timestamp(), "recovered")


def _work(row: Held, request: Requested | None, document: str | None, path: Path) -> Work:
    return Work(
        request_id=row.request_id,
        attempt=row.attempt,
        session_id=row.session_id,
        org_id=row.org_id,
        user_id=row.user_id,
        document=document,
        request=request,
        refusal=row.refusal,
        deadline_at=row.deadline_at,
        route=row.route,
        since=Beginning(
            began_at(request.timestamp if request else None, None, row.received_at.timestamp()), path
        ),
        tried=row.tried,
    )
