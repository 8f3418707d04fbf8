"""Keeps account of what one channel has delivered until it is settled."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import structlog
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError
from pamqp import commands as spec

from worker.messages.envelope import Message

_SEND_SECONDS = 10
_NACKS_AT_ONCE = 1000
_log = structlog.get_logger(__name__)


class Delivery(NamedTuple):
    """A message on loan from the broker until it is settled."""

    tag: int
    message: Message
    session: "ChannelSession"
    received: float


class _Shed(NamedTuple):
    """A delivery for whose body there was no room."""

    tag: int
    size: int


class ChannelSession:
    """Knows what one channel has delivered and what of it is not settled. Both end with the channel."""

    def __init__(self, channel: Channel, hold_back: int) -> None:
        self.channel = channel
        self.received = 0
        self.held_bytes = 0  # of the bodies that are not settled
        self.shed: deque[_Shed] = deque()
        self._hold_back = hold_back
        self._oldest = 1  # of what is not settled; the broker counts the deliveries of a channel
        self._unsettled: set[int] = set()
        self._settled: set[int] = set()  # of these, which the broker is told later
        self._sizes: dict[int, int] = {}
        self._in_order = asyncio.Lock()  # put() on a full queue of writes does not keep the order

    @property
    def open(self) -> bool:
        return not self.channel.is_closed

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    def delivered(self, tag: int, size: int) -> None:
        self.received += 1
        self._unsettled.add(tag)
        self._sizes[tag] = size
        self.held_bytes += size

    def delivered_and_shed(self, tag: int, size: int) -> None:
        """Keep the delivery unsettled until there is room: given back at once it would come again at once."""
        self.delivered(tag, 0)
        self.shed.append(_Shed(tag, size))

    def take_shed(self, room: int) -> list[int]:
        """Take the shed deliveries that now have room, the oldest first; one of any size when nothing is
        held.
        """
        tags: list[int] = []
        while self.shed and (self.shed[0].size <= room or not (tags or self.held_bytes)):
            tag, size = self.shed.popleft()
            tags.append(tag)
            room -= size
        return tags

    def take_all_shed(self) -> list[int]:
        tags = [shed.tag for shed in self.shed]
        self.shed.clear()
        return tags

    def forget(self, tag: int) -> bool:
        """Forget a delivery; return whether it was still unsettled."""
        if tag in self._settled or tag not in self._unsettled:
            return False
        self._unsettled.remove(tag)
        self._free(tag)
        return True

    def settle(self, tags: Sequence[int], *, everything: bool) -> list[spec.Basic.Ack]:
        """Settle deliveries and return the acknowledgements to send now. A run from the oldest delivery on
        needs one frame; what lies behind a gap waits for the gap to close, unless that would hold back too
        many. The broker looks for each of those through all that is unsettled before it.
        """
        self._settled.update(tags)
        for tag in tags:
            self._free(tag)
        run = 0
        while self._unsettled and (self._oldest in self._settled or self._oldest not in self._unsettled):
            if self._oldest in self._settled:
                run = self._oldest
                self._settled.discard(run)
                self._unsettled.discard(run)
            self._oldest += 1
        frames = [spec.Basic.Ack(delivery_tag=run, multiple=True)] if run else []
        unsettled = len(self._unsettled) - len(self._settled)
        if self._settled and (everything or len(self._settled) > max(self._hold_back, unsettled // 4)):
            frames += [spec.Basic.Ack(delivery_tag=tag) for tag in sorted(self._settled)]
            self._unsettled -= self._settled
            self._settled.clear()
        return frames

    async def acknowledge(self, tags: Sequence[int], *, everything: bool) -> None:
        async with self._in_order:
            await self._send(self.settle(tags, everything=everything))

    async def give_back(self, tags: Sequence[int]) -> None:
        async with self._in_order:
            nacks = [spec.Basic.Nack(delivery_tag=tag, requeue=True) for tag in tags if self.forget(tag)]
            while len(nacks) > _NACKS_AT_ONCE:
                await self._send(nacks[:_NACKS_AT_ONCE])
                del nacks[:_NACKS_AT_ONCE]
            # Acknowledgements may have waited for just these.
            await self._send([*nacks, *self.settle([], everything=False)])

    def _free(self, tag: int) -> None:
        self.held_bytes -= self._sizes.pop(tag, 0)

    async def _send(self, frames: Sequence[spec.Basic.Ack | spec.Basic.Nack]) -> None:
        if not frames or not self.open:
            return
        try:
            # A connection that dies with a full queue of writes would keep this waiting for ever.
            async with asyncio.timeout(_SEND_SECONDS):
                await self.channel.write_queue.put(
                    ChannelFrame.marshall(channel_number=self.channel.number, frames=frames)
                )
        except (ChannelInvalidStateError, OSError, TimeoutError):
            _log.info("intake.settle_unsent", deliveries=len(frames))


class OnLoan(Protocol):
    """What has the tag and the channel of a delivery."""

    @property
    def tag(self) -> int: ...

    @property
    def session(self) -> "ChannelSession": ...


def by_session(deliveries: Iterable[OnLoan]) -> Iterable[tuple[ChannelSession, list[int]]]:
    """Group the tags of deliveries by the channel that they came on."""
    tags: dict[int, tuple[ChannelSession, list[int]]] = {}
    for delivery in deliveries:
        tags.setdefault(id(delivery.session), (delivery.session, []))[1].append(delivery.tag)
    return tags.values()
