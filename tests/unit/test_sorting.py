"""A batch is decoded without holding up the event loop."""

import asyncio
from typing import Any, cast

import pytest
from pamqp import commands as spec

from worker.messages.decoding import Limits
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.process import pace
from worker.process.failpoint import FailPoint
from worker.process.pace import paced
from worker.rabbitmq.channel_session import Delivery
from worker.steps.sorting import Decoding
from worker.values import Unreadable


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
