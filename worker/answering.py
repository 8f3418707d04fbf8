"""Answers out: published until the broker has confirmed them; and what follows when nobody reads them."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog

from worker.apart import Apart
from worker.envelope import Message, dead_letter_properties, response_properties
from worker.errors import PublishInterrupted
from worker.identity import Identity
from worker.metrics import Metrics
from worker.outcome import Answer, Unreadable
from worker.publisher import PART, Outgoing, Publisher, Receipt
from worker.readiness import Readiness
from worker.retry import delays
from worker.store import Store
from worker.topology import Names

UNHEARD_SECONDS = 30  # until a response that found no queue is tried again
_REPLY_TRIES = 3
_REMEDY = "run `session-worker topology apply`"
_log = structlog.get_logger(__name__)


class Answering:
    """Publishes responses and dead letters. It returns when each one is confirmed, or known to have no
    reader.
    """

    def __init__(
        self,
        me: Identity,
        names: Names,
        publisher: Publisher,
        apart: Apart,
        store: Store,
        readiness: Readiness,
        metrics: Metrics,
    ) -> None:
        self._me = me
        self._names = names
        self._publisher = publisher
        self._apart = apart
        self._store = store
        self._readiness = readiness
        self._metrics = metrics

    async def answer(self, answers: Sequence[Answer], *, copies: bool = False) -> set[UUID]:
        """Each answer goes to its `reply_to` and only there, or else to the exchange of the responses.
        Whether copies for others than the requester are heard is noted nowhere.

        Returns whose answer found no queue and is not on record: it is lost with its delivery.
        """
        forgotten: set[UUID] = set()
        if not answers:
            return forgotten
        now = datetime.now(UTC)
        receipts = await self._publish_all([self._outgoing(answer, now) for answer in answers])
        confirmed_at = time.time()
        heard: list[UUID] = []
        full: list[UUID] = []
        unheard: list[UUID] = []
        for answer, receipt in zip(answers, receipts, strict=True):
            if receipt is Receipt.CONFIRMED:
                if answer.on_record:
                    heard.append(answer.request_id)
                    self._metrics.answered(answer, confirmed_at)
            elif answer.route.reply_to:
                # The requester is gone, has no room, or has an address over which the broker closes the
                # connection. Its response stays readable in Postgres.
                event = f"response.{receipt.value}"
                _log.warning(event, request_id=str(answer.request_id), queue=answer.route.reply_to)
                if receipt is Receipt.REFUSED and answer.on_record:
                    full.append(answer.request_id)
            elif answer.on_record:
                unheard.append(answer.request_id)
            else:
                _log.error(
                    "response.no_queue", request_id=str(answer.request_id), code=answer.code,
                    again_in_seconds=UNHEARD_SECONDS, remedy=_REMEDY,
                )  # fmt: skip
                forgotten.add(answer.request_id)
        if not copies:
            await self._note(heard, full, unheard)
        return forgotten

    async def _note(self, heard: Sequence[UUID], full: Sequence[UUID], unheard: Sequence[UUID]) -> None:
        if heard:
            self._store.note_published(heard)
        if unheard:
            _log.error(
                "responses.no_queue", exchange=self._names.responses, responses=len(unheard),
                again_in_seconds=UNHEARD_SECONDS, remedy=_REMEDY,
            )  # fmt: skip
        if full or unheard:
            await self._store.answer_later([*full, *unheard], UNHEARD_SECONDS)

    async def bury(self, messages: Sequence[tuple[Message, Unreadable]]) -> list[bool]:
        """Messages that nobody can be answered for go to the dead letters, with the reason. Returns of each
        whether it lies there now; where the dead letters have no queue, it is lost with its delivery.
        """
        now = datetime.now(UTC)
        outgoing = []
        for message, unreadable in messages:
            properties = dead_letter_properties(
                message, unreadable.reason, f"{self._me.host}:{self._me.pid}", self._me.version, now
            )
            outgoing.append(Outgoing(self._names.dead, "", message.body, properties))
            _log.warning("request.unreadable", reason=unreadable.reason, dead_letter=properties.message_id)
        receipts = await self._publish_all(outgoing)
        buried = [receipt is Receipt.CONFIRMED for receipt in receipts]
        self._metrics.dead_letters.inc(sum(buried))
        for there, (_, unreadable) in zip(buried, messages, strict=True):
            if not there:
                _log.error(
                    "dead_letter.no_queue", exchange=self._names.dead, reason=unreadable.reason,
                    again_in_seconds=UNHEARD_SECONDS, remedy=_REMEDY,
                )  # fmt: skip
        return buried

    async def _publish_all(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        """Again and again until each is confirmed or has no reader; a second copy does no harm. A requester's
        own queue that is full is given up after a few tries. When the broker closed the connection over a
        message, all go apart: they would be lost with it again.
        """
        way: Publisher | Apart = self._publisher
        receipts: dict[int, Receipt] = {}
        refusals: Counter[int] = Counter()
        waits = delays(0.1, 5)
        while missing := [index for index in range(len(messages)) if index not in receipts]:
            try:
                answers = await way.publish([messages[index] for index in missing])
            except PublishInterrupted as error:
                _log.warning("publish.interrupted", messages=len(missing), reason=str(error))
                await asyncio.sleep(next(waits))
                await self._readiness.until_up(PART)
                way = self._apart if self._publisher.lost_over_content else self._publisher
                continue
            counts: Counter[Receipt] = Counter()
            for index, receipt in zip(missing, answers, strict=True):
                counts[receipt] += 1
                refusals[index] += receipt is Receipt.REFUSED
                reply_queue = not messages[index].exchange
                if receipt is not Receipt.REFUSED or (reply_queue and refusals[index] == _REPLY_TRIES):
                    receipts[index] = receipt
            for receipt, count in counts.items():
                self._metrics.responses.labels(receipt.value).inc(count)
            if len(receipts) < len(messages):
                delay = next(waits)
                _log.warning(
                    "publish.refused",
                    messages=len(messages) - len(receipts),
                    again_in_seconds=round(delay, 1),
                )
                await asyncio.sleep(delay)
        return [receipts[index] for index in range(len(messages))]

    def _outgoing(self, answer: Answer, now: datetime) -> Outgoing:
        exchange, key = (
            ("", answer.route.reply_to) if answer.route.reply_to else (self._names.responses, answer.status)
        )
        return Outgoing(exchange, key, answer.body.encode(), response_properties(answer, now))
