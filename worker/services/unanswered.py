"""Sends the responses that wait on record, once a queue has room for them."""

import asyncio

import structlog

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.waiting_answers import WaitingAnswers
from worker.rabbitmq import publisher
from worker.rabbitmq.known_queues import KnownQueues
from worker.steps.answering import Answering
from worker.values import Answer

LOOK_SECONDS = 0.25
SHARED_SECONDS = 5.0  # at most between two looks whether the response queue has room
REPLIES_SECONDS = 2.0
FORGET_SECONDS = 3600.0
STATES = ("refused", "unroutable")
COUNT_SECONDS = 15.0
_AT_ONCE = 256
_APART_AT_ONCE = 16
_FORGET_AT_ONCE = 1000
_DAY_SECONDS = 86_400
_STATUSES = ("completed", "failed")  # the keys of the response exchange: each may have queues of its own
_NEEDED = (database.PART, publisher.PART)
_log = structlog.get_logger(__name__)


class Sending:
    """Claims responses that wait, some at a time, so that several workers share them. A response that is not
    delivered goes on waiting. What is claimed is tried before the worker stops: nobody else would take it for
    a while.
    """

    def __init__(
        self,
        waiting: WaitingAnswers,
        answering: Answering,
        queues: KnownQueues,
        readiness: Readiness,
        metrics: Metrics,
        keep_days: float,
    ) -> None:
        self._waiting = waiting
        self._answering = answering
        self._queues = queues
        self._readiness = readiness
        self._metrics = metrics
        self._keep_days = keep_days
        self._clock = asyncio.get_running_loop().time
        self._shared_again = self._apart_again = 0.0
        self._wait = LOOK_SECONDS
        self._stopping = False
        self._shared, self._replies, self._apart = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()

    async def stop(self) -> None:
        """Claim nothing more, and wait for what is claimed."""
        self._stopping = True
        for sending in (self._shared, self._replies, self._apart):
            async with sending:
                pass

    @property
    def _may_claim(self) -> bool:
        return not self._stopping and self._readiness.are_up(*_NEEDED)

    async def send_shared(self) -> None:
        """Send the responses that wait for the response queue, the oldest first. While the queue is full,
        only one is tried, ever more seldom; once that is taken, all the others follow.
        """
        async with self._shared:
            await self._look_at_shared()

    async def _look_at_shared(self) -> None:
        if self._clock() < self._shared_again:
            return
        sent = 0
        for status in _STATUSES:
            sent += await self._send_shared(status)
        self._wait = LOOK_SECONDS if sent else min(SHARED_SECONDS, 2 * self._wait)
        self._shared_again = self._clock() + self._wait

    async def _send_shared(self, status: str) -> int:
        own, more_own = await self._send_own(status)
        other, more_other = (0, True) if more_own else await self._send_other(status)
        if not more_other:
            self._queues.nothing_waits(status)
        if own + other:
            _log.info("responses.sent_late", status=status, responses=own + other)
        return own + other

    async def _send_own(self, status: str) -> tuple[int, bool]:
        """Send stored responses. Returns how many were sent, and whether the queue left some."""
        sent = 0
        while self._may_claim:
            most = 1 if self._queues.is_troubled(status) else _AT_ONCE
            answers = await self._waiting.claim_shared(status, most)
            confirmed = await self._answering.answer(answers, ask=True)
            sent += sum(confirmed)
            if not all(confirmed) or len(answers) < most:
                return sent, not all(confirmed)
        return sent, True

    async def _send_other(self, status: str) -> tuple[int, bool]:
        sent = 0
        while self._may_claim:
            most = 1 if self._queues.is_troubled(status) else _AT_ONCE
            answers, until = await self._waiting.claim_other(status, most)
            if not answers:
                return sent, False
            confirmed = await self._answering.answer(answers, copies=True, ask=True)
            delivered = [one.message_id for one, heard in zip(answers, confirmed, strict=True) if heard]
            rest = [one.message_id for one, heard in zip(answers, confirmed, strict=True) if not heard]
            await self._waiting.other_tried(delivered, rest, until)
            sent += len(delivered)
            if rest or len(answers) < most:
                return sent, bool(rest)
        return sent, True

    async def send_replies(self) -> None:
        """Send the due responses that wait for requesters' own queues. The first one tells for all of its
        queue.
        """
        async with self._replies:
            await self._send_replies()

    async def _send_replies(self) -> None:
        while self._may_claim:
            answers = await self._waiting.claim_replies(_AT_ONCE, direct=False)
            first: dict[str | None, Answer] = {}
            for answer in answers:
                first.setdefault(answer.route.reply_to, answer)
            await self._answering.answer(list(first.values()), ask=True)
            # The other responses for a queue that has just refused one are put off without a try.
            await self._answering.answer(
                [answer for answer in answers if first[answer.route.reply_to] is not answer]
            )
            if len(answers) < _AT_ONCE:
                return

    async def send_apart(self) -> None:
        """Send direct replies that have to go on connections of their own, for as long as it takes."""
        async with self._apart:
            await self._send_apart()

    async def _send_apart(self) -> None:
        told = self._answering.to_go_apart
        if not told.is_set() and self._clock() < self._apart_again:
            return
        self._apart_again = self._clock() + REPLIES_SECONDS
        while self._may_claim:
            told.clear()
            answers = await self._waiting.claim_replies(_APART_AT_ONCE, direct=True)
            if not answers:
                return
            await self._answering.answer_apart(answers)

    async def count(self) -> None:
        if not self._readiness.are_up(database.PART):
            return
        found = {one.state: one for one in await self._waiting.count()}
        for state in STATES:
            self._metrics.unanswered.labels(state).set(found[state].waiting if state in found else 0)
        oldest = max((one.oldest_seconds for one in found.values()), default=0.0)
        self._metrics.oldest_unanswered.set(oldest)

    async def forget(self) -> None:
        """Delete other answers that no queue has taken for as long as a request is kept."""
        while await self._waiting.forget_other(self._keep_days * _DAY_SECONDS, _FORGET_AT_ONCE):
            pass
