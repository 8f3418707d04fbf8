"""Step 6 of a batch: responses are published until confirmed; those that no queue takes wait on record."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog

from worker.messages.dead_letters import bare_dead_letter_properties, dead_letter_properties
from worker.messages.envelope import Message, property_text, response_properties
from worker.monitoring.metrics import Metrics
from worker.monitoring.tally import Tally
from worker.monitoring.tracing import Tracing
from worker.postgres.waiting_answers import Undelivered, WaitingAnswers
from worker.process.identity import Identity
from worker.process.pace import rest
from worker.rabbitmq.dispatcher import Dispatcher
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.topology import Names
from worker.rabbitmq.writing import Outgoing
from worker.values import Answer, Receipt, Unreadable

UNBURIED_SECONDS = 30  # until a dead letter that no queue took is tried again
_REMEDY = "run `session-worker topology apply`"
_TO_WAIT = (Receipt.UNROUTABLE, Receipt.REFUSED)
_LONGEST = 500  # of a reason, in the log
_UNBURIED = {
    Receipt.UNROUTABLE: ("dead_letter.no_queue", _REMEDY),
    Receipt.REFUSED: ("dead_letter.refused", "it is full: take from it, or raise its limit"),
    Receipt.UNPUBLISHABLE: ("dead_letter.unpublishable", "raise the broker's limit for a message's size"),
}
_log = structlog.get_logger(__name__)


class Answering:
    """Publishes responses and dead letters. It returns when the broker has said of each one whether a queue
    took it; a response that no queue took waits on record then.
    """

    def __init__(
        self,
        me: Identity,
        names: Names,
        publisher: Publisher,
        dispatcher: Dispatcher,
        waiting: WaitingAnswers,
        note_published: Callable[[Sequence[UUID], int | None], None],
        tally: Tally,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._me = me
        self._names = names
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._waiting = waiting
        self._note_published = note_published
        self._tally = tally
        self._metrics = metrics
        self._tracing = tracing
        self.to_go_apart = asyncio.Event()
        """Set when responses have been put on record that have to be published apart."""

    async def answer(
        self, answers: Sequence[Answer], *, copies: bool = False, again: bool = False, ask: bool = False
    ) -> list[bool]:
        """Publish each answer to its `reply_to` and only there, or else to the exchange of the responses.
        Returns of each whether it is confirmed.

        `copies`: they are for others than the requester, and do not count as delivered. `again`: their
        requests may have been answered before. `ask`: they wait on record; try also queues that are known to
        be full.
        """
        if not answers:
            return []
        publishing = self._tracing.publish(answers)
        outgoing = await self._all_outgoing(publishing.answers)
        receipts = await self._dispatcher.publish(outgoing, ask=ask)
        await self._apart_now(answers, outgoing, receipts, all_now=copies or again)
        publishing.end(receipts)
        await self._note(answers, receipts, copies=copies, again=again, waiting=ask)
        return [receipt is Receipt.CONFIRMED for receipt in receipts]

    async def answer_apart(self, answers: Sequence[Answer]) -> None:
        """Publish them one after the other, each where it can take no other along."""
        publishing = self._tracing.publish(answers)
        outgoing = await self._all_outgoing(publishing.answers)
        receipts = await self._dispatcher.publish_apart(outgoing)
        publishing.end(receipts)
        await self._note(answers, receipts, copies=False, again=False, waiting=True)

    async def _apart_now(
        self,
        answers: Sequence[Answer],
        outgoing: Sequence[Outgoing],
        receipts: list[Receipt | None],
        *,
        all_now: bool,
    ) -> None:
        """Send now those answers that have to go apart and cannot wait. A stored one goes later, in the
        background.
        """
        left = [
            index
            for index, receipt in enumerate(receipts)
            if receipt is None and (all_now or not answers[index].on_record)
        ]
        if left:
            found = await self._dispatcher.publish_apart([outgoing[index] for index in left])
            for index, receipt in zip(left, found, strict=True):
                receipts[index] = receipt

    async def _note(
        self,
        answers: Sequence[Answer],
        receipts: Sequence[Receipt | None],
        *,
        copies: bool,
        again: bool,
        waiting: bool,
    ) -> None:
        """`waiting`: they wait on record already."""
        for answer, receipt in zip(answers, receipts, strict=True):
            if receipt is not None and receipt is not Receipt.CONFIRMED:
                self._tell(answer, receipt)
        own = [] if copies else [pair for pair in zip(answers, receipts, strict=True) if pair[0].on_record]
        if heard := [answer for answer, receipt in own if receipt is Receipt.CONFIRMED]:
            self._metrics.answered(heard, time.time())
            for lease in {answer.lease for answer in heard}:
                self._note_published([answer.request_id for answer in heard if answer.lease == lease], lease)
        later = [
            Undelivered(answer.request_id, answer.route.reply_to, receipt)
            for answer, receipt in own
            if receipt is not Receipt.CONFIRMED and not (again and answer.route.reply_to is None)
        ]
        if later:
            self._metrics.given_up.inc(await self._waiting.put(later))
            if any(one.why is None for one in later):
                self.to_go_apart.set()
        other = [
            answer
            for answer, receipt in zip(answers, receipts, strict=True)
            if receipt in _TO_WAIT and answer.route.reply_to is None
            if copies or again or not answer.on_record
        ]
        if other and not waiting:
            await self._waiting.put_other(other)

    def _tell(self, answer: Answer, receipt: Receipt) -> None:
        request_id = str(answer.request_id)
        if answer.route.reply_to is not None:
            # The requester is gone, has no room, or has an address over which the broker closes the
            # connection. Its response stays readable in Postgres.
            self._tally.note(f"response.{receipt.value}", answer.route.reply_to, 1, request_id=request_id)
        elif receipt is Receipt.UNROUTABLE:
            self._tally.note(
                "responses.no_queue", self._names.responses, 1, status=answer.status, remedy=_REMEDY
            )
        else:
            self._tally.note(
                f"responses.{receipt.value}", self._names.responses, 1,
                status=answer.status, consequence="they wait on record",
            )  # fmt: skip

    async def bury(self, messages: Sequence[tuple[Message, Unreadable]]) -> list[bool]:
        """Publish dead letters for messages that nobody can be answered for, with the reason. Returns of each
        whether it is confirmed; the caller holds the delivery of one that no queue took.
        """
        now = datetime.now(UTC)
        outgoing = []
        for message, unreadable in messages:
            properties = dead_letter_properties(
                message, unreadable.reason, self._where, self._me.version, now
            )
            if not self._publisher.carries(properties):
                properties = bare_dead_letter_properties(self._where, self._me.version, now)
            outgoing.append(Outgoing(self._names.dead, "", message.body, properties))
            _log.warning(
                "request.unreadable", reason=unreadable.reason[:_LONGEST], field=unreadable.field,
                app_id=property_text(message.properties.app_id), routing_key=message.routing_key,
                bytes=message.dropped.size if message.dropped else len(message.body),
                dead_letter=properties.message_id,
            )  # fmt: skip
        receipts = await self._dispatcher.publish(outgoing)
        stumbled_over = [index for index, receipt in enumerate(receipts) if receipt is Receipt.UNPUBLISHABLE]
        if stumbled_over:
            again = [
                outgoing[index]._replace(
                    properties=bare_dead_letter_properties(self._where, self._me.version, now)
                )
                for index in stumbled_over
            ]
            for index, said in zip(stumbled_over, await self._dispatcher.publish_apart(again), strict=True):
                receipts[index] = said
        buried = [receipt is Receipt.CONFIRMED for receipt in receipts]
        self._metrics.dead_letters.inc(sum(buried))
        for receipt in receipts:
            if receipt is not Receipt.CONFIRMED:
                self._tell_unburied(receipt)
        return buried

    def _tell_unburied(self, receipt: Receipt | None) -> None:
        event, remedy = _UNBURIED[receipt or Receipt.UNPUBLISHABLE]
        self._tally.note(event, self._names.dead, 1, again_in_seconds=UNBURIED_SECONDS, remedy=remedy)

    @property
    def _where(self) -> str:
        return f"{self._me.host}:{self._me.pid}"

    async def _all_outgoing(self, answers: Sequence[Answer]) -> list[Outgoing]:
        now = datetime.now(UTC)
        outgoing = []
        for answer in answers:
            await rest()
            outgoing.append(self._outgoing(answer, now))
        return outgoing

    def _outgoing(self, answer: Answer, now: datetime) -> Outgoing:
        exchange, key = (
            ("", answer.route.reply_to) if answer.route.reply_to else (self._names.responses, answer.status)
        )
        return Outgoing(exchange, key, answer.body.encode(), response_properties(answer, now))
