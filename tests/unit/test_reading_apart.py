"""Large deliveries are read one after the other, and those that were read meanwhile become a batch."""

import asyncio
from collections import deque
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pamqp import commands as spec

from worker.errors import ReaderUnavailable
from worker.messages.envelope import Message
from worker.rabbitmq.channel_session import Delivery
from worker.steps import reading_apart
from worker.steps.creating import BuiltInCreation
from worker.steps.reading_apart import ReadingApart
from worker.values import Arrival, Cancellation, Route

NOBODY = Route(None, None, None)


class Others:
    """Stands for what it asks: it reads what it is let read, and ends a batch when it is told to."""

    def __init__(self) -> None:
        self.reads: deque[Any] = deque()
        self.readable = asyncio.Semaphore(0)
        self.begun: list[list[int]] = []
        self.slots: list[int] = []
        self.ends: deque[asyncio.Future[None]] = deque()
        self.given_back: list[int] = []
        self.being_read = 0
        self.ends_in_order = False  # a batch that is cancelled does: it was done in that moment

    def is_for(self, message: Message) -> bool:
        return message.body == b"large"

    async def read(self, _message: Message) -> Any:
        self.being_read += 1
        assert self.being_read == 1, "one after the other"
        await self.readable.acquire()
        self.being_read -= 1
        read = self.reads.popleft()
        if isinstance(read, Exception):
            raise read
        return read

    async def run_read(self, batch: list[tuple[Delivery, Any]], slots: Any) -> None:
        self.begun.append([delivery.tag for delivery, _ in batch])
        self.slots.append(slots.count)
        self.ends.append(asyncio.get_running_loop().create_future())
        with suppress(*[asyncio.CancelledError] * self.ends_in_order):
            await self.ends[-1]

    async def give_back(self, deliveries: list[Delivery]) -> None:
        self.given_back += [delivery.tag for delivery in deliveries]

    async def let_read(self, *reads: Any) -> None:
        self.reads.extend(reads)
        for _ in reads:
            self.readable.release()
        await turns()

    async def end_batch(self, error: Exception | None = None) -> None:
        end = self.ends.popleft()
        if error:
            end.set_exception(error)
        else:
            end.set_result(None)
        await turns()


async def turns() -> None:
    """Let all that is ready run, and what it makes ready."""
    for _ in range(20):
        await asyncio.sleep(0)


def delivery(tag: int, body: bytes = b"large", *, is_open: bool = True) -> Delivery:
    channel: Any = SimpleNamespace(open=is_open)
    return Delivery(tag, Message(body, spec.Basic.Properties(), None), channel, 0.0)


def arrival(number: int) -> Arrival:
    return Arrival(request_id=UUID(int=number), fingerprint=b"", session_id="ts", route=NOBODY)


def made(others: Any, *, lanes: int = 1, most: int = 2) -> ReadingApart:
    return ReadingApart(others, others, BuiltInCreation(), others, lanes, most)


async def test_those_that_are_read_while_the_lane_is_busy_are_the_next_batches() -> None:
    others = Others()
    apart = made(others)

    assert [one.tag for one in apart.keep([delivery(1), delivery(2, b"light"), delivery(3)])] == [2]
    await others.let_read(arrival(1))
    assert apart.keep([delivery(4), delivery(5)]) == []
    await others.let_read(arrival(3), arrival(4), arrival(5))
    assert others.begun == [[1]]
    await others.end_batch()
    assert others.begun == [[1], [3, 4]], "at most two"
    await others.end_batch()
    await others.end_batch()
    assert others.begun == [[1], [3, 4], [5]]
    assert (others.slots, others.given_back) == ([1, 2, 1], [])
    apart.keep([delivery(6)])
    await others.let_read(arrival(6))
    assert others.begun[-1] == [6], "it begins to read again"
    await others.end_batch()


async def test_two_lanes_have_a_batch_each() -> None:
    others = Others()
    made(others, lanes=2).keep([delivery(1), delivery(2), delivery(3)])

    for number in (1, 2, 3):
        await others.let_read(arrival(number))

    assert others.begun == [[1], [2]]
    await others.end_batch()
    await others.end_batch()
    await others.end_batch()
    assert others.begun == [[1], [2], [3]]


async def test_a_cancellation_waits_for_no_lane_and_no_slot() -> None:
    others = Others()
    made(others).keep([delivery(1), delivery(2)])

    await others.let_read(arrival(1), Cancellation(UUID(int=2), None, NOBODY))

    assert (others.begun, others.slots) == ([[1], [2]], [1, 0])
    await others.end_batch()
    await others.end_batch()


async def test_at_a_stop_what_is_not_read_is_given_back_and_the_rest_is_waited_for() -> None:
    others = Others()
    apart = made(others)
    apart.keep([delivery(1), delivery(2), delivery(3)])
    await others.let_read(arrival(1))

    draining = asyncio.create_task(apart.drain())
    await turns()
    assert others.given_back == [3]
    await others.let_read(arrival(2))
    assert (others.begun, draining.done()) == ([[1]], False)
    await others.end_batch()
    assert (others.begun, draining.done()) == ([[1], [2]], False)
    await others.end_batch()
    assert draining.done()
    await draining


async def test_at_a_stop_what_is_being_read_is_waited_for_though_nothing_else_runs() -> None:
    others = Others()
    apart = made(others)
    apart.keep([delivery(1)])
    draining = asyncio.create_task(apart.drain())
    await turns()
    assert not draining.done()

    await others.let_read(arrival(1))
    await others.end_batch()

    assert (others.begun, draining.done()) == ([[1]], True)
    await draining


async def test_at_once_means_that_what_was_read_does_not_begin_when_a_batch_is_done_just_then() -> None:
    others = Others()
    others.ends_in_order = True
    apart = made(others)
    apart.keep([delivery(1), delivery(2)])
    await others.let_read(arrival(1))
    await others.let_read(arrival(2))

    await apart.cancel()
    await turns()

    assert others.begun == [[1]]


async def test_at_once_means_that_nothing_more_begins() -> None:
    others = Others()
    apart = made(others)
    apart.keep([delivery(1), delivery(2), delivery(3)])
    await others.let_read(arrival(1))

    await apart.cancel()
    await others.let_read(arrival(2), arrival(3))

    assert others.begun == [[1]]
    assert others.ends[0].cancelled()
    assert others.given_back == [], "they come again with their channel"


@pytest.mark.parametrize("error", [ReaderUnavailable("it is gone"), ValueError("canary")])
async def test_what_cannot_be_read_is_given_back_and_holds_up_no_other(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_apart, "_PAUSE_SECONDS", 0)
    others = Others()
    made(others).keep([delivery(1), delivery(2, is_open=False), delivery(3)])

    await others.let_read(error, arrival(3))

    assert (others.given_back, others.begun) == ([1], [[3]]), "the second one's channel is lost"
    await others.end_batch()


async def test_what_fails_is_not_given_back_before_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_apart, "_PAUSE_SECONDS", 3600)
    others = Others()
    apart = made(others)
    apart.keep([delivery(1)])

    await others.let_read(ValueError("canary"))

    assert others.given_back == []
    await apart.cancel()


async def test_a_batch_that_fails_is_given_back_and_the_next_one_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading_apart, "_PAUSE_SECONDS", 0)
    others = Others()
    made(others).keep([delivery(1), delivery(2)])
    await others.let_read(arrival(1))
    await others.let_read(arrival(2))

    await others.end_batch(ValueError("canary"))

    assert (others.given_back, others.begun) == ([1], [[1], [2]])
    await others.end_batch()
