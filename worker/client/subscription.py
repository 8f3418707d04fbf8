"""Reads responses, each one once, and acknowledges it when the loop's body is done with it."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from pydantic import ValidationError

from schemas import CreateSessionResponse
from worker.client.errors import BrokerUnreachable, QueueMissing
from worker.client.link import Link, Up, refuses_user
from worker.messages.envelope import property_text
from worker.rabbitmq.connection import CONNECT_SECONDS, LOST, SETUP_SECONDS, Broker
from worker.rabbitmq.line import Line, open_channel
from worker.rabbitmq.topology import Names

_ACK_SECONDS = 10
_log = logging.getLogger("session_worker.client")


class _Delivery(NamedTuple):
    line: Line
    tag: int
    message_id: str | None
    body: bytes
    traceparent: str | None
    response: CreateSessionResponse


class _Round:
    """A consumer that brings so many responses and no more: what it has brought ahead when it ends is
    returned, and what is returned too often may end in the dead letters. So the last acknowledgements wait
    until it is cancelled: each of them would bring another response.
    """

    def __init__(self, line: Line, most: int, prefetch: int) -> None:
        self.line = line
        self.prefetch = min(most, prefetch)
        self.consumer: str | None = None
        self.brought = 0
        self._most = most
        self._acknowledged = 0
        self.held: list[int] = []

    @property
    def complete(self) -> bool:
        return self.brought >= self._most

    def hold(self, tag: int) -> bool:
        """Keep an acknowledgement that has to wait; return whether it has to."""
        if self._acknowledged + self.prefetch < self._most:
            self._acknowledged += 1
            return False
        self.held.append(tag)
        return True

    def one_more(self) -> None:
        """Make room for another: one of them was no response."""
        self._most += 1


class Subscription:
    """Iterates over responses, for one task. A response is acknowledged when the next one is asked for, or
    when the `async with` is left without an error; one whose body raised goes back to the queue.
    """

    def __init__(
        self, broker: Broker, names: Names, queue: str | None, *, copies: bool, prefetch: int, remember: int,
        connect_seconds: float, limit: int | None = None, drain: bool = False,
    ) -> None:  # fmt: skip
        self._link = Link(broker, self._serve)
        self._names = names
        self._queue = queue or names.responses
        self._copies = copies
        self._prefetch = prefetch
        self._remember = remember
        self._connect_seconds = connect_seconds
        self._limit = limit
        self._drain = drain
        self._taken = 0
        self._round: _Round | None = None
        self._line: Line | None = None
        self._buffer: deque[_Delivery] = deque()
        self._in_hand: _Delivery | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._changed = asyncio.Event()
        self._stopped = False
        self._opened = False
        self.closed = False
        self.waiting = 0
        """The number of responses that lay in the queue when the subscription began."""

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._settle_in_hand()
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CreateSessionResponse:
        await self._settle_in_hand()
        await self._open()
        while not self._stopped and not self._has_enough:
            if self._buffer:
                self._in_hand = self._buffer.popleft()
                if not self._is_repeat(self._in_hand):
                    self._taken += 1
                    return self._in_hand.response
                await self._settle_in_hand()
                continue
            if self._link.task.done():
                self._link.task.result()
            self._changed.clear()
            if self._line is not None and self._counts and (self._round is None or self._round.complete):
                with suppress(*LOST):  # it begins with the next line then
                    await self._begin_round(self._line)  # some of the last one were repeats
                if self._buffer:
                    continue
            await self._changed.wait()
        await self.close()
        raise StopAsyncIteration

    @property
    def raw(self) -> tuple[str, bytes]:
        """The message id and the bytes of the response that the loop's body has in hand."""
        assert self._in_hand is not None, "inside the loop's body"  # noqa: S101 — there is none elsewhere
        return self._in_hand.message_id or "", self._in_hand.body

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` of the response that the loop's body has in hand: what is done with it belongs to
        that trace.
        """
        return self._in_hand.traceparent if self._in_hand else None

    def stop(self) -> None:
        """End the loop after the body that runs now. What was delivered ahead goes back to the queue."""
        self._stopped = True
        self._changed.set()

    async def close(self) -> None:
        self.closed = True
        self.stop()
        await self._end_round()
        await self._link.close()

    @property
    def _counts(self) -> bool:
        """True when what is brought ahead is counted. Copies need not be: nobody else wants them."""
        return self._limit is not None and not self._copies

    @property
    def _has_enough(self) -> bool:
        return self._limit is not None and self._taken >= self._limit

    async def _open(self) -> None:
        if not self._opened and not self._stopped:
            try:
                await self._link.open(self._connect_seconds)
            except BrokerUnreachable:
                if not self.closed:
                    raise
                return  # while it was being opened
            self._opened = True
            self._link.task.add_done_callback(lambda _: self._changed.set())

    async def _settle_in_hand(self) -> None:
        """Remember and acknowledge the response in hand. When the acknowledgement is lost a copy comes, which
        is known as a repeat then.
        """
        delivery, self._in_hand = self._in_hand, None
        if delivery is None:
            return
        if delivery.message_id is not None:
            self._seen[delivery.message_id] = None
            if len(self._seen) > self._remember:
                self._seen.popitem(last=False)
        round_ = self._round
        if round_ is not None and round_.line is delivery.line and round_.hold(delivery.tag):
            if round_.complete:
                await self._end_round()
            return
        with suppress(*LOST):
            async with asyncio.timeout(_ACK_SECONDS):
                await delivery.line.channel.basic_ack(delivery.tag, wait=False)

    async def _begin_round(self, line: Line) -> None:
        """Begin to consume as many responses as are still wanted."""
        await self._end_round()
        if self._limit is None or self._has_enough:
            return
        self._round = _Round(line, self._limit - self._taken, self._prefetch)
        await line.channel.basic_qos(prefetch_count=self._round.prefetch)
        consuming = await line.channel.basic_consume(self._queue, self._receiver(line))
        self._round.consumer = consuming.consumer_tag

    async def _end_round(self) -> None:
        """Cancel the consumer, then acknowledge: an acknowledgement would make it bring the next response."""
        round_, self._round = self._round, None
        if round_ is None or round_.consumer is None or not round_.held:
            return
        with suppress(*LOST):
            async with asyncio.timeout(_ACK_SECONDS):
                await round_.line.channel.basic_cancel(round_.consumer)
                # All at once: when the channel closes, a slow quorum queue forgets the last of many.
                await round_.line.channel.basic_ack(round_.held[-1], multiple=True, wait=False)

    def _is_repeat(self, delivery: _Delivery) -> bool:
        return delivery.message_id is not None and delivery.message_id in self._seen

    async def _serve(self, connection: AbstractConnection, up: Up) -> None:
        line = Line(await open_channel(connection, seconds=CONNECT_SECONDS))
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                queue = await self._find_queue(line)
                if self._drain and not self._opened:
                    self._limit = self.waiting if self._limit is None else min(self.waiting, self._limit)
                    if not self.waiting:
                        await self._ask_for_rights(line)
                if self._counts:
                    self._round = None  # it ended with its channel
                    await self._begin_round(line)
                    self._line = line
                else:
                    await line.channel.basic_qos(prefetch_count=self._prefetch)
                    await line.channel.basic_consume(queue, self._receiver(line))
            up()
            await line.last()
        except ChannelAccessRefused as error:
            if self._opened:
                raise  # it was allowed: rights are taken and given back while others wait
            raise refuses_user(error) from None
        finally:
            # What a lost channel has delivered comes again on the next one.
            self._line = None
            self._buffer = deque(delivery for delivery in self._buffer if delivery.line is not line)

    async def _ask_for_rights(self, line: Line) -> None:
        """Consume for a moment: an empty queue would not show that this user may not read it. What comes in
        that moment goes back with the channel.
        """

        async def leave_it(_message: DeliveredMessage) -> None:
            """Leave it unsettled."""

        await line.channel.basic_qos(prefetch_count=1)
        consuming = await line.channel.basic_consume(self._queue, leave_it)
        await line.channel.basic_cancel(str(consuming.consumer_tag))

    async def _find_queue(self, line: Line) -> str:
        channel = line.channel
        try:
            if not self._copies:
                self.waiting = (await channel.queue_declare(self._queue, passive=True)).message_count or 0
                return self._queue
            made = await channel.queue_declare("", exclusive=True, arguments={"x-queue-type": "classic"})
            await channel.queue_bind(str(made.queue), self._names.responses, "#")
            return str(made.queue)
        except ChannelNotFoundEntity:
            if self._opened:
                raise  # it was there: a broker that starts up may not have it yet
            raise QueueMissing(self._names.responses if self._copies else self._queue) from None

    def _receiver(self, line: Line) -> Callable[[DeliveredMessage], Coroutine[None, None, None]]:
        async def receive(message: DeliveredMessage) -> None:
            await self._receive(line, message)

        return receive

    async def _receive(self, line: Line, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        if self._round is not None and self._round.line is line:
            self._round.brought += 1
        try:
            response = CreateSessionResponse.model_validate_json(message.body)
        except ValidationError:
            _log.warning("a message in %s is no CreateSessionResponse: rejected", self._queue)
            if self._round is not None and self._round.line is line:
                self._round.one_more()
            with suppress(*LOST):
                await line.channel.basic_reject(tag, requeue=False, wait=False)
            return
        properties = message.header.properties
        traceparent = property_text((properties.headers or {}).get("traceparent"))
        self._buffer.append(_Delivery(line, tag, properties.message_id, message.body, traceparent, response))
        self._changed.set()
