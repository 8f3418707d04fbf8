"""Step 5 of a batch: verdicts become rows, and stored rows become answers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from time import time
from typing import NamedTuple
from uuid import UUID

import structlog

from schemas import FailureCode
from worker.errors import NotStorable
from worker.monitoring.log import info_each
from worker.monitoring.metrics import Metrics
from worker.postgres.put_off import PutOffLine
from worker.postgres.rows import WORKER_LOST, Known, stored_answer
from worker.postgres.store import Store
from worker.process.pace import rest
from worker.steps.halving import in_halves
from worker.steps.verdicts import failed
from worker.values import Answer, Completed, Failed, PutOff, Refusal, Route, Verdict, Work

_log = structlog.get_logger(__name__)


class _Stored(NamedTuple):
    verdict: Completed | Failed
    route: Route


class Finishing:
    """Stores verdicts."""

    def __init__(self, store: Store, put_off: PutOffLine, metrics: Metrics) -> None:
        self._store = store
        self._line = put_off
        self._metrics = metrics

    async def finish(
        self, verdicts: Sequence[Verdict], lease: int, begun: float | None = None
    ) -> list[Answer]:
        """Store these verdicts; returns the answers to those that were stored.

        `begun`: when the attempts began, in seconds since 1970; None: there was none.
        """
        final: list[Completed | Failed] = []
        later: list[PutOff] = []
        for verdict in verdicts:
            match verdict:
                case PutOff():
                    later.append(verdict)
                case Completed() | Failed():
                    final.append(verdict)
        answers = await self._put_off(later, lease) if later else []
        if not final:
            return answers
        seen, lost = _noted(final)
        # A failure that this worker saw is noted first, so that it is not lost if the worker ends here. One
        # that was lost with another worker is noted only after the verdict: that worker might finish it at
        # this moment.
        if seen:
            await self._line.note_attempts(seen)
        stored = await self._write(final)
        if lost := [verdict for verdict in lost if verdict.work.request_id in stored]:
            await self._line.note_attempts(lost)
        answers += await self._answers(stored.values(), lease, begun)
        if len(stored) < len(final):
            missing = [verdict for verdict in final if verdict.work.request_id not in stored]
            answers += await self._fenced_off(missing, lease, begun)
        return answers

    async def finish_current(self, verdicts: Sequence[Failed]) -> list[Answer]:
        """Do the same for requests that others may work on: one that has moved on since is left alone."""
        return await self._answers((await self._write(verdicts)).values(), None, None)

    async def _write(self, verdicts: Sequence[Completed | Failed]) -> dict[UUID, _Stored]:
        """Store them; returns those that were stored. One that Postgres refuses fails instead."""

        async def write(some: Sequence[Completed | Failed]) -> dict[UUID, _Stored]:
            by_id = {verdict.work.request_id: verdict for verdict in some}
            routes = await self._store.finish(some)
            return {request_id: _Stored(by_id[request_id], route) for request_id, route in routes.items()}

        return await in_halves(verdicts, write, _refused_by_postgres)

    async def _fenced_off(
        self, verdicts: Sequence[Completed | Failed], lease: int, begun: float | None
    ) -> list[Answer]:
        """Answer for rows that did not take their verdict. Either a try whose reply was lost has stored it
        before; or someone finished the request while this worker still held it; or another worker claimed
        it, and owns it now.
        """
        rows = {
            row.request_id: row
            for row in await self._store.known([item.work.request_id for item in verdicts])
        }
        answers = []
        for verdict in verdicts:
            row = rows.get(verdict.work.request_id)
            if row is not None and row.finished and row.response == verdict.response:
                answers += await self._answers([_Stored(verdict, row.route)], lease, begun)
            elif row is not None and _still_held(row, verdict.work, lease):
                answers.append(stored_answer(row, since=verdict.work.since))
            else:
                self._metrics.lost_fences.inc()
                _log.warning(
                    "request.lost", request_id=str(verdict.work.request_id), attempt=verdict.work.attempt,
                    org_id=verdict.work.org_id, reason="another worker has claimed it since",
                )  # fmt: skip
        return answers

    async def _put_off(self, retries: Sequence[PutOff], lease: int) -> list[Answer]:
        """Put these off. Returns the answers to those that somebody finished while this worker held them."""
        moved = await self._line.retry_later(retries)
        self._metrics.retries.inc(len(moved))
        for retry in retries:
            if retry.work.request_id in moved:
                _log.info(
                    "request.retry", request_id=str(retry.work.request_id), attempt=retry.work.attempt,
                    org_id=retry.work.org_id, again_in_seconds=round(retry.delay_seconds, 3),
                    reason=retry.reason,
                )  # fmt: skip
        rest = {retry.work.request_id: retry.work for retry in retries if retry.work.request_id not in moved}
        rows = await self._store.known(list(rest)) if rest else []
        return [
            stored_answer(row, since=rest[row.request_id].since)
            for row in rows
            if _still_held(row, rest[row.request_id], lease)
        ]

    async def _answers(
        self, stored: Iterable[_Stored], lease: int | None, begun: float | None
    ) -> list[Answer]:
        took_ms = None if begun is None else int((time() - begun) * 1000)
        answers: list[Answer] = []
        events: list[dict[str, object]] = []
        for one in stored:
            await rest()
            answers.append(_answer(one, lease))
            events.append(_event(answers[-1], one.verdict, begun, took_ms))
        info_each(_log, events)
        for ending, count in Counter((answer.status, answer.code) for answer in answers).items():
            self._metrics.finished[ending].inc(count)
        return answers


def _answer(stored: _Stored, lease: int | None) -> Answer:
    verdict = stored.verdict
    match verdict:
        case Completed():
            status, code = "completed", None
        case Failed():
            status, code = "failed", verdict.code.value
    return Answer(
        request_id=verdict.work.request_id,
        status=status,
        code=code,
        body=verdict.response,
        message_id=str(verdict.work.request_id),
        route=stored.route,
        since=verdict.work.since,
        lease=lease,
    )


def _event(
    answer: Answer, verdict: Completed | Failed, begun: float | None, took_ms: int | None
) -> dict[str, object]:
    """Make what the log says of a request that has come to its end."""
    work, since = verdict.work, answer.since
    ending: dict[str, object]
    match verdict:
        case Completed():
            ending = {"event": "request.completed", "session_id": work.session_id}
        case Failed():
            ending = {"event": "request.failed", "code": answer.code}
    return {
        **ending,
        "request_id": answer.message_id,
        "attempt": work.attempt,
        "org_id": work.org_id,
        "took_ms": took_ms,
        "waited_ms": int((begun - since.at) * 1000) if begun and since else None,
        "path": since.path if since else None,
    }


def _noted(verdicts: Sequence[Completed | Failed]) -> tuple[list[Failed], list[Failed]]:
    """Pick the failures to note: those that this worker saw, and those that were lost with another one."""
    failed_ones = [one for one in verdicts if isinstance(one, Failed) and one.failure]
    lost = [one for one in failed_ones if one.failure and one.failure.kind == WORKER_LOST.kind]
    return [one for one in failed_ones if one not in lost], lost


def _still_held(row: Known, work: Work, lease: int) -> bool:
    """Return whether somebody finished this request while this worker still held it."""
    return row.finished and row.lease == lease and row.attempt == work.attempt


def _refused_by_postgres(verdict: Completed | Failed, error: NotStorable) -> Failed | None:
    if isinstance(verdict, Failed):
        return None
    return failed(verdict.work, _why_not_storable(error), datetime.now(UTC))


def _why_not_storable(error: NotStorable) -> Refusal:
    if error.already_there:
        return Refusal(
            FailureCode.REQUEST_ID_CONFLICT,
            "a session was made for this request id before, and the record of that request is no longer "
            "kept: use a new id",
        )
    return Refusal(FailureCode.REJECTED, f"the database cannot store the session (SQLSTATE {error.sqlstate})")
