"""A channel for as long as it lasts. The worker and the client share it."""

import asyncio

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from pamqp import commands as spec


class Line:
    """Holds one channel and waits for its end: it is lost, its consumer is cancelled, or it is given up."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.over = asyncio.Event()
        """Set when the line has come to its end."""
        self._given_up: asyncio.Future[AMQPError] = asyncio.get_running_loop().create_future()
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    def give_up(self, error: AMQPError) -> None:
        """End the line for this reason, though its channel may still be open."""
        if not self._given_up.done():
            self._given_up.set_result(error)

    async def last(self) -> None:
        """Return when the channel is closed in order; raise the error when it is lost or given up."""
        if error := await self.end():
            raise error

    async def end(self) -> BaseException | None:
        """Wait until the channel is closed, lost or given up, and return the error that ended it."""
        closing = self.channel.closing
        try:
            await asyncio.wait([closing, self._given_up], return_when=asyncio.FIRST_COMPLETED)
            return self._given_up.result() if self._given_up.done() else closing.exception()
        finally:
            closing.cancel()  # only this wait for it: the channel stays as it is
            self.over.set()

    def _on_cancel(self, frame: spec.Basic.Cancel) -> None:
        self.give_up(
            AMQPError(f"the broker cancelled the consumer {frame.consumer_tag}: was the queue deleted?")
        )


async def open_channel(
    connection: AbstractConnection, *, confirms: bool = False, seconds: float | None = None
) -> Channel:
    """Open a channel. With `confirms` the broker confirms each publish, and one that it returns raises."""
    opened = connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
    await opened.initialize(timeout=seconds)
    channel = await opened.get_underlay_channel()
    assert isinstance(channel, Channel)  # noqa: S101 — the abstract class hides what is needed of it
    return channel
