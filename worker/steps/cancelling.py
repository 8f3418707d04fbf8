"""Cancellations: what is not finished ends as cancelled, and whoever asked for that learns how it ended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from uuid import UUID, uuid4

import structlog

from schemas import FailureCode, session_id
from worker.messages.sealing import CANCELLED
from worker.postgres.store import Store, ToCancel
from worker.steps.answering import Answering
from worker.steps.creating import failure_response
from worker.steps.finishing import Finishing
from worker.values import Answer, Arrival, Beginning, Cancellation, Failed, Refusal, Work

_CODE = FailureCode.CANCELLED
_log = structlog.get_logger(__name__)


class Cancelling:
    """Ends requests under the hands of whoever works on them: their fence is the attempt, as everybody's."""

    def __init__(self, store: Store, finishing: Finishing, answering: Answering) -> None:
        self._store = store
        self._finishing = finishing
        self._answering = answering

    async def cancel(self, asked: Sequence[Cancellation]) -> None:
        """Returns when each request has ended and its requester and all who cancelled it are answered."""
        first = {wish.request_id: wish for wish in reversed(asked) if wish.invalid is None}
        lease = self._store.new_lease()
        try:
            ended, to_requesters = await self._end(first, lease)
            await self._answering.answer(to_requesters)
        except BaseException:
            self._store.abandon(lease)
            raise
        self._store.note_done(lease)
        # Apart from the requesters' own: copies in one batch would share a message id.
        told = {(answer.request_id, answer.route) for answer in to_requesters}
        copies = [
            _not_valid(wish)
            if wish.invalid
            else ended[wish.request_id]._replace(route=wish.route, since=None)
            for wish in asked
            if wish.route.reply_to and (wish.request_id, wish.route) not in told
        ]
        for alike in _rounds(copies):
            await self._answering.answer(alike, copies=True)

    async def _end(
        self, wishes: dict[UUID, Cancellation], lease: int
    ) -> tuple[dict[UUID, Answer], list[Answer]]:
        """How each one ended, and the responses that their requesters have yet to get."""
        ended: dict[UUID, Answer] = {}
        to_requesters: list[Answer] = []
        while wishes:
            rows = {row.request_id: row for row in await self._store.to_cancel(list(wishes))}
            verdicts = []
            for row in rows.values():
                if row.response is None:
                    verdicts.append(_verdict(row, wishes[row.request_id]))
                    continue
                answer = ended[row.request_id] = _stored(row)
                if row.error_code == _CODE and not row.published:
                    to_requesters.append(answer)  # whoever cancelled it may have died before this
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
            # Others had a hand in what is left, in the meantime: it is looked at anew.
            wishes = {key: wish for key, wish in wishes.items() if key not in ended}
        return ended, to_requesters

    async def _remember(self, unknown: Sequence[Cancellation], lease: int) -> list[Failed]:
        """A request that is cancelled before it comes gets its row now, and its answer when it comes."""
        if not unknown:
            return []
        arrivals = {wish.request_id: _arrival(wish) for wish in unknown}
        begun = await self._store.accept(list(arrivals.values()), lease)
        return [
            _failed(arrivals[wish.request_id].session_id, 1, None, None, wish, Beginning(time(), "direct"))
            for wish in unknown
            if wish.request_id in begun
        ]


def _rounds(copies: Sequence[Answer]) -> list[list[Answer]]:
    """No two with the same message id in one round: the client library tells those in flight apart by it."""
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
        wish.request_id, CANCELLED, session_id(wish.request_id, datetime.now(UTC).date()), None, None, None,
        None, None, _refusal(wish), None, wish.route, (),
    )  # fmt: skip


def _verdict(row: ToCancel, wish: Cancellation) -> Failed:
    attempt = 1 if row.status == "pending" else row.attempt
    return _failed(row.session_id, attempt, row.org_id, row.casefile_id, wish, _since(row))


def _failed(
    session: str,
    attempt: int,
    org_id: str | None,
    casefile_id: str | None,
    wish: Cancellation,
    since: Beginning,
) -> Failed:
    refusal = _refusal(wish)
    work = _work(wish, session, attempt, org_id, refusal)._replace(since=since)
    return Failed(work, _CODE, failure_response(work, refusal, casefile_id, datetime.now(UTC)))


def _work(wish: Cancellation, session: str, attempt: int, org_id: str | None, refusal: Refusal) -> Work:
    return Work(wish.request_id, attempt, session, org_id, None, None, None, refusal, None, wish.route)


def _stored(row: ToCancel) -> Answer:
    assert row.response is not None  # noqa: S101 — asked of finished rows only
    return Answer(
        row.request_id, row.status, row.error_code, row.response, str(row.request_id), row.route,
        None if row.published else _since(row)._replace(path="recovered"),
    )  # fmt: skip


def _since(row: ToCancel) -> Beginning:
    return Beginning(row.received_at.timestamp(), "direct" if row.attempt <= 1 else "retried")


def _not_valid(wish: Cancellation) -> Answer:
    """A message of its own: it says nothing of the request, and names a session id nothing stands under."""
    assert wish.invalid is not None  # noqa: S101 — asked of these only
    now = datetime.now(UTC)
    mine = uuid4()
    work = _work(wish, session_id(mine, now.date()), 0, None, wish.invalid)
    text = failure_response(work, wish.invalid, None, now)
    return Answer(wish.request_id, "failed", wish.invalid.code.value, text, str(mine), wish.route)
