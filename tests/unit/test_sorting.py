"""A batch is decoded without holding up the event loop."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
from pamqp import commands as spec

from worker.messages.admitting import NOT_ALLOWED
from worker.messages.decoding import Limits
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.process import pace
from worker.process.failpoint import FailPoint
from worker.process.pace import paced
from worker.rabbitmq.channel_session import Delivery
from worker.steps.sorting import Decoding, sort
from worker.values import Arrival, Cancellation, Read, Requested, Route, Unreadable, Unrecorded

NOBODY = Route(None, None, None)


@pytest.mark.parametrize(("seconds", "fewest", "most"), [(-1.0, 9, 20), (3600.0, 0, 0)])
async def test_a_batch_that_takes_long_to_read_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: float, fewest: int, most: int
) -> None:
    monkeypatch.setattr(pace, "_SLICE_SECONDS", seconds)
    nothing = cast("Any", None)
    reader = Decoding(Limits(1 << 20), SealKeys({}), Metrics(), FailPoint(""))
    message = Message(b"{}", spec.Basic.Properties(), None)
    batch = [Delivery(number, message, nothing, 0.0) for number in range(9)]
    taken = 0

    async def others() -> None:
        nonlocal taken
        while True:
            taken += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    with paced():
        reads = await reader.decode(batch)
    beside.cancel()

    assert all(isinstance(read, Unreadable) for _, read in reads)
    assert len(reads) == 9
    assert fewest <= taken <= most


def delivery(tag: int, received: float = 0.0, **headers: int) -> Delivery:
    message = Message(b"{}", spec.Basic.Properties(headers=dict(headers)), None)
    return Delivery(tag, message, cast("Any", None), received)


def arrival(number: int, timestamp: str | None = None) -> Arrival:
    requested = Requested(
        name=None, status=None, casefile_id=None, assistant_id=None, phone_number_id=None,
        expiration_seconds=None, timestamp=timestamp, ignores_assistant=False, given=b"",
    )  # fmt: skip
    return Arrival(
        request_id=UUID(int=number), fingerprint=b"", session_id="ts", route=NOBODY, request=requested
    )


async def test_a_batch_is_sorted_by_what_each_is_and_the_first_of_an_id_counts() -> None:
    unreadable = Unreadable("not JSON")
    cancellation = Cancellation(request_id=UUID(int=9), reason=None, route=NOBODY)
    reads: list[Read] = [unreadable, cancellation, Unrecorded(UUID(int=8), NOT_ALLOWED, NOBODY)]
    reads += [arrival(1), arrival(2), arrival(1)]
    sent = [delivery(tag) for tag in range(6)]

    batch = sort(list(zip(sent, reads, strict=True)))

    assert batch.unreadable == [(sent[0], unreadable)]
    assert batch.cancellations == [(sent[1], cancellation)]
    assert [(one, answer.request_id, answer.code) for one, answer in batch.unrecorded] == [
        (sent[2], UUID(int=8), NOT_ALLOWED.code.value)
    ]
    assert batch.deliveries == {UUID(int=1): sent[3], UUID(int=2): sent[4]}
    assert {one: found._replace(since=None) for one, found in batch.arrivals.items()} == {
        UUID(int=1): arrival(1), UUID(int=2): arrival(2),
    }  # fmt: skip
    assert [(one, found._replace(since=None)) for one, found in batch.repeated] == [(sent[5], arrival(1))]


async def test_a_request_began_when_it_was_asked_for_if_that_is_known_else_when_it_came() -> None:
    now, loop_now = time.time(), asyncio.get_running_loop().time()
    asked = datetime.fromtimestamp(now - 60.5, UTC)
    given = [
        (delivery(1, loop_now - 5), arrival(1)),
        (delivery(2, loop_now - 5, timestamp_in_ms=int((now - 30) * 1000)), arrival(2)),
        (delivery(3, loop_now - 5, timestamp_in_ms=int((now - 30) * 1000)), arrival(3, asked.isoformat())),
        (delivery(4, loop_now - 5), arrival(4)._replace(request=None)),
    ]

    began = [one.since for one in sort(given).arrivals.values()]

    assert [one.at for one in began if one] == pytest.approx([now - 5, now - 30, now - 60.5, now - 5], abs=2)
    assert {one.path for one in began if one} == {"direct"}
