"""Deliveries are put together from the bytes of their frames, whole or in pieces; all else is left alone."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from worker.messages.large_bodies import Body, Whole
from worker.rabbitmq.arriving import HEAD, Arrived, Deliveries

KEPT = 500  # bytes


class Sent(NamedTuple):
    """A delivery as a broker sends it."""

    tag: int
    body: bytes
    exchange: str = "sessions.requests"
    routing_key: str = "create"
    consumer: str = "ours"
    redelivered: bool = False
    channel: int = 1
    piece: int = 1000  # bytes of the body in a frame

    @property
    def frames(self) -> list[bytes]:
        method = spec.Basic.Deliver(
            self.consumer, self.tag, self.redelivered, self.exchange, self.routing_key
        )
        properties = spec.Basic.Properties(message_id=f"m-{self.tag}")
        header = ContentHeader(body_size=len(self.body), properties=properties)
        pieces = [self.body[at : at + self.piece] for at in range(0, len(self.body), self.piece)]
        frames: list[FrameTypes] = [method, header, *map(ContentBody, pieces)]
        return [marshal(one, self.channel) for one in frames]

    @property
    def stream(self) -> bytes:
        return b"".join(self.frames)


class Reader:
    """Takes bytes as they come, and keeps what it has received and what is left to the client library."""

    def __init__(self) -> None:
        self.received: list[Arrived] = []
        self.left: list[bytes] = []
        self.asked: list[tuple[int, str | None]] = []
        self.deliveries = Deliveries({b"ours": self.received.append}, self._body_for, KEPT)
        self._buffer = b""

    def _body_for(self, size: int, properties: Any) -> Body:
        self.asked.append((size, properties().message_id))
        return Whole()

    def feed(self, data: bytes) -> "Reader":
        self._buffer += data
        while self._take_one():
            pass
        return self

    def _take_one(self) -> bool:
        size = self.deliveries.take_whole(self._buffer, 0)
        if size == 0:
            size = HEAD + int.from_bytes(self._buffer[3:HEAD], "big") + 1
            if len(self._buffer) < max(size, HEAD + 1):
                return False
            if not self.deliveries.take(self._buffer[:size]):
                self.left.append(self._buffer[:size])
        self._buffer = self._buffer[size:]
        return True

    @property
    def facts(self) -> list[tuple[object, ...]]:
        return [facts_of(one) for one in self.received]


def facts_of(one: Arrived | Sent) -> tuple[object, ...]:
    name = f"m-{one.tag}" if isinstance(one, Sent) else one.properties_read().message_id
    return one.tag, one.exchange, one.routing_key, one.body, name


_OTHERS = st.sampled_from(
    [marshal(Heartbeat(), 0), marshal(spec.Basic.Ack(7), 1), marshal(spec.Basic.QosOk(), 1)]
)
_DELIVERIES = st.builds(
    Sent,
    tag=st.integers(1, 1 << 40),
    body=st.sampled_from([b"", b"x", b"y" * KEPT, b"z" * (KEPT + 1), bytes(range(256)) * 9]),
    exchange=st.sampled_from(["", "sessions.requests", "e" * 100]),
    routing_key=st.sampled_from(["create", "cancel", ""]),
    consumer=st.sampled_from(["ours", "another's"]),
    redelivered=st.booleans(),
    channel=st.just(1),
    piece=st.sampled_from([400, 1000]),
)


@given(st.lists(st.one_of(_DELIVERIES, _OTHERS), max_size=8), st.data())
def test_whatever_pieces_they_come_in_the_same_deliveries_arrive(items: list[Any], data: Any) -> None:
    reader = Reader()
    stream = b"".join(one.stream if isinstance(one, Sent) else one for one in items)
    while stream:
        size = data.draw(st.sampled_from([1, 7, 8, 60, 700, 1 << 20]))
        reader.feed(stream[:size])
        stream = stream[size:]

    deliveries = [one for one in items if isinstance(one, Sent)]
    assert reader.facts == [facts_of(one) for one in deliveries if one.consumer == "ours"]
    assert all(one.dropped is None for one in reader.received)
    assert reader.left == [
        frame
        for one in items
        for frame in (one.frames if isinstance(one, Sent) else [one])
        if not isinstance(one, Sent) or one.consumer != "ours"
    ]


def test_one_that_came_whole_is_taken_at_its_place_and_without_a_question_for_its_size() -> None:
    reader, before, one = Reader(), b"before", Sent(3, b"z" * KEPT)
    stream = before + one.stream + Sent(4, b"y").stream

    end = reader.deliveries.take_whole(stream, len(before))

    assert stream[end:] == Sent(4, b"y").stream
    assert reader.facts == [facts_of(one)]
    assert reader.asked == []


def test_of_a_large_one_it_is_asked_what_takes_its_pieces() -> None:
    reader = Reader().feed(Sent(3, b"z" * (KEPT + 1)).stream).feed(Sent(4, b"", channel=1).stream)

    assert reader.asked == [(KEPT + 1, "m-3"), (0, "m-4")]
    assert [one.body for one in reader.received] == [b"z" * (KEPT + 1), b""]


ONE = Sent(3, b"body")
ENDS = [sum(map(len, ONE.frames[:number])) for number in (1, 2, 3)]


@pytest.mark.parametrize("end", range(len(ONE.stream)))
def test_one_that_has_not_come_whole_is_not_taken_whole(end: int) -> None:
    reader = Reader()

    assert reader.deliveries.take_whole(ONE.stream[:end], 0) == 0
    assert reader.received == []


@pytest.mark.parametrize(
    "at",
    [
        0, ENDS[0], ENDS[1],  # what kind of frame it is
        *(end - 1 for end in ENDS),  # the byte that ends a frame
        ENDS[0] + 1, ENDS[0] + 2, ENDS[1] + 1, ENDS[1] + 2,  # the number of the channel
        ENDS[0] + HEAD, ENDS[0] + HEAD + 1,  # the class of the header
        ENDS[0] + HEAD + 11,  # the size of the body
        HEAD, HEAD + 1, HEAD + 2, HEAD + 3,  # class and method
    ],
)  # fmt: skip
def test_one_that_is_wrong_is_left_to_the_library(at: int) -> None:
    reader = Reader()
    wrong = bytearray(ONE.stream)
    wrong[at] ^= 1

    assert reader.deliveries.take_whole(bytes(wrong), 0) == 0
    assert reader.received == []


def test_between_the_frames_of_one_no_other_is_taken_whole() -> None:
    reader = Reader()
    assert reader.deliveries.take(ONE.frames[0])

    assert reader.deliveries.take_whole(Sent(4, b"y").stream, 0) == 0
    assert [reader.deliveries.take(frame) for frame in ONE.frames[1:]] == [True, True]
    assert reader.facts == [facts_of(ONE)]


def test_a_frame_out_of_its_place_is_left_to_the_library() -> None:
    method, header, body = ONE.frames
    reader = Reader()

    assert not reader.deliveries.take(header), "no delivery has begun"
    assert not reader.deliveries.take(body)
    assert not reader.deliveries.take(method[:-1] + b"\x00"), "it has no end"
    assert not reader.deliveries.take(marshal(spec.Basic.QosOk(), 1))
    assert reader.deliveries.take(method)
    assert not reader.deliveries.take(body), "its header has not come"
    assert not reader.deliveries.take(marshal(Heartbeat(), 1))
    other_class = bytearray(header)
    other_class[HEAD + 1] ^= 1
    assert not reader.deliveries.take(bytes(other_class))
    assert reader.deliveries.take(header)
    assert reader.received == []
    assert reader.deliveries.take(body)
    assert reader.facts == [facts_of(ONE)]
    assert not reader.deliveries.take(body), "it is over"
