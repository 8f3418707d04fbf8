"""A batch is decoded without holding up the event loop."""

import asyncio
from typing import Any, cast

import pytest
from pamqp import commands as spec

from worker.messages.decoding import Limits
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.monitoring.metrics import Metrics
from worker.process.failpoint import FailPoint
from worker.rabbitmq.channel_session import Delivery
from worker.steps import sorting
from worker.steps.sorting import Decoding
from worker.values import Unreadable


@pytest.mark.parametrize(("seconds", "turns"), [(0.0, 9 * sorting._TURNS), (3600.0, 0)])
async def test_a_batch_that_takes_long_to_read_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: float, turns: int
) -> None:
    monkeypatch.setattr(sorting, "_DECODE_SECONDS", seconds)
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
    reads = await reader.decode(batch)
    beside.cancel()

    assert all(isinstance(read, Unreadable) for _, read in reads)
    assert len(reads) == 9
    assert taken == turns
