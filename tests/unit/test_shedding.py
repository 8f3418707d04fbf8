"""What had no room is given back as room is made, the oldest first, and never more than there is room for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from pamqp import commands as spec
from pamqp.frame import unmarshal

from worker.monitoring.readiness import Readiness
from worker.rabbitmq import intake as intake_module
from worker.rabbitmq.buffered import Source
from worker.rabbitmq.channel_session import ChannelSession
from worker.rabbitmq.in_hand import Bounds
from worker.rabbitmq.intake import Intake

MOST = 100


class Giving:
    """An intake that may hold a hundred bytes, and the channel that it gives back on."""

    def __init__(self) -> None:
        bounds = Bounds(deliveries=99, held_bytes=MOST, body_bytes=MOST)
        self.intake = Intake([Source("queue")], bounds, Readiness([]), None, eager=False)
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        channel: Any = SimpleNamespace(is_closed=False, number=1, write_queue=self.frames)
        self.session = ChannelSession(channel, 99)
        self.intake.hand.open(self.session)
        self.given_back: list[int] = []

    def shed(self, *tags: int, size: int) -> None:
        for tag in tags:
            self.session.delivered_and_shed(tag, size)
        self.intake.hand.short_of_room.set()

    async def comes_to(self, *tags: int) -> None:
        """Wait until these were given back, and see that for a while no more are."""
        async with asyncio.timeout(5):
            while len(self.given_back) < len(tags):
                self._note(await self.frames.get())
        with suppress(TimeoutError):
            async with asyncio.timeout(0.03):
                while True:
                    self._note(await self.frames.get())
        assert self.given_back == list(tags)

    def _note(self, written: Any) -> None:
        payload = written.payload
        while payload:
            size, _, frame = unmarshal(payload)
            payload = payload[size:]
            if isinstance(frame, spec.Basic.Nack):
                assert frame.requeue
                self.given_back.append(frame.delivery_tag or 0)


@asynccontextmanager
async def giving(monkeypatch: pytest.MonkeyPatch, patience: float) -> AsyncIterator[Giving]:
    monkeypatch.setattr(intake_module, "_SHED_SECONDS", 0.001)
    monkeypatch.setattr(intake_module, "_SHED_PATIENCE", patience)
    made = Giving()
    task = asyncio.create_task(made.intake._give_back_shed(made.session))
    yield made
    assert not task.done()
    task.cancel()


def settle(session: ChannelSession, *tags: int) -> None:
    session.settle(tags, everything=False)


async def test_it_goes_back_once_half_is_free_and_no_more_of_it_than_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with giving(monkeypatch, patience=60) as made:
        made.session.delivered(1, 20)
        made.session.delivered(2, 40)
        made.shed(3, 4, 5, size=35)
        await made.comes_to()
        settle(made.session, 1)
        await made.comes_to(3)
        made.session.delivered(6, 35)  # it has come again
        await made.comes_to(3)
        settle(made.session, 2, 6)
        await made.comes_to(3, 4, 5)
        made.shed(7, size=35)
        await made.comes_to(3, 4, 5)
        for tag in (8, 9):
            made.session.delivered(tag, 0)
        await made.comes_to(3, 4, 5, 7)


async def test_what_another_worker_has_taken_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with giving(monkeypatch, patience=0.01) as made:
        made.shed(1, 2, size=80)
        await made.comes_to(1, 2)
