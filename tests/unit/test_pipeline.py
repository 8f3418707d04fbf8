"""What needs no creation is dealt with first, and the broker is told of each of it."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from pamqp import commands as spec

from schemas import FailureCode
from worker.messages.envelope import Message
from worker.monitoring.metrics import Metrics
from worker.monitoring.tracing import Tracing
from worker.process.failpoint import FailPoint
from worker.rabbitmq.channel_session import Delivery
from worker.steps.pipeline import Pipeline, Steps
from worker.steps.slots import unlimited
from worker.steps.sorting import sort
from worker.values import (
    Answer,
    Arrival,
    Cancellation,
    Duplicate,
    Refusal,
    Route,
    Unreadable,
    Unrecorded,
    Waiting,
)

MINE = Route("mine", None, None)
NOTHING: Any = None


class Others:
    """Stands for the steps beside, and for the intake."""

    def __init__(self) -> None:
        self.happened: list[tuple[str, object]] = []
        self.reads: list[tuple[Delivery, Any]] = []
        self.on_record: list[Duplicate] = []
        self.again: list[bool] = []
        self.hand = self
        steps = Steps(*[cast("Any", self)] * len(Steps._fields))
        self.pipeline = Pipeline(steps, cast("Any", self), NOTHING, Metrics(), Tracing(), FailPoint(""))

    async def bury(self, dead: Sequence[tuple[Delivery, Unreadable]]) -> list[Any]:
        self.happened.append(("bury", [delivery.tag for delivery, _ in dead]))
        return list(dead[:1])

    async def answer(self, answers: Sequence[Answer], *, again: bool = False) -> None:
        self.again.append(again)
        self.happened.append(("answer", [answer.request_id.int for answer in answers]))

    async def decode_now(self, _deliveries: Sequence[Delivery]) -> list[tuple[Delivery, Any]]:
        return self.reads

    async def known(self, arrivals: Sequence[Arrival]) -> list[Duplicate]:
        self.happened.append(("known", [one.request_id.int for one in arrivals]))
        return self.on_record

    def add(self, deliveries: Sequence[Delivery]) -> None:
        self.happened.append(("in line", [one.tag for one in deliveries]))

    async def put_in_line(self, waiting: Sequence[Waiting]) -> list[Duplicate]:
        self.happened.append(("put in line", [one.arrival.request_id.int for one in waiting]))
        return self.on_record

    def joined(self, lined: Sequence[Waiting]) -> None:
        self.happened.append(("joined", [one.arrival.request_id.int for one in lined]))

    def hold(self, dead: Sequence[tuple[Delivery, Unreadable]]) -> None:
        self.happened.append(("hold", [delivery.tag for delivery, _ in dead]))

    async def cancel(self, asked: Sequence[Cancellation]) -> None:
        self.happened.append(("cancel", [wish.request_id.int for wish in asked]))

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        self.happened.append(("settle", [delivery.tag for delivery in deliveries]))


def delivery(tag: int) -> Delivery:
    return Delivery(tag, Message(b"", spec.Basic.Properties(), None), NOTHING, 0.0)


async def test_refusals_are_answered_and_settled_and_cancellations_carried_out_and_settled() -> None:
    others = Others()
    refusal = Refusal(FailureCode.SECRETS_REFUSED, "no key")
    reads: list[Any] = [
        Unreadable("not JSON"),
        Unrecorded(UUID(int=8), refusal, MINE),
        Cancellation(request_id=UUID(int=9), reason=None, route=MINE),
    ]
    sent = [delivery(tag) for tag in (1, 2, 3)]

    unburied = await others.pipeline._without_slots(sort(list(zip(sent, reads, strict=True))))

    assert [one.tag for one, _ in unburied] == [1]
    assert others.happened == [
        ("bury", [1]), ("answer", [8]), ("settle", [2]), ("cancel", [9]), ("settle", [3]),
    ]  # fmt: skip


async def test_where_there_is_nothing_of_it_nothing_is_done() -> None:
    others = Others()

    assert await others.pipeline._without_slots(sort([])) == []
    assert others.happened == [("bury", [])]


def arrival(number: int) -> Arrival:
    return Arrival(request_id=UUID(int=number), fingerprint=b"", session_id="ts", route=MINE)


def stored(number: int) -> Duplicate:
    request_id = UUID(int=number)
    answer = Answer(
        request_id=request_id,
        status="completed",
        code=None,
        body="{}",
        message_id=str(request_id),
        route=MINE,
    )
    return Duplicate(request_id, answer)


async def test_a_dead_letter_that_finds_no_queue_is_held_whichever_way_it_came() -> None:
    others = Others()
    others.reads = [(delivery(1), Unreadable("not JSON")), (delivery(2), Unreadable("not JSON"))]

    await others.pipeline.run_cancels([])
    await others.pipeline.run_read(others.reads, unlimited(0))

    assert others.happened == [
        ("bury", [1, 2]), ("in line", []), ("hold", [1]), ("bury", [1, 2]), ("hold", [1]),
    ]  # fmt: skip


async def test_a_request_that_strayed_among_the_cancellations_gets_in_line_with_its_copies() -> None:
    others = Others()
    others.reads = [(delivery(tag), arrival(number)) for tag, number in ((1, 7), (2, 8), (3, 7))]

    await others.pipeline.run_cancels([])

    assert ("in line", [1, 2, 3]) in others.happened


async def test_copies_in_a_batch_are_answered_one_after_the_other_as_what_was_answered_before() -> None:
    others = Others()
    others.on_record = [stored(7), stored(7), stored(8), Duplicate(UUID(int=9), None)]
    repeated = [(delivery(tag), arrival(number)) for tag, number in ((1, 7), (2, 7), (3, 8), (4, 9))]

    await others.pipeline._answer_repeated(repeated)
    await others.pipeline._answer_repeated([])

    assert others.happened == [
        ("known", [7, 7, 8, 9]), ("answer", [7, 8]), ("answer", [7]), ("settle", [1, 2, 3, 4]),
    ]  # fmt: skip
    assert others.again == [True, True]


async def test_what_is_on_record_is_answered_as_what_was_answered_before_and_settled() -> None:
    others = Others()

    async def settle(request_ids: Sequence[UUID]) -> None:
        others.happened.append(("settle", [one.int for one in request_ids]))

    await others.pipeline._answer_known([stored(7), Duplicate(UUID(int=8), None)], settle)
    await others.pipeline._answer_known([], settle)

    assert others.happened == [("answer", [7]), ("settle", [7, 8])]
    assert others.again == [True]


async def test_what_is_in_line_is_settled_and_what_was_on_record_is_answered() -> None:
    others = Others()
    others.on_record = [stored(8)]
    waiting = [
        Waiting(arrival(7)._replace(org_id="a"), "over_share"),
        Waiting(arrival(8)._replace(org_id="b"), "rate"),
        Waiting(arrival(9)._replace(org_id="c"), "paused"),
    ]

    async def settle(request_ids: Sequence[UUID]) -> None:
        others.happened.append(("settle", [one.int for one in request_ids]))

    await others.pipeline._wait(waiting, settle)

    assert others.happened == [
        ("put in line", [7, 8, 9]), ("joined", [7, 9]), ("answer", [8]), ("settle", [8]), ("settle", [7, 9]),
    ]  # fmt: skip
    registry = others.pipeline._metrics.registry
    assert registry.get_sample_value("worker_shares_throttled_total") == 1


async def test_of_nothing_nothing_is_asked() -> None:
    others = Others()

    async def settle(request_ids: Sequence[UUID]) -> None:
        raise AssertionError(request_ids)

    await others.pipeline._wait([], settle)
    await others.pipeline._begin([], unlimited(0), settle)
    await others.pipeline.work([], 7, unlimited(0), settle)

    assert others.happened == []
