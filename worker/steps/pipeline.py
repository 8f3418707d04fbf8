"""The story of one batch: decode → accept → create → finish → publish → settle."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import zip_longest
from typing import NamedTuple
from uuid import UUID

from worker.messages.began_at import began_at
from worker.messages.decoding import Limits, decode
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.postgres.store import Store
from worker.process.failpoint import FailPoint, Gap
from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake
from worker.steps.accepting import Accepting
from worker.steps.answering import Answering
from worker.steps.cancelling import Cancelling
from worker.steps.creating import Creation, unrecorded_answer
from worker.steps.finishing import Finishing
from worker.values import Answer, Arrival, Beginning, Cancellation, Read, Unreadable, Unrecorded, Work

_DECODE_SECONDS = 0.02  # at a stretch, by one batch; then others have their turns
_TURNS = 10

Settle = Callable[[Sequence[UUID]], Awaitable[None]]


class Decoded(NamedTuple):
    """A batch of deliveries, read. Of several with one request id, all but the first are worked on
    afterwards.
    """

    arrivals: dict[UUID, Arrival]
    deliveries: dict[UUID, Delivery]
    unreadable: list[tuple[Delivery, Unreadable]]
    repeated: list[tuple[Delivery, Arrival]]
    unrecorded: list[tuple[Delivery, Answer]]
    cancellations: list[Cancellation]
    of_cancellations: list[Delivery]


class Pipeline:
    """Takes batches through all the steps; several may be on their way at once."""

    def __init__(
        self,
        limits: Limits,
        keys: SealKeys,
        intake: Intake,
        accepting: Accepting,
        creation: Creation,
        finishing: Finishing,
        answering: Answering,
        cancelling: Cancelling,
        store: Store,
        metrics: Metrics,
        fail_point: FailPoint,
    ) -> None:
        self._limits = limits
        self._keys = keys
        self._intake = intake
        self._accepting = accepting
        self._creation = creation
        self._finishing = finishing
        self._answering = answering
        self._cancelling = cancelling
        self._store = store
        self._metrics = metrics
        self._fail_point = fail_point
        self._decoding = asyncio.Lock()
        self._unburied: list[tuple[Delivery, Unreadable]] = []

    async def run(self, batch: Sequence[Delivery], room: int) -> None:
        """Everything that happens to a batch of deliveries. `room`: what the creation has reserved for it."""
        try:
            async with self._decoding:
                with self._metrics.timed("decode"):
                    reads = await self._decode(batch)
        except BaseException:
            self._creation.give_back(room)
            raise
        await self.run_read(reads, room)

    async def run_read(self, reads: Sequence[tuple[Delivery, Read]], room: int) -> None:
        """Does the same from the second step on, for deliveries that were read elsewhere."""
        decoded = _sorted(reads)
        try:
            self._metrics.batch.observe(len(reads) - len(decoded.repeated))
            unburied = await self._without_work(decoded)
        except BaseException:
            self._creation.give_back(room)
            raise
        if not decoded.arrivals:
            self._creation.give_back(room)
            self._unburied += unburied
            return

        async def settle(request_ids: Sequence[UUID]) -> None:
            with self._metrics.timed("settle"):
                await self._intake.settle([decoded.deliveries[request_id] for request_id in request_ids])

        lease, claimed = self._store.new_lease(), 0
        try:
            try:
                with self._metrics.timed("accept"):
                    accepted = await self._accepting.accept(list(decoded.arrivals.values()), lease)
                claimed = len(accepted.claimed)
            finally:
                self._creation.give_back(room - claimed)
            try:
                await self._fail_point.reach(Gap.AFTER_ACCEPT)
                if accepted.duplicates:
                    answers = [one.answer for one in accepted.duplicates if one.answer]
                    with self._metrics.timed("publish"):
                        await self._answering.answer(answers, again=True)
                    await settle([one.request_id for one in accepted.duplicates])
            except BaseException:
                self._creation.give_back(claimed)
                raise
            await self.work(accepted.claimed, lease, settle)
        except BaseException:
            self._store.abandon(lease)
            raise
        self._store.note_done(lease)
        if decoded.repeated:
            await self._answer_repeated(decoded.repeated)
        self._unburied += unburied  # at last: a batch that fails is given back whole

    async def run_cancels(self, batch: Sequence[Delivery]) -> None:
        """Carries out what came over the queue of the cancellations. It waits for no room; a request that
        strayed there gets in line with the others.
        """
        decoded = _sorted(await self._decode(batch))
        unburied = await self._without_work(decoded)
        strayed = [*decoded.deliveries.values(), *(delivery for delivery, _ in decoded.repeated)]
        self._intake.take_over(strayed)
        self._unburied += unburied

    async def _answer_repeated(self, repeated: Sequence[tuple[Delivery, Arrival]]) -> None:
        """Answers copies of requests that came in the same batch: by now those are on record."""
        known = await self._accepting.known([arrival for _, arrival in repeated])
        # No two with the same message id at once: the client library tells those in flight apart by it.
        alike: dict[str, list[Answer]] = {}
        for one in known:
            if one.answer:
                alike.setdefault(one.answer.message_id, []).append(one.answer)
        for together in zip_longest(*alike.values()):
            await self._answering.answer([answer for answer in together if answer], again=True)
        await self._intake.settle([delivery for delivery, _ in repeated])

    async def bury_unburied(self) -> None:
        """Tries the dead letters again that found no queue. Their deliveries are held meanwhile: given back,
        they would come again at once. What a stop or a lost channel leaves comes again.
        """
        again, self._unburied = self._unburied, []
        if again := [(delivery, why) for delivery, why in again if delivery.session.open]:
            self._unburied += await self._bury(again)

    async def _bury(self, dead: Sequence[tuple[Delivery, Unreadable]]) -> list[tuple[Delivery, Unreadable]]:
        """Returns those that found no queue."""
        buried = await self._answering.bury([(delivery.message, why) for delivery, why in dead])
        waiting = [why.told for (_, why), there in zip(dead, buried, strict=True) if there and why.told]
        if waiting:
            await self._answering.answer([unrecorded_answer(told) for told in waiting])
        await self._intake.settle(
            [delivery for (delivery, _), there in zip(dead, buried, strict=True) if there]
        )
        return [one for one, there in zip(dead, buried, strict=True) if not there]

    async def _without_work(self, decoded: Decoded) -> list[tuple[Delivery, Unreadable]]:
        """What needs no room of the creation. A request that comes with its cancellation is never begun.
        Returns the dead letters that found no queue.
        """
        unburied = await self._bury(decoded.unreadable) if decoded.unreadable else []
        if decoded.unrecorded:
            await self._answering.answer([answer for _, answer in decoded.unrecorded])
            await self._intake.settle([delivery for delivery, _ in decoded.unrecorded])
        if decoded.cancellations:
            await self._cancelling.cancel(decoded.cancellations)
            await self._intake.settle(decoded.of_cancellations)
        return unburied

    async def work(self, works: Sequence[Work], lease: int, settle: Settle) -> None:
        """Claimed requests, until each has its verdict on record and its response confirmed."""
        if not works:
            return
        with self._metrics.in_pieces("create") as creating:
            async with aclosing(self._creation.create(works)) as groups:
                while True:
                    with creating:
                        verdicts = await anext(groups, None)
                    if verdicts is None:
                        return
                    await self._fail_point.reach(Gap.AFTER_CREATE)
                    with self._metrics.timed("finish"):
                        answers = await self._finishing.finish(verdicts, lease)
                    await self._fail_point.reach(Gap.AFTER_FINISH)
                    with self._metrics.timed("publish"):
                        await self._answering.answer(answers)
                    await self._fail_point.reach(Gap.AFTER_PUBLISH)
                    await settle([verdict.work.request_id for verdict in verdicts])
                    await self._fail_point.reach(Gap.AFTER_SETTLE)

    async def _decode(self, batch: Sequence[Delivery]) -> list[tuple[Delivery, Read]]:
        reads: list[tuple[Delivery, Read]] = []
        now, rested = datetime.now(UTC), time.perf_counter()
        for delivery in batch:
            if time.perf_counter() - rested > _DECODE_SECONDS:
                for _ in range(_TURNS):
                    await asyncio.sleep(0)  # connections and leases must be kept meanwhile
                rested = time.perf_counter()
            self._fail_point.read(delivery.message.body)
            reads.append((delivery, decode(delivery.message, self._limits, self._keys, now)))
        return reads


def _sorted(reads: Sequence[tuple[Delivery, Read]]) -> Decoded:
    decoded = Decoded({}, {}, [], [], [], [], [])
    by_the_clock = time.time() - asyncio.get_running_loop().time()
    for delivery, read in reads:
        match read:
            case Unreadable():
                decoded.unreadable.append((delivery, read))
            case Cancellation():
                decoded.cancellations.append(read)
                decoded.of_cancellations.append(delivery)
            case Unrecorded():
                decoded.unrecorded.append((delivery, unrecorded_answer(read)))
            case Arrival():
                arrival = read._replace(since=_beginning(read, delivery, by_the_clock + delivery.received))
                if read.request_id in decoded.arrivals:
                    decoded.repeated.append((delivery, arrival))
                else:
                    decoded.arrivals[read.request_id] = arrival
                    decoded.deliveries[read.request_id] = delivery
    return decoded


def _beginning(arrival: Arrival, delivery: Delivery, arrived: float) -> Beginning:
    stamp = arrival.request.timestamp if arrival.request else None
    headers = delivery.message.properties.headers or {}
    return Beginning(began_at(stamp, headers.get("timestamp_in_ms"), arrived), "direct")
