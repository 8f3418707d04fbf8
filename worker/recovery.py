"""Requests whose lease ran out: a worker died, a retry is due, or a response found no queue."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog

from worker import database, intake, publisher
from worker.answering import Answering
from worker.beginning import Beginning, Path, began_at
from worker.creator import Creation, exhausted, refused
from worker.envelope import restore
from worker.errors import SealError
from worker.finishing import Finishing
from worker.heartbeat import Heartbeat
from worker.metrics import Metrics
from worker.outcome import Answer, RetryLater, Verdict, Work
from worker.pipeline import Pipeline
from worker.readiness import Readiness
from worker.seal import SealKeys
from worker.store import Held, Store, TakenOver

_LEASES_AT_ONCE = 64
_NEEDED = (database.PART, intake.PART, publisher.PART)  # a full response queue is no reason to wait
# Whatever killed its worker may do so again: the more often, the fewer requests share its next attempt.
_GROUP_BY_ATTEMPT = {1: 128, 2: 32, 3: 4}
_SHUT_SECONDS = 30  # until a request that no key opens is looked at again
_log = structlog.get_logger(__name__)


class Recovery:
    """Takes over leases that are due and runs what they hold through the same pipeline."""

    def __init__(
        self,
        store: Store,
        keys: SealKeys,
        pipeline: Pipeline,
        creation: Creation,
        finishing: Finishing,
        answering: Answering,
        heartbeat: Heartbeat,
        readiness: Readiness,
        metrics: Metrics,
        max_attempts: int,
    ) -> None:
        self._store = store
        self._keys = keys
        self._pipeline = pipeline
        self._creation = creation
        self._finishing = finishing
        self._answering = answering
        self._heartbeat = heartbeat
        self._readiness = readiness
        self._metrics = metrics
        self._max_attempts = max_attempts
        self._suspects = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def run_once(self) -> None:
        """One look for leases that are due. What they hold is worked on beside this loop."""
        if not self._readiness.are_up(*_NEEDED) or len(self._running) >= _LEASES_AT_ONCE:
            return
        due = await self._store.take_over(
            _LEASES_AT_ONCE - len(self._running), from_silent_holders=self._heartbeat.steady
        )
        for taken in due:
            task = asyncio.create_task(self._recover(taken))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait for what is being worked on."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def _recover(self, taken: TakenOver) -> None:
        try:
            held = await self._store.held(taken.lease)
            _log.info(
                "lease.taken_over", lease=taken.lease, requests=len(held),
                holder_silent=taken.holder_silent, new_attempt=taken.spends_attempt,
            )  # fmt: skip
            await self._answer_again([row for row in held if row.response is not None])
            unfinished = [row for row in held if row.response is None]
            if taken.holder_silent:
                async with self._suspects:  # one group at a time: a request that kills takes few with it
                    await self._try_again(unfinished, taken)
            else:
                await self._try_again(unfinished, taken)
        except Exception:  # noqa: BLE001 — logged with its traceback; the lease runs out again
            _log.exception("recovery.failed", lease=taken.lease)
            self._store.abandon(taken.lease)
        except BaseException:
            self._store.abandon(taken.lease)
            raise
        else:
            self._store.note_done(taken.lease)

    async def _answer_again(self, held: Sequence[Held]) -> None:
        self._metrics.recovered.labels("answered").inc(len(held))
        for start in range(0, len(held), 128):
            await self._answering.answer([_answer(row) for row in held[start : start + 128]])

    async def _try_again(self, held: Sequence[Held], taken: TakenOver) -> None:
        # One that nobody held was put off, or given back by a worker that stopped.
        path: Path = "recovered" if taken.holder_silent or not taken.spends_attempt else "retried"
        opened = await self._without_the_shut(held, path)
        spent = [work for work in opened if taken.spends_attempt and work.attempt >= self._max_attempts]
        if spent:
            reason = "the worker stopped each time" if taken.holder_silent else ""
            verdicts = [exhausted(work, reason) for work in spent]
            await self._answering.answer(await self._finishing.finish(verdicts, taken.lease))
            self._metrics.recovered.labels("exhausted").inc(len(spent))
        rest = [work for work in opened if not taken.spends_attempt or work.attempt < self._max_attempts]
        while rest:
            next_attempt = rest[0].attempt + (1 if taken.spends_attempt else 0)
            room = await self._creation.room(_GROUP_BY_ATTEMPT.get(next_attempt, 1))
            group, rest = rest[:room], rest[room:]
            works = []
            try:
                works = await self._claim(group, taken)
            finally:
                self._creation.give_back(room - len(works))
            await self._pipeline.work(works, taken.lease, _nothing_to_settle)
            self._metrics.recovered.labels("tried_again").inc(len(works))
            missing = {work.request_id for work in group} - {work.request_id for work in works}
            if missing:
                await self._answer_for_holder(missing, taken.lease)

    async def _without_the_shut(self, held: Sequence[Held], path: Path) -> list[Work]:
        """Requests whose secrets no key at hand opens wait for the key, and those that a newer version stored
        for a worker of that version. They spend no attempt, and hold up no other.
        """
        opened: list[Work] = []
        shut: list[Verdict] = []
        now = datetime.now(UTC)
        for row in held:
            try:
                opened.append(_work(row, self._keys, path))
            except (SealError, ValueError) as error:  # no message of pydantic's: it may quote what was sent
                reason = str(error) if isinstance(error, SealError) else "this version cannot read it"
                _log.error("request.cannot_be_opened", request_id=str(row.request_id), reason=reason)
                work = _work(row._replace(body=None), self._keys, path)
                shut.append(refused(work, now) or RetryLater(work, _SHUT_SECONDS, reason))
        if shut:
            await self._answering.answer(await self._finishing.finish(shut, 0))
        return opened

    async def _answer_for_holder(self, request_ids: Collection[UUID], lease: int) -> None:
        """What the former holder finished in the moment of the take-over: it may be gone by now."""
        held = await self._store.held(lease)
        await self._answer_again(
            [row for row in held if row.request_id in request_ids and row.response is not None]
        )

    async def _claim(self, group: Sequence[Work], taken: TakenOver) -> list[Work]:
        if not taken.spends_attempt:
            return list(group)
        claims = [(work.request_id, work.attempt) for work in group]
        claimed = await self._store.claim_again(claims, taken.lease)
        works = [work._replace(attempt=work.attempt + 1) for work in group if work.request_id in claimed]
        for work in works:
            _log.info(
                "request.processing",
                request_id=str(work.request_id),
                attempt=work.attempt,
                org_id=work.org_id,
            )
        return works


def _answer(row: Held) -> Answer:
    assert row.response is not None  # noqa: S101 — asked of finished rows only
    since = Beginning(row.received_at.timestamp(), "recovered")
    return Answer(
        row.request_id, row.status, row.error_code, row.response, str(row.request_id), row.route, since
    )


def _work(row: Held, keys: SealKeys, path: Path) -> Work:
    request, document = (None, None) if row.body is None else restore(row.body, row.request_id, keys)
    return Work(
        row.request_id, row.attempt, row.session_id, row.org_id, row.user_id, document, request, row.refusal,
        row.deadline_at, row.route,
        Beginning(began_at(request.timestamp if request else None, None, row.received_at.timestamp()), path),
    )  # fmt: skip


async def _nothing_to_settle(_request_ids: Sequence[UUID]) -> None:
    """The broker has been told before: Postgres owns what is recovered."""
