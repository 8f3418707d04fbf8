"""Beside the steps: a cancellation ends its request, and both requesters learn how it ended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from uuid import UUID

import structlog

from schemas import FailureCode, session_id
from worker.messages.admitting import NOT_ALLOWED
from worker.messages.sealing import CANCELLED
from worker.monitoring.metrics import Metrics
from worker.postgres.leases import Leases
from worker.postgres.rows import ToCancel, stored_answer
from worker.postgres.store import Store
from worker.steps.answering import Answering
from worker.steps.finishing import Finishing
from worker.steps.not_allowed import note_not_allowed
from worker.steps.verdicts import failure_response, unrecorded_answer
from worker.values import (
    Answer,
    Arrival,
    Beginning,
    Cancellation,
    Failed,
    Refusal,
    Unrecorded,
    Work,
    first_work,
)
from worker.whose import OrgsOfUsers

_CODE = FailureCode.CANCELLED
_log = structlog.get_logger(__name__)


class Cancelling:
    """Ends a request even while a worker holds it; the attempt number fences that worker out."""

    def __init__(
        self,
        store: Store,
        leases: Leases,
        finishing: Finishing,
        answering: Answering,
        metrics: Metrics,
        orgs: OrgsOfUsers | None = None,
    ) -> None:
        self._store = store
        self._leases = leases
        self._finishing = finishing
        self._answering = answering
        self._metrics = metrics
        self._orgs = orgs

    async def cancel(self, asked: Sequence[Cancellation]) -> None:
        """Cancel each of these. Returns when all have ended, and requesters and cancellers are answered."""
        if self._orgs is not None:
            asked = await self._of_their_own(asked, self._orgs)
        first = {wish.request_id: wish for wish in reversed(asked) if wish.invalid is None}
        with self._leases.take() as lease:
            ended, to_requesters = await self._end(first, lease)
            await self._answering.answer(to_requesters)
        # In batches of their own: a copy has the same message id as the requester's response.
        told = {(answer.request_id, answer.route) for answer in to_requesters}
        copies = [
            unrecorded_answer(Unrecorded(wish.request_id, wish.invalid, wish.route))
            if wish.invalid
            else ended[wish.request_id]._replace(route=wish.route, since=None)
            for wish in asked
            if wish.route.reply_to and (wish.request_id, wish.route) not in told
        ]
        for alike in _rounds(copies):
            await self._answering.answer(alike, copies=True)

    async def _of_their_own(self, asked: Sequence[Cancellation], orgs: OrgsOfUsers) -> list[Cancellation]:
        """Refuse what is about a request of another one's organisation, or about none: to its sender the two
        are alike, in what is answered and in the time that it takes.
        """
        asking = [wish.request_id for wish in asked if not orgs.may_act(wish.sender, None)]
        whose = await self._store.orgs_of(asking) if asking else {}
        own = []
        for wish in asked:
            if wish.invalid is None and not orgs.may_act(wish.sender, whose.get(wish.request_id)):
                wish = wish._replace(invalid=NOT_ALLOWED)  # noqa: PLW2901 — the same wish
            if wish.invalid is not None and wish.invalid.code is NOT_ALLOWED.code:
                note_not_allowed(self._metrics, "cancel_session", wish.request_id, sender=wish.sender)
            own.append(wish)
        return own

    async def _end(
        self, wishes: dict[UUID, Cancellation], lease: int
    ) -> tuple[dict[UUID, Answer], list[Answer]]:
        """End each request. Returns how each one ended, and the responses that the requesters have yet to
        get.
        """
        ended: dict[UUID, Answer] = {}
        to_requesters: list[Answer] = []
        while wishes:
            rows = {row.request_id: row for row in await self._store.to_cancel(list(wishes))}
            verdicts = []
            for row in rows.values():
                if row.response is None:
                    verdicts.append(_verdict(row, wishes[row.request_id]))
                    continue
                answer = ended[row.request_id] = stored_answer(row, since=_since(row))
                if row.error_code == _CODE and not row.published:
                    to_requesters.append(answer)  # the worker that cancelled it may have died before this
                if row.error_code != _CODE:
                    _log.info("cancel.too_late", request_id=str(row.request_id), status=row.status)
            if pending := [row.request_id for row in rows.values() if row.status == "pending"]:
                await self._store.begin_pending(pending)
            unknown = [wish for wish in wishes.values() if wish.request_id not in rows]
            verdicts += await self._remember(unknown, lease)
            if verdicts:
                for answer in await self._finishing.finish_current(verdicts):
                    ended[answer.request_id] = answer
                    to_requesters.append(answer)
            # Another worker has changed the rest meanwhile: look at it anew.
            wishes = {key: wish for key, wish in wishes.items() if key not in ended}
        return ended, to_requesters

    async def _remember(self, unknown: Sequence[Cancellation], lease: int) -> list[Failed]:
        """Record requests that are cancelled before they come: each gets its row now, and its answer then."""
        if not unknown:
            return []
        arrivals = {wish.request_id: _arrival(wish) for wish in unknown}
        begun = await self._store.accept(list(arrivals.values()), lease)
        now = Beginning(time(), "direct")
        return [
            _failed(first_work(arrivals[wish.request_id])._replace(since=now), None)
            for wish in unknown
            if wish.request_id in begun
        ]


def _rounds(copies: Sequence[Answer]) -> list[list[Answer]]:
    """Put no two with the same message id in one round: the client library tells messages in flight apart by
    it.
    """
    rounds: list[dict[str, Answer]] = []
    for copy in copies:
        for round_ in rounds:
            if copy.message_id not in round_:
                round_[copy.message_id] = copy
                break
        else:
            rounds.append({copy.message_id: copy})
    return [list(round_.values()) for round_ in rounds]


def _refusal(wish: Cancellation) -> Refusal:
    return Refusal(_CODE, f"cancelled: {wish.reason}" if wish.reason else "the request was cancelled")


def _arrival(wish: Cancellation) -> Arrival:
    return Arrival(
        request_id=wish.request_id,
        fingerprint=CANCELLED,
        session_id=session_id(wish.request_id, datetime.now(UTC).date()),
        route=wish.route,
        refusal=_refusal(wish),
    )


def _verdict(row: ToCancel, wish: Cancellation) -> Failed:
    work = Work(
        request_id=row.request_id,
        attempt=1 if row.status == "pending" else row.attempt,
        session_id=row.session_id,
        route=wish.route,
        org_id=row.org_id,
        refusal=_refusal(wish),
        since=_since(row),
    )
    return _failed(work, row.casefile_id)


def _failed(work: Work, casefile_id: str | None) -> Failed:
    assert work.refusal is not None  # noqa: S101 — the two that call this set it
    return Failed(work, _CODE, failure_response(work, work.refusal, casefile_id, datetime.now(UTC)))


def _since(row: ToCancel) -> Beginning:
    return Beginning(row.received_at.timestamp(), "direct" if row.attempt <= 1 else "retried")
