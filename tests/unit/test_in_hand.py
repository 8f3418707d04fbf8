"""What channels have delivered waits in hand, within bounds, and whoever waits for it is told."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pamqp import commands as spec

from schemas.wire import RESPONSE_TYPE
from worker.messages.large_bodies import Sieve, Whole
from worker.monitoring.metrics import Metrics
from worker.rabbitmq.arriving import Arrived
from worker.rabbitmq.buffered import Source
from worker.rabbitmq.channel_session import ChannelSession, Delivery
from worker.rabbitmq.in_hand import ONE_LINE, Bounds, InHand, LineRule

BOUNDS = Bounds(deliveries=10, held_bytes=100, body_bytes=50)
HERE, UNDELIVERED = Source("requests"), Source("undelivered", taken_by_broker=True)
BY_LETTER = LineRule(lambda body: body[:1].decode(), lambda _line: 1.0, long=4)


def arrived(tag: int, body: bytes = b"x", app_id: str | None = None) -> Arrived:
    return Arrived(tag, "", "create", spec.Basic.Properties(app_id=app_id), body, None)


class Desk:
    """A hand with one channel."""

    def __init__(self, lines: LineRule = ONE_LINE, bounds: Bounds = BOUNDS) -> None:
        self.hand = InHand([HERE], bounds, lines, None)
        self.session, self.channel = self.opened()

    def opened(self) -> tuple[ChannelSession, int]:
        channel: Any = SimpleNamespace(is_closed=False)
        session = ChannelSession(channel, 100)
        return session, self.hand.open(session)

    def receive(self, *deliveries: Arrived, source: Source = HERE, channel: int | None = None) -> None:
        receive = self.hand.receiver(self.channel if channel is None else channel, source)
        for one in deliveries:
            receive(one)

    def tags(self) -> list[int]:
        return [one.tag for one in self.hand.take(99)]


async def test_what_has_arrived_is_handed_out_in_order_and_counts_until_it_is_settled() -> None:
    desk = Desk()
    assert not desk.hand.arrived.is_set()
    desk.receive(arrived(1, b"a" * 40), arrived(2, b"b" * 30))
    assert desk.hand.arrived.is_set()
    assert (len(desk.hand), desk.session.received, desk.session.unsettled, desk.hand.held_bytes) == (
        2,
        2,
        2,
        70,
    )

    first, second = desk.hand.take(99)

    assert [(one.tag, one.message.body) for one in (first, second)] == [(1, b"a" * 40), (2, b"b" * 30)]
    assert first.session is desk.session
    assert (len(desk.hand), desk.session.unsettled, desk.hand.held_bytes) == (0, 2, 70)
    desk.session.settle([1], everything=False)
    assert desk.hand.held_bytes == 30


async def test_the_metrics_tell_what_waits_how_long_what_is_taken_and_what_had_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, now = Metrics(), [100.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    hand = InHand([HERE], BOUNDS, BY_LETTER, metrics)
    channel: Any = SimpleNamespace(is_closed=False)
    receive = hand.receiver(hand.open(ChannelSession(channel, 100)), HERE)

    def told() -> list[float]:
        names = ("buffered", "in_flight", "oldest_buffered", "shed")
        return [getattr(metrics, name).collect()[0].samples[0].value for name in names]

    assert told() == [0, 0, 0, 0]
    for tag, body in ((1, b"a" * 45), (2, b"a"), (3, b"b"), (4, b"c" * 60)):
        now[0] += 1
        receive(arrived(tag, body))
    assert told() == [3, 0, 3, 1]
    assert [one.tag for one in hand.take(2)] == [1, 3]
    now[0] += 0.5
    assert told() == [1, 2, 2.5, 1]
    hand.take(1)
    assert told() == [0, 3, 0, 1]
    receive(arrived(5, b"b"))
    assert told() == [1, 3, 0, 1]


async def test_what_has_no_room_is_shed_and_one_is_always_taken() -> None:
    desk = Desk()
    desk.receive(arrived(1, b"a" * 60), arrived(2, b"b" * 40))
    assert not desk.hand.short_of_room.is_set()
    desk.receive(arrived(3, b"c"))
    assert desk.hand.short_of_room.is_set()
    assert (desk.tags(), desk.session.unsettled, desk.hand.held_bytes) == ([1, 2], 3, 100)
    assert desk.session.take_all_shed() == [3]

    alone = Desk()
    alone.receive(arrived(1, b"a" * 500))
    assert alone.tags() == [1]


async def test_of_what_another_queue_has_delivered_it_is_known_which() -> None:
    desk = Desk()
    desk.receive(arrived(1))
    desk.receive(arrived(2), source=UNDELIVERED)
    desk.receive(arrived(3))

    assert [one.message.taken_by_broker for one in desk.hand.take(99)] == [None, "unknown", None]


async def test_the_deliveries_of_a_lost_channel_are_forgotten() -> None:
    desk = Desk()
    other, channel = desk.opened()
    desk.receive(arrived(1), arrived(2))
    desk.receive(arrived(1), channel=channel)

    desk.hand.lose(desk.channel)

    assert [one.session for one in desk.hand.take(99)] == [other]
    assert desk.hand.sessions == [other]


async def test_all_that_is_left_can_be_given_back() -> None:
    desk = Desk()
    desk.receive(arrived(5), arrived(6))
    message: Any = SimpleNamespace(body=b"", properties=spec.Basic.Properties())
    desk.hand.add([Delivery(7, message, desk.session, 0.0)])

    assert [(one.tag, one.session) for one in desk.hand.take_all()] == [
        (tag, desk.session) for tag in (5, 6, 7)
    ]
    assert not len(desk.hand)


async def test_what_came_by_another_intake_wakes_who_waits() -> None:
    desk = Desk(
        LineRule(lambda _body: "", lambda _line: 1.0, 9, whose=lambda line, own: line + str(own.app_id))
    )
    message: Any = SimpleNamespace(body=b"", properties=spec.Basic.Properties(app_id="shop"))

    desk.hand.add([Delivery(7, message, desk.session, 0.0)])

    assert desk.hand.arrived.is_set()
    assert list(desk.hand._buffer._lines) == ["shop"]


async def test_the_line_is_that_of_the_sender_where_that_counts() -> None:
    desk = Desk(
        LineRule(
            lambda body: body.decode(), lambda _line: 1.0, 9, whose=lambda line, own: f"{line}/{own.app_id}"
        )
    )
    desk.receive(arrived(1, b"a", "x"), arrived(2, b"a", "y"), arrived(3, b"a", "x"))

    assert list(desk.hand._buffer._lines) == ["a/x", "a/y"]
    assert desk.tags() == [1, 2, 3]


async def test_whoever_wants_many_waits_until_they_are_there_or_it_is_to_look() -> None:
    desk = Desk()
    waits = asyncio.create_task(desk.hand.until(2))
    await asyncio.sleep(0)
    desk.receive(arrived(1))
    await asyncio.sleep(0)
    assert not waits.done()
    desk.receive(arrived(2))
    await asyncio.wait_for(waits, 60)

    waits = asyncio.create_task(desk.hand.until(9))
    await asyncio.sleep(0)
    assert not waits.done()
    desk.hand.look()
    await asyncio.wait_for(waits, 60)


async def test_whoever_waits_for_a_backlog_is_told_of_it() -> None:
    desk = Desk(bounds=Bounds(deliveries=10, held_bytes=1000, body_bytes=50, begun_soon=3))
    waits = asyncio.create_task(desk.hand.until_backlogged())
    await asyncio.sleep(0)
    desk.receive(arrived(1), arrived(2))
    await asyncio.sleep(0)
    assert not waits.done()
    assert not desk.hand._filled.is_set(), "there is none yet"
    desk.receive(arrived(3))
    await asyncio.wait_for(waits, 60)
    await asyncio.wait_for(desk.hand.until_backlogged(), 60)


async def test_whoever_goes_before_a_flood_wakes_who_waits_for_it() -> None:
    desk = Desk(BY_LETTER)
    desk.receive(*(arrived(tag, b"f") for tag in range(1, 9)))
    desk.hand.take(1)
    assert not desk.hand.passing.is_set()

    desk.receive(arrived(9, b"a"))

    assert desk.hand.passing.is_set()
    assert desk.hand.passes_by


async def test_when_it_becomes_the_turn_of_a_short_line_who_waits_for_it_is_woken() -> None:
    desk = Desk(BY_LETTER)
    desk.receive(*(arrived(tag, b"f") for tag in range(1, 9)), arrived(9, b"a"))
    assert not desk.hand.passing.is_set()

    assert [one.tag for one in desk.hand.take(9, passing=False)] == [1]

    assert desk.hand.passing.is_set()


@pytest.mark.parametrize(
    ("size", "kind", "taker"),
    [(50, None, Whole), (51, None, Sieve), (51, RESPONSE_TYPE, Whole), (50, RESPONSE_TYPE, Whole)],
)
def test_a_body_that_is_too_large_is_not_kept_unless_it_is_a_response(
    size: int, kind: str | None, taker: type
) -> None:
    hand = InHand([HERE], BOUNDS, ONE_LINE, None)

    assert type(hand.body_for(size, lambda: spec.Basic.Properties(message_type=kind))) is taker


async def test_large_ones_make_a_small_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.rabbitmq.in_hand._BATCH_BYTES", 20)
    desk = Desk()
    desk.receive(*(arrived(tag, b"x" * 8) for tag in range(1, 6)))

    assert [desk.tags(), desk.tags()] == [[1, 2, 3], [4, 5]]
