"""A message over which the broker closes each new connection is given up, and no other with it."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from pamqp import commands as spec

from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

CONFIRMED, REFUSED, UNPUBLISHABLE = Receipt.CONFIRMED, Receipt.REFUSED, Receipt.UNPUBLISHABLE


class Connections(OneByOne):
    """Gets from each connection the receipts that it is told to get, until that is lost."""

    def __init__(self, *receipts: list[Receipt]) -> None:
        nothing: Any = None
        super().__init__(nothing, 5)
        self.receipts = deque(receipts)
        self.sent: list[str] = []

    async def _publish_some(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        self.sent.append("".join(message.routing_key for message in messages))
        return self.receipts.popleft()


@pytest.mark.parametrize(
    ("receipts", "sent", "found"),
    [
        ([[CONFIRMED, REFUSED, CONFIRMED]], ["abc"], [CONFIRMED, REFUSED, CONFIRMED]),
        (
            [[CONFIRMED], [], [], [CONFIRMED]],
            ["abc", "bc", "bc", "c"],
            [CONFIRMED, UNPUBLISHABLE, CONFIRMED],
        ),
        (
            [[], [], [], [CONFIRMED], [], []],
            ["abc", "abc", "abc", "bc", "c", "c"],
            [UNPUBLISHABLE, CONFIRMED, UNPUBLISHABLE],
        ),
        (
            [[], [], [], [], [], [], [CONFIRMED]],
            ["abc", "abc", "abc", "bc", "bc", "bc", "c"],
            [UNPUBLISHABLE, UNPUBLISHABLE, CONFIRMED],
        ),
        (
            [[], [], [CONFIRMED], [], [CONFIRMED, CONFIRMED]],
            ["abc", "abc", "abc", "bc", "bc"],
            [CONFIRMED] * 3,
        ),
    ],
)
async def test_each_gets_its_receipt_and_one_that_costs_three_connections_is_given_up(
    receipts: list[list[Receipt]], sent: list[str], found: list[Receipt]
) -> None:
    connections = Connections(*receipts)
    messages = [Outgoing("", to, b"", spec.Basic.Properties(message_id=to)) for to in "abc"]

    assert await connections.publish(messages) == found
    assert connections.sent == sent
    assert await connections.publish([]) == []
