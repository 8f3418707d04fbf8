"""Of what the broker acknowledges exactly that is confirmed, and in the order of the library's own."""

from types import SimpleNamespace
from typing import Any

import pytest
from pamqp import commands as spec
from pamqp.frame import marshal

from worker.rabbitmq.confirms import Confirms


class Channel(SimpleNamespace):
    """The part of the library's channel that is used: what is in flight, and what confirms one of it."""

    def __init__(self, *in_flight: int) -> None:
        super().__init__(
            confirmations=dict.fromkeys(in_flight), delivery_tag=max(in_flight, default=0), confirmed=[]
        )

    def _confirm_delivery(self, number: int, frame: Any) -> None:
        assert isinstance(frame, spec.Basic.Ack)
        del self.confirmations[number]
        self.confirmed.append(number)


def ack(number: int, *, multiple: bool = False) -> bytes:
    return marshal(spec.Basic.Ack(number, multiple), 1)


def made(*in_flight: int) -> tuple[Confirms, Any]:
    channel: Any = Channel(*in_flight)
    return Confirms(channel), channel


@pytest.mark.parametrize(
    ("number", "multiple", "confirmed"),
    [(3, False, [3]), (3, True, [1, 2, 3]), (1, True, [1]), (4, False, [4])],
)
def test_exactly_what_is_acknowledged_is_confirmed(number: int, multiple: bool, confirmed: list[int]) -> None:
    confirms, channel = made(1, 2, 3, 4)
    data = b"before" + ack(number, multiple=multiple) + b"behind"

    assert data[confirms.take_whole(data, len(b"before")) :] == b"behind"
    assert channel.confirmed == confirmed


def test_what_is_not_in_flight_or_no_acknowledgement_is_left_to_the_library() -> None:
    confirms, channel = made(1, 2)
    nack = marshal(spec.Basic.Nack(1, multiple=False, requeue=False), 1)
    for data in (ack(7), ack(7, multiple=True), nack, marshal(spec.Basic.CancelOk("x"), 1)):
        assert confirms.take_whole(data + b"behind it", 0) == 0
    for end in range(len(ack(1))):
        assert confirms.take_whole(ack(1)[:end], 0) == 0
    assert confirms.take_whole(ack(1)[:-1] + b"\x00", 0) == 0
    assert not confirms.take(ack(1))
    assert channel.confirmed == []
    assert confirms.take_whole(ack(1), 0) == len(ack(1))


def test_until_the_library_has_dealt_with_what_it_was_left_it_is_left_the_rest() -> None:
    confirms, channel = made(1, 2, 3)
    confirms.passed_on()  # a return, perhaps, of any of the three
    channel.confirmations[4] = None

    assert confirms.take_whole(ack(4), 0) == 0
    for number in (1, 2):
        del channel.confirmations[number]
    assert confirms.take_whole(ack(4), 0) == 0
    del channel.confirmations[3]
    assert confirms.take_whole(ack(4), 0) == len(ack(4))
    assert channel.confirmed == [4]
