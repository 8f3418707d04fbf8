"""What the lanes do when a batch fails, and when calls that they wait for are not needed any more."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from worker.rabbitmq.channel_session import Delivery
from worker.rules import Pause, rules_of
from worker.steps.creating import HandlerCreation
from worker.steps.gate import Gate
from worker.steps.lanes import Lanes
from worker.steps.retry_rule import RetryRule
from worker.steps.slots import Slots

HELD: list[tuple[Delivery, Any]] = [(Delivery(tag, None, None, 0.0), None) for tag in (1, 2)]  # type: ignore[arg-type] # nobody looks into them


async def _handler(_request: Any, _context: Any) -> None: ...


class Others:
    """Stands for the intake and for the pipeline, whose batches fail."""

    def __init__(self) -> None:
        self.given_back: list[int] = []
        self.slots: list[int] = []
        self.held = len(HELD)
        self.hand = SimpleNamespace(is_backlogged=True)

    def take_held(self) -> list[tuple[Delivery, Any]]:
        self.held = 0
        return HELD

    async def run_read(self, _reads: Any, slots: Slots) -> None:
        self.slots.append(slots.count)
        raise ConnectionError

    async def give_back(self, deliveries: list[Delivery]) -> None:
        self.given_back += [delivery.tag for delivery in deliveries]


def lanes_with(others: Any) -> tuple[Lanes, HandlerCreation]:
    gate = Gate(
        "me", fair=True, max_waiting=9, quick=False, is_backlogged=bool, breaker_is_open=bool
    )  # fmt: skip
    creation = HandlerCreation(_handler, 5, 1, RetryRule(max_attempts=1, base_seconds=1, cap_seconds=1))
    nothing: Any = None
    return Lanes(others, others, nothing, others, gate, creation, nothing, 2, 10, gathers=False), creation


async def test_what_was_held_is_given_back_when_its_batch_fails_and_so_are_its_calls() -> None:
    others = Others()
    lanes, creation = lanes_with(others)

    await lanes.look_at_held()
    await lanes.look_at_held()

    assert (others.slots, others.given_back) == ([2], [1, 2])
    assert creation.reserve_now(9).count == 5


async def test_a_paused_worker_gives_back_what_it_holds_for_want_of_room() -> None:
    others = Others()
    lanes, _ = lanes_with(others)
    pause = Pause("worker", "me", "a test", "me", datetime(2026, 1, 1, tzinfo=UTC), None)
    lanes._gate.learn(rules_of([], [pause]), ())

    await lanes.look_at_held()

    assert (others.slots, others.given_back) == ([], [1, 2])


@pytest.mark.parametrize("in_line", [("a",), ()])
async def test_whoever_waits_for_calls_until_there_is_no_need_leaves_none_reserved(
    in_line: tuple[str, ...],
) -> None:
    lanes, creation = lanes_with(Others())
    before = asyncio.all_tasks()
    all_of_them = creation.reserve_now(5)
    waits = asyncio.create_task(lanes._wait_for_slots(3))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waits.done()

    if in_line:
        lanes._gate.learn(lanes._gate.rules, in_line)
    else:
        all_of_them.keep(0)
    found = await asyncio.wait_for(waits, 60)

    assert found.count == (0 if in_line else 3)
    all_of_them.keep(0)
    found.keep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before, "nobody waits for a sign any more"
    assert creation.reserve_now(9).count == 5


@pytest.mark.parametrize("pause", [0, 3600])
async def test_a_batch_that_fails_is_given_back_with_its_lane_after_a_pause(
    pause: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that it comes again counts, for the broker."""
    monkeypatch.setattr("worker.steps.lanes._PAUSE_SECONDS", pause)
    others = Others()
    others.hand = SimpleNamespace(look=lambda: None)
    lanes, creation = lanes_with(others)
    lane = asyncio.Semaphore(0)
    batch = [delivery for delivery, _ in HELD]

    running = asyncio.create_task(lanes._run(batch, creation.reserve_now(2), others.run_read, lane))
    for _ in range(30):
        await asyncio.sleep(0)

    assert others.given_back == ([] if pause else [1, 2])
    assert lane.locked() is bool(pause)
    assert creation.reserve_now(9).count == 5, "no call waits for the pause"
    running.cancel()
    await asyncio.wait([running])
