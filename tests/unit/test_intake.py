"""Deliveries are acknowledged once each, in runs of one frame; a run waits for the gaps in it."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.frame import unmarshal

from worker.monitoring.readiness import Readiness
from worker.rabbitmq.buffered import Source
from worker.rabbitmq.channel_session import ChannelSession, Delivery
from worker.rabbitmq.in_hand import Bounds, LineRule
from worker.rabbitmq.intake import Intake


def session_with(delivered: int, hold_back: int = 100) -> ChannelSession:
    channel: Any = SimpleNamespace(is_closed=False)
    session = ChannelSession(channel, hold_back)
    for tag in range(1, delivered + 1):
        session.delivered(tag, 1)
    return session


def frames(session: ChannelSession, *tags: int, everything: bool = False) -> list[tuple[int, bool]]:
    return [(ack.delivery_tag or 0, ack.multiple) for ack in session.settle(tags, everything=everything)]


def test_a_run_is_settled_with_one_frame() -> None:
    session = session_with(5)

    assert frames(session, 1, 2, 3) == [(3, True)]
    assert frames(session, 4, 5) == [(5, True)]
    assert session.unsettled == 0


def test_what_was_before_a_flood_waits_for_a_quarter_of_it() -> None:
    session = session_with(1000, hold_back=2)
    quiet = list(range(801, 999))

    for tag in quiet:
        assert frames(session, tag) == [], "the broker would look through 800 for it"
    assert frames(session, *range(1, 11)) == [(10, True)]
    assert frames(session, 999, 1000) == [(tag, False) for tag in [*quiet, 999, 1000]]
    assert session.unsettled == 790


def test_the_order_within_a_batch_does_not_matter() -> None:
    assert frames(session_with(4), 3, 1, 4, 2) == [(4, True)]


def test_what_lies_behind_a_gap_waits_until_the_gap_closes() -> None:
    session = session_with(5)

    assert frames(session, 2, 3) == []
    assert frames(session, 5) == []
    assert session.unsettled == 5
    assert frames(session, 1) == [(3, True)]
    assert frames(session, 4) == [(5, True)]


def test_a_gap_holds_back_no_more_than_so_many() -> None:
    session = session_with(6, hold_back=2)

    assert frames(session, 3) == []
    assert frames(session, 2) == []
    assert frames(session, 5) == [(2, False), (3, False), (5, False)]
    assert session.unsettled == 3
    assert frames(session, 1, 4) == [(4, True)]
    assert frames(session, 6) == [(6, True)]


def test_at_the_end_nothing_is_held_back() -> None:
    session = session_with(4)

    assert frames(session, 2, 4) == []
    assert frames(session, everything=True) == [(2, False), (4, False)]
    assert session.unsettled == 2


def test_a_delivery_that_was_given_back_is_no_gap() -> None:
    session = session_with(3)
    assert frames(session, 2) == []

    assert session.forget(1)

    assert frames(session) == [(2, True)]
    assert not session.forget(1)
    assert not session.forget(2)
    assert session.unsettled == 1


def test_a_delivery_that_was_settled_cannot_be_given_back() -> None:
    session = session_with(2)
    frames(session, 2)

    assert not session.forget(2)
    assert session.forget(1)


class Broker:
    """Keeps account of deliveries as a broker does, and rejects what a broker rejects."""

    def __init__(self, delivered: int) -> None:
        self.outstanding = set(range(1, delivered + 1))
        self.acknowledged: set[int] = set()

    def take(self, acks: list[spec.Basic.Ack]) -> None:
        for ack in acks:
            tag = ack.delivery_tag or 0
            assert tag in self.outstanding, "an unknown delivery tag closes the channel"
            covered = {other for other in self.outstanding if other <= tag} if ack.multiple else {tag}
            self.outstanding -= covered
            self.acknowledged |= covered


@given(st.data())
def test_in_whatever_order_they_are_settled_the_broker_hears_of_exactly_those(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    order = data.draw(st.permutations(range(1, count + 1)))
    session, broker = session_with(count, data.draw(st.integers(0, 20))), Broker(count)
    settled: set[int] = set()
    given_back: set[int] = set()
    left = order[: data.draw(st.integers(0, count))]
    while left:
        size = data.draw(st.integers(1, len(left)))
        batch, left = left[:size], left[size:]
        if data.draw(st.booleans()):
            broker.take(session.settle(batch, everything=data.draw(st.booleans())))
            settled.update(batch)
        else:
            for tag in batch:
                assert session.forget(tag)
                broker.outstanding.discard(tag)
                given_back.add(tag)
        assert broker.acknowledged <= settled
    broker.take(session.settle([], everything=True))

    assert broker.acknowledged == settled
    assert broker.outstanding == set(order) - settled - given_back
    assert session.unsettled == len(broker.outstanding)


class _Line(asyncio.Queue[Any]):
    """A connection's queue of writes, which a broker reads."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(10)
        self.broker = broker
        self.nacked: set[int] = set()

    async def drain(self) -> None:
        while True:
            payload = (await self.get()).payload
            while payload:
                size, _, frame = unmarshal(payload)
                payload = payload[size:]
                if isinstance(frame, spec.Basic.Ack):
                    self.broker.take([frame])
                else:
                    tag = getattr(frame, "delivery_tag", 0)
                    assert tag in self.broker.outstanding
                    self.broker.outstanding.discard(tag)
                    self.nacked.add(tag)

    async def drained(self, draining: "asyncio.Task[None]") -> None:
        while self.qsize():  # noqa: ASYNC110 — its own join would want it to be told of each
            await asyncio.sleep(0)
        draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining


