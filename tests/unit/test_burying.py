"""A dead letter that no queue takes is held and tried again; the broker is told of the others alone."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from pamqp import commands as spec

from schemas import FailureCode
from worker.messages.envelope import Message
from worker.rabbitmq.channel_session import Delivery
from worker.steps.burying import Burying, Dead
from worker.values import Answer, Refusal, Route, Unreadable, Unrecorded


class Others:
    """Stands for what publishes and for the intake: the queue takes what it is told to take."""

    def __init__(self, *taken: bytes) -> None:
        self.taken = set(taken)
        self.settled: list[int] = []
        self.answered: list[int] = []
        me: Any = self
        self.burying = Burying(me, me)

    async def bury(self, messages: Sequence[tuple[Message, Unreadable]]) -> list[bool]:
        return [message.body in self.taken for message, _ in messages]

    async def answer(self, answers: Sequence[Answer]) -> None:
        self.answered += [one.request_id.int for one in answers]

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        self.settled += [one.tag for one in deliveries]


def dead(tag: int, body: bytes, *, waits: bool = False, is_open: bool = True) -> Dead:
    session: Any = SimpleNamespace(open=is_open)
    told = Unrecorded(
        UUID(int=tag), Refusal(FailureCode.INVALID_REQUEST, "not JSON"), Route("mine", None, None)
    )
    message = Message(body, spec.Basic.Properties(), None)
    return Delivery(tag, message, session, 0.0), Unreadable("not JSON", told=told if waits else None)


async def test_what_is_buried_is_settled_and_who_waits_for_it_is_told() -> None:
    others = Others(b"a")
    given = [dead(1, b"a", waits=True), dead(2, b"b", waits=True), dead(3, b"a")]

    assert await others.burying.bury(given) == [given[1]]

    assert (others.settled, others.answered) == ([1, 3], [1])
    assert await others.burying.bury([]) == []


async def test_what_no_queue_takes_is_tried_again_until_one_does_or_its_channel_is_lost() -> None:
    others = Others(b"a")
    others.burying.hold([dead(1, b"a"), dead(2, b"b")])
    others.burying.hold([dead(3, b"b", is_open=False)])

    await others.burying.bury_held()
    assert others.settled == [1]
    others.taken = {b"b"}
    await others.burying.bury_held()
    await others.burying.bury_held()
    assert others.settled == [1, 2]
