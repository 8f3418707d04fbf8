"""The frames that are read behind the client's interface are those that the client itself reads."""

import asyncio
import importlib.metadata
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aio_pika
import aiormq.connection
import pytest
from aiormq.channel import Channel
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp import commands as spec
from pamqp import decode
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat
from structlog.testing import capture_logs
from support.harness import Desk, NewWorker, declare_topology, eventually, good_request

from worker.messages.envelope import Message
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rabbitmq import eager_reading
from worker.rabbitmq.in_hand import Bounds
from worker.rabbitmq.intake import PART, Intake, sources_of_requests
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.stack import Stack

THE_LIBRARY_S_OWN = aiormq.connection.FrameReceiver
LARGE = 300_000  # more than two frames of the usual 131,072


@pytest.fixture(autouse=True)
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives each test the unpatched library, and restores it afterwards."""
    monkeypatch.setattr(aiormq.connection, "FrameReceiver", THE_LIBRARY_S_OWN)


def a_stream(seed: int) -> bytes:
    """Makes a stream of frames that a broker may send, in random order."""
    choice = random.Random(seed)  # noqa: S311 — the same each time
    frames_of: list[Callable[[], FrameTypes]] = [
        lambda: spec.Basic.Deliver("tag", choice.randrange(1, 1 << 40), choice.random() < 0.5, "", "key"),
        lambda: ContentHeader(
            body_size=choice.randrange(5000),
            properties=spec.Basic.Properties(
                message_id="m", headers={"a": 1}, timestamp=datetime(2026, 1, 1, tzinfo=UTC)
            ),
        ),
        lambda: ContentBody(choice.randbytes(choice.randrange(1, 5000))),
        lambda: spec.Basic.Ack(choice.randrange(1000), choice.random() < 0.5),
        Heartbeat,
    ]
    first = marshal(spec.Connection.Tune(10, 131_072, 10), 0)
    return first + b"".join(marshal(choice.choice(frames_of)(), choice.randrange(3)) for _ in range(200))


async def read(kind: type[aiormq.connection.FrameReceiver], pieces: list[bytes]) -> list[object]:
    """Returns the frames, and at last the error that ends them."""
    reader = asyncio.StreamReader()
    receiver = kind(reader)
    found: list[object] = []

    async def take() -> None:
        try:
            async for size, channel, frame in receiver:
                found.append((size, channel, described(frame)))
        except (AMQPConnectionError, InvalidFrameError) as error:
            found.append((type(error), str(error)))

    taking = asyncio.create_task(take())
    for piece in pieces:
        reader.feed_data(piece)
        await asyncio.sleep(0)
    reader.feed_eof()
    await asyncio.wait_for(taking, 60)
    return found


def described(frame: FrameTypes) -> object:
    if isinstance(frame, ContentHeader):
        return frame.body_size, dict(frame.properties)
    if isinstance(frame, ContentBody):
        return frame.value
    return type(frame), dict(frame) if isinstance(frame, Frame) else []


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_pieces_the_bytes_come_in_the_same_frames_are_read(seed: int) -> None:
    eager_reading.read_eagerly()
    ours = aiormq.connection.FrameReceiver
    assert ours is not THE_LIBRARY_S_OWN
    choice = random.Random(seed)  # noqa: S311 — the same each time
    stream, pieces = a_stream(seed), []
    while stream:
        size = choice.choice([1, 6, 7, 8, 9, 100, 5000, 70_000])
        pieces.append(stream[:size])
        stream = stream[size:]

    got = await read(ours, pieces)

    assert len(got) == 1 + 200 + 1  # the last is the end of the stream
    assert got == await read(THE_LIBRARY_S_OWN, pieces)


@pytest.mark.parametrize("cut", [1, 5, 8, 20])
async def test_a_torn_stream_and_a_broken_frame_end_as_they_did(cut: int) -> None:
    eager_reading.read_eagerly()
    ours, stream = aiormq.connection.FrameReceiver, a_stream(1)
    broken = stream + marshal(spec.Basic.Ack(1), 1)[:-1] + b"\x00" + stream

    for pieces in ([stream[:-cut]], [broken]):
        got = await read(ours, pieces)

        assert got == await read(THE_LIBRARY_S_OWN, pieces)
        assert isinstance(got[-1], tuple)
        assert got[-1][0] in (AMQPConnectionError, InvalidFrameError)


@pytest.mark.parametrize("version", ["7.2.4", "99.0.0"])
async def test_deliveries_are_the_same_whichever_way_they_are_taken(
    settings: Settings, stack: Stack, desk: Desk, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    await declare_topology(settings)
    bodies = [b"", b"x", bytes(range(256)) * (LARGE // 256), *(f"{number}".encode() for number in range(200))]
    for number, body in enumerate(bodies):
        await desk.send(body, message_id=f"m-{number}", headers={"number": number})
    tested = version == "7.2.4"
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    readiness = Readiness([PART])
    with capture_logs() as events:
        bounds = Bounds(1000, 64 << 20, 1 << 20)
        eager = eager_reading.read_eagerly()
        intake = Intake(
            sources_of_requests(names_for(desk.prefix)), bounds, readiness, Metrics(), eager=eager
        )
    slow_path = {
        "event": "client.slow_path",
        "log_level": "warning",
        "reason": "aiormq is 99.0.0, its inside was tested with 7.2.4",
        "consequence": "deliveries are taken one by one",
    }
    assert events == ([] if tested else [slow_path])
    assert (aiormq.connection.FrameReceiver is THE_LIBRARY_S_OWN) is not tested
    taken: list[Message] = []

    async with await aio_pika.connect(stack.amqp_url) as connection:
        serving = asyncio.create_task(intake.serve(connection))

        async def all_there() -> bool:
            await intake.arrivals()
            batch = intake.take(1000)
            taken.extend(delivery.message for delivery in batch)
            await intake.settle(batch)
            return len(taken) == len(bodies)

        await eventually(all_there)
        await intake.flush()
    await asyncio.gather(serving, return_exceptions=True)

    assert [message.body for message in taken] == bodies
    assert [message.properties.message_id for message in taken] == [f"m-{n}" for n in range(len(bodies))]
    assert [(message.properties.headers or {})["number"] for message in taken] == list(range(len(bodies)))


async def test_a_worker_reads_eagerly_and_leniently_from_its_start(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {"shortstr": decode.short_str, "timestamp": decode.timestamp, "table": decode.field_table}
    monkeypatch.setattr(decode, "METHODS", decode.METHODS | strict)
    diverted = []
    divert = eager_reading.divert_deliveries

    def note(channel: Channel, *others: Any) -> None:
        diverted.append(channel)
        divert(channel, *others)

    monkeypatch.setattr(eager_reading, "divert_deliveries", note)
    await new_worker()

    assert aiormq.connection.FrameReceiver is not THE_LIBRARY_S_OWN

    async def both_are_open() -> bool:
        """A worker is ready without the cancellations."""
        return len(diverted) == 2

    await eventually(both_are_open)
    assert [kind for kind, decoder in strict.items() if decode.METHODS[kind] is decoder] == []
    assert (await desk.ask(good_request())).status == "completed"