@pytest.mark.parametrize("lanes_a_turn", [1, 8, 15, 40])
async def test_acknowledgements_that_wait_for_room_are_not_overtaken(lanes_a_turn: int) -> None:
    count = 1_011
    broker = Broker(count)
    line = _Line(broker)
    channel: Any = SimpleNamespace(is_closed=False, number=1, write_queue=line)
    session = ChannelSession(channel, 100)
    for tag in range(1, count + 1):
        session.delivered(tag, 1)
    draining = asyncio.create_task(line.drain())
    settling: list[asyncio.Task[None]] = []
    for tag in range(1, count + 1):
        back = tag % 50 in range(12)  # a batch of twelve that failed
        if back and tag % 50 == 11:
            settling.append(asyncio.create_task(session.give_back(range(tag - 11, tag + 1))))
        elif not back:
            settling.append(asyncio.create_task(session.acknowledge([tag], everything=False)))
        if tag % lanes_a_turn == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*settling)
    await line.drained(draining)
    assert not broker.outstanding
    assert line.nacked == {tag for tag in range(1, count + 1) if tag % 50 in range(12)} - {0}


async def test_more_than_go_out_at_once_are_all_given_back() -> None:
    count = 2_500
    broker = Broker(count)
    line = _Line(broker)
    session = ChannelSession(SimpleNamespace(is_closed=False, number=1, write_queue=line), 100)  # type: ignore[arg-type]  # what it uses of a channel
    for tag in range(1, count + 1):
        session.delivered(tag, 1)
    draining = asyncio.create_task(line.drain())

    await session.give_back(range(1, count + 1))
    await line.drained(draining)

    assert line.nacked == set(range(1, count + 1))
    assert (session.unsettled, session.held_bytes) == (0, 0)


def test_what_was_shed_has_room_the_oldest_first_and_one_of_any_size_where_nothing_is_held() -> None:
    session = session_with(0)
    session.delivered(1, 5)
    for tag, size in ((2, 100), (3, 50), (4, 10)):
        session.delivered_and_shed(tag, size)
    assert (session.held_bytes, session.unsettled) == (5, 4)

    assert session.take_shed(99) == [], "a smaller one does not overtake it"
    assert session.take_shed(100) == [2]
    assert session.take_shed(60) == [3, 4]
    frames(session, 1)
    for tag in (5, 6):
        session.delivered_and_shed(tag, 1000)
    assert session.take_shed(0) == [5]
    assert session.take_all_shed() == [6]
    assert session.take_all_shed() == []


async def test_what_is_given_back_comes_again_and_on_a_closed_channel_nothing_is_sent() -> None:
    line: asyncio.Queue[Any] = asyncio.Queue()
    channel: Any = SimpleNamespace(is_closed=False, number=1, write_queue=line)
    session = ChannelSession(channel, 100)
    for tag in (1, 2, 3):
        session.delivered(tag, 1)
    assert session.received == 3

    await session.give_back([2])

    _, _, nack = unmarshal(line.get_nowait().payload)
    assert isinstance(nack, spec.Basic.Nack)
    assert (nack.delivery_tag, nack.requeue, nack.multiple) == (2, True, False)
    await session.acknowledge([3], everything=False)
    assert line.empty(), "it waits for the first one"
    channel.is_closed = True
    await session.acknowledge([1], everything=True)
    assert line.empty()
    assert session.unsettled == 0


def test_what_is_held_back_hands_out_nothing() -> None:
    bounds = Bounds(deliveries=8, held_bytes=100, body_bytes=100)
    intake = Intake([Source("queue")], bounds, Readiness([]), None, eager=False)
    message: Any = SimpleNamespace(body=b"")
    intake.hand.add([Delivery(1, message, session_with(1), 0.0)])

    intake.hold_back()
    assert intake.take(5) == []
    intake.go_on()
    assert len(intake.take(5)) == 1


async def test_who_waits_for_deliveries_is_told_that_it_is_stopped() -> None:
    bounds = Bounds(deliveries=8, held_bytes=100, body_bytes=100)
    intake = Intake([Source("queue")], bounds, Readiness([]), None, eager=False)
    waiting = [asyncio.create_task(intake.arrivals()), asyncio.create_task(intake.passers_by())]
    await asyncio.sleep(0)

    await intake.stop()

    assert await asyncio.wait_for(asyncio.gather(*waiting), 60) == [0, False]
    message: Any = SimpleNamespace(body=b"")
    intake.hand.add([Delivery(1, message, session_with(1), 0.0)])
    assert await asyncio.wait_for(intake.arrivals(), 60) == 0
    intake.read([Source("other")])
    assert not intake._turned.is_set()


