"""Each message goes over the connection on which it hurts the fewest, until there is a receipt for it."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import pytest
from pamqp import commands as spec

from schemas.wire import DIRECT_REPLY
from worker.errors import PublishInterrupted
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rabbitmq import dispatcher
from worker.rabbitmq.dispatcher import Dispatcher
from worker.rabbitmq.known_queues import DEAD_PART, PART, KnownQueues
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

NAMES = names_for("sessions")
CONFIRMED, REFUSED, UNROUTABLE = Receipt.CONFIRMED, Receipt.REFUSED, Receipt.UNROUTABLE
INTERRUPTED = PublishInterrupted("cut")
DIRECT = f"{DIRECT_REPLY}g2dkAA9yZXBseUAxMjcuMC4wLjEAAAAAAAAAAAA=.bWU="
GARBLED = f"{DIRECT_REPLY}xxxx"


class Line:
    """Stands for a publisher: it gives the receipts that it is told to give, or is interrupted."""

    def __init__(self, *says: PublishInterrupted | list[Receipt]) -> None:
        self.part = "a test"
        self.lost_over_content = False
        self.says = list(says)
        self.got: list[list[str]] = []
        self.waited = 0

    async def publish(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        self.got.append([message.routing_key for message in messages])
        said = self.says.pop(0) if self.says else [CONFIRMED] * len(messages)
        if isinstance(said, PublishInterrupted):
            raise said
        return said

    async def until_up(self) -> None:
        self.waited += 1


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "delays", lambda _first, _longest: repeat(0.0))


def message(to: str, exchange: str = "") -> Outgoing:
    return Outgoing(exchange, to, b"", spec.Basic.Properties(message_id=to))


def shared(status: str) -> Outgoing:
    return message(status, NAMES.responses)


def made(usual: Any, direct: Any = None, apart: Any = None) -> Dispatcher:
    queues = KnownQueues(NAMES, Readiness((PART, DEAD_PART)))
    others: tuple[Any, Any] = (direct or Line(), apart or Line())
    return Dispatcher(usual, *others, queues, Metrics())


async def test_each_goes_its_way_and_gets_its_own_receipt() -> None:
    usual, direct = Line([CONFIRMED, UNROUTABLE, REFUSED]), Line([UNROUTABLE])
    messages = [shared("completed"), message(DIRECT), message("theirs"), message(GARBLED), message("full")]

    receipts = await made(usual, direct).publish(messages)

    assert receipts == [CONFIRMED, UNROUTABLE, UNROUTABLE, None, REFUSED]
    assert (usual.got, direct.got) == ([["completed", "theirs", "full"]], [[DIRECT]])


async def test_an_address_behind_an_exchange_is_no_direct_reply() -> None:
    usual, direct = Line(), Line()

    assert await made(usual, direct).publish([message(DIRECT, NAMES.dead)]) == [CONFIRMED]
    assert direct.got == []


async def test_what_is_known_is_not_sent_unless_it_is_asked_for() -> None:
    usual = Line([REFUSED, CONFIRMED], [CONFIRMED], [CONFIRMED, CONFIRMED])
    sends = made(usual)

    assert await sends.publish([message("full"), message("other")]) == [REFUSED, CONFIRMED]
    assert await sends.publish([message("full"), message("other")]) == [REFUSED, CONFIRMED]
    assert await sends.publish([message("full"), message("other")], ask=True) == [CONFIRMED, CONFIRMED]
    assert await sends.publish([message("full")]) == [CONFIRMED], "it took one"
    assert usual.got == [["full", "other"], ["other"], ["full", "other"], ["full"]]


async def test_what_is_interrupted_is_sent_again_once_there_is_a_connection() -> None:
    usual, direct = Line(INTERRUPTED, INTERRUPTED), Line(INTERRUPTED)

    receipts = await made(usual, direct).publish([message("theirs"), message(DIRECT)])

    assert receipts == [CONFIRMED, CONFIRMED]
    assert (usual.got, direct.got) == ([["theirs"]] * 3, [[DIRECT]] * 2)
    assert (usual.waited, direct.waited) == (2, 1)


async def test_after_one_that_cost_the_connection_all_go_apart() -> None:
    usual, apart = Line(INTERRUPTED), Line(INTERRUPTED, [CONFIRMED, REFUSED])
    usual.lost_over_content = True
    sends = made(usual, apart=apart)

    assert await sends.publish([message("one"), message("full")]) == [CONFIRMED, REFUSED]
    assert (usual.got, apart.got) == ([["one", "full"]], [["one", "full"]] * 2)
    assert usual.waited == 2, "it waits for the usual one, that shows that the broker is there"
    assert await sends.publish([message("full")]) == [REFUSED], "it is remembered from there, too"
    assert len(apart.got) == 2


async def test_direct_replies_after_one_that_cost_the_connection_are_left_to_who_asked() -> None:
    direct, apart = Line(INTERRUPTED), Line()
    direct.lost_over_content = True

    assert await made(Line(), direct, apart).publish([message(DIRECT), message("one")]) == [None, CONFIRMED]
    assert apart.got == []


async def test_nothing_is_sent_of_nothing() -> None:
    usual = Line()

    assert await made(usual).publish([]) == []
    assert usual.got == []


async def test_receipts_are_counted() -> None:
    metrics = Metrics()
    queues = KnownQueues(NAMES, Readiness((PART, DEAD_PART)))
    sends: Any = Line([CONFIRMED, REFUSED, CONFIRMED])

    direct: Any = Line([UNROUTABLE])

    await Dispatcher(sends, direct, sends, queues, metrics).publish(
        [message(to) for to in ("a", "b", DIRECT, "c")]
    )

    counted = [metrics.responses.labels(one.value)._value.get() for one in (CONFIRMED, REFUSED, UNROUTABLE)]
    assert counted == [2, 1, 1]
