"""What needs no creation is dealt with first, and the broker is told of each of it."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from schemas import FailureCode
from worker.monitoring.metrics import Metrics
from worker.monitoring.tracing import Tracing
from worker.process.failpoint import FailPoint
from worker.rabbitmq.channel_session import Delivery
from worker.steps.pipeline import Pipeline, Steps
from worker.steps.sorting import sort
from worker.values import Answer, Cancellation, Refusal, Route, Unreadable, Unrecorded

MINE = Route("mine", None, None)
NOTHING: Any = None


class Others:
    """Stands for the steps beside, and for the intake."""

    def __init__(self) -> None:
        self.happened: list[tuple[str, object]] = []
        steps = Steps(*[cast("Any", self)] * len(Steps._fields))
        self.pipeline = Pipeline(steps, cast("Any", self), NOTHING, Metrics(), Tracing(), FailPoint(""))

    async def bury(self, dead: Sequence[tuple[Delivery, Unreadable]]) -> list[Any]:
        self.happened.append(("bury", [delivery.tag for delivery, _ in dead]))
        return list(dead[:1])

    async def answer(self, answers: Sequence[Answer]) -> None:
        self.happened.append(("answer", [answer.request_id.int for answer in answers]))

    async def cancel(self, asked: Sequence[Cancellation]) -> None:
        self.happened.append(("cancel", [wish.request_id.int for wish in asked]))

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        self.happened.append(("settle", [delivery.tag for delivery in deliveries]))


def delivery(tag: int) -> Delivery:
    return Delivery(tag, NOTHING, NOTHING, 0.0)


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
