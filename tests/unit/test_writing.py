"""What one publish on a channel comes to, and what becomes of the connection over it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from aiormq.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError
from pamqp import commands as spec

from worker.errors import PublishInterrupted
from worker.monitoring.readiness import Readiness
from worker.process.failpoint import FailPoint
from worker.rabbitmq import one_by_one, writing
from worker.rabbitmq.line import Line
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.publisher import PART, Publisher
from worker.rabbitmq.writing import Outgoing, open_proven_line, write_one
from worker.values import Receipt

ACK, NACK = spec.Basic.Ack(1), spec.Basic.Nack(1)
MESSAGE = Outgoing("", "to", b"", spec.Basic.Properties(message_id="m"))
NOTHING: Any = None


class Channel(SimpleNamespace):
    """Answers each publish with what it is told to answer; then the broker is silent."""

    def __init__(self, *answers: object) -> None:
        super().__init__(
            answers=list(answers), sent=[], is_closed=False, on_consumer_cancel_callbacks=set(),
            end=asyncio.get_running_loop().create_future(),
        )  # fmt: skip

    @property
    def closing(self) -> Awaitable[None]:
        return asyncio.shield(self.end)

    async def basic_publish(self, _body: bytes, *, routing_key: str, **_: Any) -> object:
        self.sent.append(routing_key)
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def returned() -> PublishError:
    frame = spec.Basic.Return(0, "NO_ROUTE", "", "to")
    message: Any = SimpleNamespace(delivery=frame)
    return PublishError(message, frame)


@pytest.mark.parametrize(
    ("answer", "receipt"),
    [
        (lambda: ACK, Receipt.CONFIRMED),
        (lambda: NACK, Receipt.REFUSED),
        (lambda: DeliveryError(None, NACK), Receipt.REFUSED),
        (returned, Receipt.UNROUTABLE),
    ],
)
async def test_each_answer_of_the_broker_is_a_receipt(answer: Callable[[], object], receipt: Receipt) -> None:
    channel: Any = Channel(answer())

    assert await write_one(channel, MESSAGE) is receipt


async def test_a_line_is_proven_by_a_message_to_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    channel: Any = opened(monkeypatch, returned())
    line = await open_proven_line(NOTHING, 5)
    assert (line.channel, len(channel.sent)) == (channel, 1)

    opened(monkeypatch)
    with pytest.raises(TimeoutError):
        await open_proven_line(NOTHING, 0.01)


def opened(monkeypatch: pytest.MonkeyPatch, *answers: object) -> Channel:
    """Let the next channel that is opened answer so."""
    channel = Channel(*answers)

    async def open_channel(*_: object, **__: object) -> Channel:
        return channel

    monkeypatch.setattr(writing, "open_channel", open_channel)
    return channel


async def apart(channel: Channel | None, monkeypatch: pytest.MonkeyPatch) -> list[Receipt]:
    """Publish three messages on a connection of their own; without a channel there is none."""

    async def serve_once(_broker: object, serve: Callable[[Any], Awaitable[None]]) -> None:
        if channel is None:
            raise ConnectionError
        await serve(None)

    monkeypatch.setattr(one_by_one, "serve_once", serve_once)
    return await OneByOne(NOTHING, 0.05)._publish_some([MESSAGE] * 3)


async def test_a_message_over_which_the_broker_closes_the_connection_ends_those_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over_content = ChannelPreconditionFailed("too large")
    channel = opened(monkeypatch, returned(), ACK, over_content)
    channel.end.set_exception(over_content)

    assert await apart(channel, monkeypatch) == [Receipt.CONFIRMED]


async def test_a_connection_that_is_lost_in_another_way_tells_nothing_of_the_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(one_by_one, "_CLOSE_SECONDS", 0.01)
    with pytest.raises(PublishInterrupted):
        await apart(None, monkeypatch)

    silent = opened(monkeypatch, returned(), ACK)
    with pytest.raises(PublishInterrupted):
        await apart(silent, monkeypatch)

    lost = opened(monkeypatch, returned(), ACK, ConnectionResetError())
    lost.end.set_exception(ConnectionResetError())
    with pytest.raises(PublishInterrupted):
        await apart(lost, monkeypatch)


async def test_who_is_cancelled_while_it_publishes_ends_as_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Channel()
    await is_cancelled(connected(alone).publish([MESSAGE]), alone)
    unconfirmed = opened(monkeypatch, returned())
    await is_cancelled(apart(unconfirmed, monkeypatch), unconfirmed)


async def is_cancelled(publishing: Coroutine[Any, Any, object], channel: Channel) -> None:
    """Cancel it once it waits for its confirm."""
    task = asyncio.create_task(publishing)
    async with asyncio.timeout(5):
        while "to" not in channel.sent:  # noqa: ASYNC110 — what is waited for has no event
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def connected(channel: Any) -> Publisher:
    """A publisher that is up, and whose client library's inside is not known."""
    made = Publisher(Readiness([PART]), 5, FailPoint(""))
    made._batch_write = False
    made._line = Line(channel)
    made._readiness.up(PART)
    return made


async def test_who_publishes_on_a_channel_that_is_closed_says_that_it_is_not_ready() -> None:
    channel = Channel()
    channel.is_closed = True
    publishing = connected(channel)

    with pytest.raises(PublishInterrupted):
        await publishing.publish([MESSAGE])

    assert not publishing._readiness.are_up(PART)


@pytest.mark.parametrize(
    ("error", "over_content"), [(ChannelPreconditionFailed("x"), True), (ConnectionResetError(), False)]
)
async def test_a_lost_connection_is_told_with_whether_a_message_was_to_blame(
    error: Exception, over_content: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(returned())

    async def open_channel(*_: object, **__: object) -> Channel:
        return channel

    monkeypatch.setattr(writing, "open_channel", open_channel)
    made = Publisher(Readiness([PART]), 5, FailPoint(""))
    made._batch_write = False
    serving = asyncio.create_task(made.serve(NOTHING))
    await asyncio.wait_for(made.until_up(), 5)
    channel.end.set_exception(error)

    with pytest.raises(type(error)):
        await serving

    assert made.lost_over_content is over_content
    assert not made._readiness.are_up(PART)
    with pytest.raises(PublishInterrupted, match="not connected"):
        await made.publish([MESSAGE])


async def test_two_copies_of_one_message_are_never_in_flight_at_once() -> None:
    channel, another = Channel(), MESSAGE._replace(properties=spec.Basic.Properties(message_id="n"))
    publishing = connected(channel)
    tasks = [asyncio.create_task(publishing.publish([one])) for one in (MESSAGE, another, MESSAGE)]
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(channel.sent) == 2

    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    for _ in range(9):
        await asyncio.sleep(0)

    assert len(channel.sent) == 3
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("known", [True, False])
async def test_confirms_are_taken_early_only_from_a_library_whose_inside_is_known(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverted: list[object] = []
    monkeypatch.setattr("worker.rabbitmq.publisher.divert_confirms", diverted.append)
    channel = Channel()

    async def open_proven_line(*_: object) -> Line:
        line: Any = channel
        return Line(line)

    monkeypatch.setattr("worker.rabbitmq.publisher.open_proven_line", open_proven_line)
    made = Publisher(Readiness([PART]), 5, FailPoint(""))
    made._batch_write = known
    waits = asyncio.create_task(made.until_up())
    await asyncio.sleep(0)
    assert not waits.done()
    serving = asyncio.create_task(made.serve(NOTHING))
    await asyncio.wait_for(waits, 5)

    assert diverted == ([channel] if known else [])
    channel.end.set_result(None)
    await asyncio.wait_for(serving, 5)