async def test_what_is_there_when_it_goes_on_is_handed_out_at_once() -> None:
    bounds = Bounds(deliveries=8, held_bytes=100, body_bytes=100)
    readiness = Readiness(["postgres", "responses"])
    intake = Intake([Source("queue")], bounds, readiness, None, eager=False)
    message: Any = SimpleNamespace(body=b"")
    intake.hand.add([Delivery(1, message, session_with(1), 0.0)])
    for part in ("postgres", "responses"):
        readiness.up(part)
    intake.hold_back()
    waits = asyncio.create_task(intake.arrivals())
    await asyncio.sleep(0)
    assert not waits.done()

    intake.go_on()

    assert await asyncio.wait_for(waits, 60) == 1
    assert not intake.is_held_back


async def test_the_queues_are_asked_anew_once_nothing_has_come_for_a_while_though_nothing_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.rabbitmq.intake.QUIET_SECONDS", 0.01)
    bounds = Bounds(deliveries=8, held_bytes=100, body_bytes=100)
    intake = Intake([Source("queue")], bounds, Readiness([]), None, eager=False)
    session = session_with(1)
    waits = asyncio.create_task(intake._turned_or_quiet(session))
    await asyncio.wait([waits], timeout=0.2)
    assert not waits.done(), "something is held"
    frames(session, 1)
    assert await asyncio.wait_for(waits, 60) is False
    intake._turned.set()
    assert await asyncio.wait_for(intake._turned_or_quiet(session), 60) is True


def test_other_queues_are_read_from_now_on() -> None:
    bounds = Bounds(deliveries=8, held_bytes=100, body_bytes=100)
    intake = Intake([Source("queue")], bounds, Readiness([]), None, eager=False)

    intake.read([Source("queue")])
    assert not intake._turned.is_set()
    intake.read([Source("queue"), Source("other")])
    assert intake._turned.is_set()
    assert [
        intake._prefetch_of(intake._sources),
        intake._prefetch_of([Source("q", taken_by_broker=True)]),
    ] == [4, 8]


@pytest.mark.parametrize(
    ("count", "size", "soon", "backlog"),
    [
        (8, 1, None, False), (9, 1, None, True),  # of ten deliveries
        (1, 899, None, False), (1, 900, None, True),  # of a thousand bytes
        (3, 1, 4, False), (4, 1, 4, True), (9, 1, 40, True),
    ],
)  # fmt: skip
def test_there_is_a_backlog_when_about_as_much_is_held_as_may_be_or_as_is_begun_soon(
    count: int, size: int, soon: int | None, backlog: bool
) -> None:
    bounds = Bounds(deliveries=10, held_bytes=1000, body_bytes=1000, begun_soon=soon)
    hand = Intake([Source("queue")], bounds, Readiness([]), None, eager=False).hand
    session = session_with(0)
    channel = hand.open(session)
    for tag in range(1, count + 1):
        session.delivered(tag, size)

    assert hand.is_backlogged is backlog
    hand.lose(channel)
    assert (hand.sessions, hand.is_backlogged, hand.held_bytes) == ([], False, 0)


def test_heavy_bodies_leave_room_for_light_ones() -> None:
    bounds = Bounds(deliveries=8, held_bytes=400_000, body_bytes=100_000)
    light, heavy, dense = b"x" * 20_000, b"x" * 50_000, b"[" * 20_000

    assert bounds.have_room(300_000, heavy)
    assert not bounds.have_room(300_001, heavy)
    assert not bounds.have_room(300_001, dense)
    assert bounds.have_room(400_000, light)
    assert not bounds.have_room(400_001, light)


def test_a_batch_of_a_flood_takes_nobody_along_who_goes_before_it() -> None:
    bounds = Bounds(deliveries=100, held_bytes=1000, body_bytes=100)
    by_first_letter = LineRule(lambda body: body.decode()[0], lambda _line: 1.0, long=4)
    intake = Intake([Source("queue")], bounds, Readiness([]), None, eager=False, lines=by_first_letter)
    session = session_with(12)

    def deliver(*bodies: str) -> None:
        intake.hand.add(
            [
                Delivery(tag, SimpleNamespace(body=body.encode()), session, 0.0)  # type: ignore[arg-type] # a body is all it has
                for tag, body in enumerate(bodies, start=1)
            ]
        )

    def taken(most: int, passing: bool | None) -> str:
        return "".join(one.message.body.decode() for one in intake.take(most, passing=passing))

    deliver(*("f" * 8), "a", "b")
    assert taken(1, None) == "f"
    assert taken(10, False) == ""
    assert taken(10, True) == "ab"
    assert taken(10, True) == ""
    assert taken(3, False) == "fff"
