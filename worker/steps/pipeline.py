"""The story of a batch: decode → wait or accept → create → finish → publish → settle."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import zip_longest
from time import time
from typing import NamedTuple
from uuid import UUID

from schemas import FailureCode
from worker.messages.envelope import property_text
from worker.monitoring.metrics import Metrics
from worker.monitoring.tracing import Timed, Tracing
from worker.postgres.leases import Leases
from worker.process.failpoint import FailPoint, Gap
from worker.process.pace import rest
from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake
from worker.steps.accepting import Accepting
from worker.steps.answering import Answering
from worker.steps.burying import Burying, Dead
from worker.steps.cancelling import Cancelling
from worker.steps.creating import Creation
from worker.steps.exposure import Exposure
from worker.steps.finishing import Finishing
from worker.steps.gate import Gate
from worker.steps.not_allowed import note_not_allowed
from worker.steps.slots import Slots
from worker.steps.sorting import Decoding, Sorted, sort
from worker.values import Answer, Arrival, Duplicate, Read, Waiting, Work

Settle = Callable[[Sequence[UUID]], Awaitable[None]]


class Steps(NamedTuple):
    """The steps, in the order in which a batch takes them; the last two are beside them."""

    decoding: Decoding
    gate: Gate
    accepting: Accepting
    creation: Creation
    finishing: Finishing
    answering: Answering
    cancelling: Cancelling
    burying: Burying


class Pipeline:
    """Takes batches through all the steps; several may be on their way at once."""

    def __init__(
        self,
        steps: Steps,
        intake: Intake,
        leases: Leases,
        metrics: Metrics,
        tracing: Tracing,
        fail_point: FailPoint,
    ) -> None:
        self._steps = steps
        self._intake = intake
        self._leases = leases
        self._metrics = metrics
        self._tracing = tracing
        self._fail_point = fail_point
        self._exposure = Exposure()
        self._held: list[tuple[Delivery, Read]] = []

    async def run(self, deliveries: Sequence[Delivery], slots: Slots) -> None:
        """Take a batch through all the steps, with the slots that are reserved for it."""
        await self.run_read(await self._steps.decoding.decode(deliveries), slots)

    async def run_small(self, deliveries: Sequence[Delivery], slots: Slots) -> None:
        """Do the same with a small batch that waits for no other."""
        await self.run_read(await self._steps.decoding.decode_now(deliveries), slots)

    async def run_read(self, reads: Sequence[tuple[Delivery, Read]], slots: Slots) -> None:
        """Do the same from the second step on, for deliveries that were read elsewhere."""
        batch = sort(self._tracing.receive(reads))
        self._exposure.look(batch.arrivals.values())
        await rest()
        self._metrics.batch.observe(len(reads) - len(batch.repeated))
        unburied = await self._without_slots(batch)
        if batch.arrivals:
            divided = self._steps.gate.divide(list(batch.arrivals.values()), slots.count)
            slots.keep(min(slots.count, len(divided.begin)))
            settle = partial(self._settle, batch)
            await self._wait(divided.wait, settle)
            repeated = self._hold(batch, divided.hold)
            await self._begin(divided.begin, slots, settle)
            await self._answer_repeated(repeated)
        self._steps.burying.hold(unburied)  # only now: until here a failure gives the whole batch back

    async def _wait(self, waiting: Sequence[Waiting], settle: Settle) -> None:
        """Put those in line that may not begin yet. The broker is told: they are safe."""
        if not waiting:
            return
        with self._metrics.timed("wait") as lining:
            known = await self._steps.accepting.put_in_line(waiting)
        over_share = {one.arrival.org_id for one in waiting if one.reason == "over_share"}
        self._metrics.shares_throttled.inc(len(over_share))
        duplicates = {one.request_id for one in known}
        lined = [one for one in waiting if one.arrival.request_id not in duplicates]
        self._steps.gate.joined(lined)
        await self._fail_point.reach(Gap.AFTER_WAIT)
        await self._answer_known(known, settle)
        await settle([one.arrival.request_id for one in lined])
        self._tracing.wait(lined, lining)

    async def _begin(self, arrivals: Sequence[Arrival], slots: Slots, settle: Settle) -> None:
        if not arrivals:
            return
        with self._leases.take() as lease:
            with self._metrics.timed("accept") as accepting:
                accepted = await self._steps.accepting.accept(arrivals, lease)
            slots.keep(min(slots.count, len(accepted.claimed)))
            await self._fail_point.reach(Gap.AFTER_ACCEPT)
            await self._answer_known(accepted.duplicates, settle)
            await self.work(accepted.claimed, lease, slots, settle, accepting)

    def _hold(self, batch: Sorted, arrivals: Sequence[Arrival]) -> list[tuple[Delivery, Arrival]]:
        """Keep those in memory, unsettled, that may not begin and for which there is no room in Postgres, and
        the copies that came with them. Returns the other copies.
        """
        held = {arrival.request_id for arrival in arrivals}
        self._held += [(batch.deliveries[arrival.request_id], arrival) for arrival in arrivals]
        self._held += [one for one in batch.repeated if one[1].request_id in held]
        return [one for one in batch.repeated if one[1].request_id not in held]

    @property
    def held(self) -> int:
        return len(self._held)

    def take_held(self) -> list[tuple[Delivery, Read]]:
        """Take those that are held, to look at them anew. Those of a lost channel come again anyway."""
        held, self._held = self._held, []
        return [(delivery, read) for delivery, read in held if delivery.session.open]

    async def work(
        self,
        works: Sequence[Work],
        lease: int,
        slots: Slots,
        settle: Settle,
        accepting: Timed | None = None,
    ) -> None:
        """Take claimed requests on, until each has its verdict on record and its response confirmed.
        `accepting`: they were accepted just now; else they come from the record.
        """
        if not works:
            return
        begun = time()
        with (
            self._tracing.process(works, accepting) as processing,
            self._metrics.in_pieces("create") as creating,
        ):
            async with aclosing(self._steps.creation.create(processing.works, slots)) as groups:
                while True:
                    with creating:
                        verdicts = await anext(groups, None)
                    if verdicts is None:
                        return
                    await self._fail_point.reach(Gap.AFTER_CREATE)
                    await rest()
                    with self._metrics.timed("finish") as finishing:
                        answers = await self._steps.finishing.finish(verdicts, lease, begun)
                    await self._fail_point.reach(Gap.AFTER_FINISH)
                    with self._metrics.timed("publish") as publishing:
                        await self._steps.answering.answer(answers)
                    await self._fail_point.reach(Gap.AFTER_PUBLISH)
                    await settle([verdict.work.request_id for verdict in verdicts])
                    processing.end(verdicts, finishing, publishing)
                    await self._fail_point.reach(Gap.AFTER_SETTLE)

    async def run_cancels(self, deliveries: Sequence[Delivery]) -> None:
        """Carry out what came over the queue of the cancellations. It waits for no slot; a request that
        strayed there gets in line with the others.
        """
        batch = sort(await self._steps.decoding.decode_now(deliveries))
        unburied = await self._without_slots(batch)
        self._intake.hand.add([*batch.deliveries.values(), *(delivery for delivery, _ in batch.repeated)])
        self._steps.burying.hold(unburied)

    async def _without_slots(self, batch: Sorted) -> list[Dead]:
        """Deal with all that needs no creation. A request that comes with its cancellation is never begun.
        Returns the dead letters that found no queue.
        """
        unburied = await self._steps.burying.bury(batch.unreadable)
        if batch.unrecorded:
            self._note_not_allowed(batch)
            await self._steps.answering.answer([answer for _, answer in batch.unrecorded])
            await self._intake.settle([delivery for delivery, _ in batch.unrecorded])
        if batch.cancellations:
            await self._steps.cancelling.cancel([cancellation for _, cancellation in batch.cancellations])
            await self._intake.settle([delivery for delivery, _ in batch.cancellations])
        return unburied

    def _note_not_allowed(self, batch: Sorted) -> None:
        for delivery, answer in batch.unrecorded:
            if answer.code == FailureCode.NOT_ALLOWED:
                sender = property_text(delivery.message.properties.user_id)
                note_not_allowed(self._metrics, "create_session", answer.request_id, sender=sender)

    async def _answer_known(self, duplicates: Sequence[Duplicate], settle: Settle) -> None:
        """Answer requests from the record, where they have a response."""
        if duplicates:
            with self._metrics.timed("publish"):
                answers = [one.answer for one in duplicates if one.answer]
                await self._steps.answering.answer(answers, again=True)
            await settle([one.request_id for one in duplicates])

    async def _answer_repeated(self, repeated: Sequence[tuple[Delivery, Arrival]]) -> None:
        """Answer copies of requests that came in the same batch: by now those are on record."""
        if not repeated:
            return
        known = await self._steps.accepting.known([arrival for _, arrival in repeated])
        # No two with the same message id at once: the client library tells those in flight apart by it.
        alike: dict[str, list[Answer]] = {}
        for one in known:
            if one.answer:
                alike.setdefault(one.answer.message_id, []).append(one.answer)
        for together in zip_longest(*alike.values()):
            await self._steps.answering.answer([answer for answer in together if answer], again=True)
        await self._intake.settle([delivery for delivery, _ in repeated])

    async def _settle(self, batch: Sorted, request_ids: Sequence[UUID]) -> None:
        with self._metrics.timed("settle"):
            await self._intake.settle([batch.deliveries[request_id] for request_id in request_ids])
