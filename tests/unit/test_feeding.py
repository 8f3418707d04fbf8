"""The lanes take as much as there is room for, and those first whose turn it is before a long line."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from worker.rabbitmq.channel_session import Delivery
from worker.steps.creating import HandlerCreation
from worker.steps.gate import Gate
from worker.steps.lanes import Lanes
from worker.steps.retry_rule import RetryRule
from worker.steps.slots import Slots


class Hand:
    """Holds what has arrived: of a long line, and of short ones whose turn it is before that."""

    def __init__(self) -> None:
        self.long, self.short = "", ""
        self.is_backlogged = False
        self.looks = 0

    def __len__(self) -> int:
        return len(self.long + self.short)

    async def until(self, wanted: int) -> None:
        looks = self.looks
        await until(lambda: len(self) >= wanted or self.looks > looks)

    def look(self) -> None:
        self.looks += 1

    async def until_backlogged(self) -> None:
        await until(lambda: self.is_backlogged)


class Taking:
    """Stands for an intake."""

    def __init__(self) -> None:
        self.hand = Hand()
        self.stopped = False
        self.given_back = 0

    @property
    def passes_by(self) -> bool:
        return bool(self.hand.short)

    async def arrivals(self) -> int:
        await until(lambda: self.stopped or len(self.hand))
        return 0 if self.stopped else len(self.hand)

    async def passers_by(self) -> bool:
        await until(lambda: self.stopped or self.passes_by)
        return not self.stopped

    def take(self, most: int, *, passing: bool | None = None) -> list[Delivery]:
        hand = self.hand
        if passing:
            taken, hand.short = hand.short[:most], hand.short[most:]
        else:
            taken, hand.long = hand.long[:most], hand.long[most:]
        return [Delivery(0, SimpleNamespace(body=name), None, 0.0) for name in taken]  # type: ignore[arg-type] # only its name counts

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        self.given_back += len(deliveries)


async def until(found: Callable[[], object]) -> None:
    while not found():  # noqa: ASYNC110 — what is waited for has no event
        await asyncio.sleep(0)


class Fed:
    """Lanes for batches of at most fifty, beside which nothing fails but the cancellations."""

    def __init__(self, calls: int, most_waiting: int, lanes: int, *, gathers: bool) -> None:
        self.requests, self.cancels = Taking(), Taking()
        self.batches: list[tuple[str, int]] = []  # what is in them, and how many calls they have
        self.ends: list[asyncio.Future[None]] = []
        self.gate = Gate(
            "me", fair=True, max_waiting=most_waiting, quick=False,
            is_backlogged=lambda: self.requests.hand.is_backlogged, breaker_is_open=bool,
        )  # fmt: skip
        rule = RetryRule(max_attempts=1, base_seconds=1, cap_seconds=1)
        self.creation = HandlerCreation(_handler, calls, 1, rule)
        me: Any = self
        self.lanes = Lanes(
            me.requests, me.cancels, me, me, self.gate, self.creation, me, lanes, 50, gathers=gathers
        )
        self.notes_written = 0

    def keep(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return list(deliveries)

    async def flush_notes(self) -> None:
        self.notes_written += 1

    async def run(self, deliveries: Sequence[Delivery], slots: Slots) -> None:
        self.batches.append(("".join(str(one.message.body) for one in deliveries), slots.count))
        self.ends.append(asyncio.get_running_loop().create_future())
        await self.ends[-1]

    run_small = run

    async def run_cancels(self, _deliveries: Sequence[Delivery]) -> None:
        raise ConnectionError

    async def come(self, *, long: str = "", short: str = "", to_cancel: str = "") -> None:
        self.requests.hand.long += long
        self.requests.hand.short += short
        self.cancels.hand.long += to_cancel
        await turns()

    async def end_batch(self, place: int = 0) -> None:
        self.ends.pop(place).set_result(None)
        await turns()


async def turns() -> None:
    """Let all that is ready run, and what it makes ready."""
    for _ in range(30):
        await asyncio.sleep(0)


async def _handler(_request: Any, _context: Any) -> None: ...


@asynccontextmanager
async def fed(
    calls: int, most_waiting: int = 9, lanes: int = 2, *, gathers: bool = False
) -> AsyncIterator[Fed]:
    """Feed the lanes until they are stopped, and see that nothing is kept of what they had."""
    made = Fed(calls, most_waiting, lanes, gathers=gathers)
    feeding = asyncio.create_task(made.lanes.feed())
    yield made
    made.requests.stopped = made.cancels.stopped = True
    await turns()
    while made.ends:
        await made.end_batch()
    await asyncio.wait_for(feeding, 5)
    assert made.creation.reserve_now(calls + 1).count == calls


async def test_a_batch_has_no_more_than_it_may_and_a_call_for_each() -> None:
    async with fed(200) as made:
        await made.come(long="a" * 30)
        await made.come(long="b" * 80)
        assert made.batches == [("a" * 30, 30), ("b" * 50, 50)], "both lanes are busy now"
        await made.end_batch()
        assert made.batches[2:] == [("b" * 30, 30)]


async def test_no_more_is_taken_than_calls_are_free_for() -> None:
    async with fed(33) as made:
        await made.come(long="a" * 40)
        assert made.batches == [("a" * 33, 33)]
        await made.end_batch()
        assert made.batches[1:] == [("a" * 7, 7)]


async def test_what_waits_for_a_call_gets_in_line_once_there_is_more_than_can_be_begun_soon() -> None:
    async with fed(1) as made:
        await made.come(long="abc")
        assert made.batches == [("a", 1)]
        made.requests.hand.is_backlogged = True
        await turns()
        assert made.batches[1:] == [("bc", 0)]


@pytest.mark.parametrize("place", [0, -1])
async def test_who_passes_by_has_two_batches_beside_the_lanes_and_one_in_each_lane_that_is_free(
    place: int,
) -> None:
    async with fed(400) as made:
        for names in (["ab", "c", "d", "e"], ["g", "h", "i", "j"]):
            for name in names:
                await made.come(short=name)
            assert [batch for batch, _ in made.batches] == names
            await made.come(short="f", long="x")
            assert len(made.batches) == 4, "there is no more room for batches"
            while made.ends:
                await made.end_batch(place)
            assert sorted(batch for batch, _ in made.batches[4:]) == ["f", "x"]
            made.batches.clear()


async def test_where_no_call_is_free_who_passes_by_gets_in_line_with_nobody_waiting() -> None:
    async with fed(2) as made:
        await made.come(long="ab")
        await made.come(short="cd")
        assert made.batches == [("ab", 2), ("cd", 0)]


async def test_where_there_is_no_room_in_the_lines_who_passes_by_waits_for_a_call() -> None:
    async with fed(2, most_waiting=1) as made:
        made.gate.counted(1)
        await made.come(long="ab")
        await made.come(short="cde")
        assert made.batches == [("ab", 2)]
        await made.end_batch()
        assert made.batches[1:] == [("cd", 2)]
        await made.end_batch()
        assert made.batches[2:] == [("e", 2)]


async def test_of_those_that_only_get_in_line_two_batches_at_most_take_a_connection() -> None:
    async with fed(0, most_waiting=999, lanes=4) as made:
        made.requests.hand.is_backlogged = True
        await made.come(long="a" * 200)
        assert made.batches == [("a" * 50, 0)] * 2
        await made.end_batch()
        assert len(made.batches) == 3


async def test_beside_another_a_batch_waits_for_a_quarter_and_beside_two_for_a_full_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.steps.lanes._GATHER_SECONDS", 60)
    async with fed(200, lanes=3, gathers=True) as made:
        for _ in range(2):
            await made.come(long="a")
            assert made.batches == [("a", 1)], "a lone one begins at once"
            await made.come(long="b" * 11)
            assert len(made.batches) == 1
            await made.come(long="b")
            assert made.batches[1:] == [("b" * 12, 12)]
            await made.come(long="c" * 49)
            assert len(made.batches) == 2
            await made.come(long="c")
            assert made.batches[2:] == [("c" * 50, 50)]
            await made.end_batch()
            await made.come(long="d" * 40)
            assert len(made.batches) == 3
            await made.end_batch()
            assert made.batches[3:] == [("d" * 40, 40)], "now it is beside one"
            await made.end_batch()
            await made.end_batch()
            made.batches.clear()


async def test_a_batch_that_waits_for_others_begins_once_it_is_beside_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.steps.lanes._GATHER_SECONDS", 60)
    async with fed(9, gathers=True) as made:
        await made.come(long="a")
        await made.come(long="b")
        assert made.batches == [("a", 1)]
        await made.end_batch()
        assert made.batches[1:] == [("b", 1)]
        await made.end_batch()


async def test_a_batch_waits_for_others_only_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.steps.lanes._GATHER_SECONDS", 0)
    async with fed(9, gathers=True) as made:
        await made.come(long="a")
        await made.come(long="b")
        assert made.batches == [("a", 1), ("b", 1)]


async def test_what_was_published_is_noted_once_nothing_is_in_hand() -> None:
    async with fed(9) as made:
        await made.come(long="a")
        await made.come(long="b")
        await made.end_batch()
        assert made.notes_written == 0, "the next batch writes them"
        await made.end_batch()
        assert made.notes_written == 1
        await made.come(long="c")
        await made.come(long="d")
        await made.come(long="e")
        await made.end_batch()
        await made.end_batch()
        assert made.notes_written == 1
        await made.end_batch()
        assert made.notes_written == 2


@pytest.mark.parametrize("pause", [0, 3600])
async def test_cancellations_that_fail_are_given_back_after_a_pause(
    pause: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.steps.lanes._PAUSE_SECONDS", pause)
    made = Fed(1, 9, 2, gathers=False)
    feeding = asyncio.create_task(made.lanes._feed_cancels())
    await made.come(to_cancel="ab")
    assert made.cancels.given_back == (0 if pause else 2)
    await made.come(to_cancel="c")
    assert made.cancels.given_back == (0 if pause else 3)
    feeding.cancel()
    await asyncio.wait([feeding])
