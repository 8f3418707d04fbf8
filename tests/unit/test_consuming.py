"""An intake asks its channel for the queues that it is to read, and leaves them off when it is to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from pamqp import commands as spec
from pamqp.frame import unmarshal

from worker.monitoring.readiness import Readiness
from worker.rabbitmq import eager_reading
from worker.rabbitmq import intake as intake_module
from worker.rabbitmq.arriving import Arrived
from worker.rabbitmq.buffered import Source
from worker.rabbitmq.channel_session import ChannelSession
from worker.rabbitmq.in_hand import ONE_LINE, Bounds, LineRule
from worker.rabbitmq.intake import PART, Intake, QueueSilent, sources_of_requests
from worker.rabbitmq.topology import names_for

EXPIRED, REQUESTS = Source("expired", taken_by_broker=True), Source("requests")
BOUNDS = Bounds(deliveries=8, held_bytes=100, body_bytes=100)


class Channel(SimpleNamespace):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(
            is_closed=False, number=1, write_queue=asyncio.Queue(), consumers={}, happened=[],
            closing=asyncio.get_running_loop().create_future(), on_consumer_cancel_callbacks=set(),
            at_prefetch=None,
        )  # fmt: skip

    async def basic_qos(self, prefetch_count: int, **_: Any) -> None:
        self.happened.append(f"prefetch {prefetch_count}")
        if self.at_prefetch:
            await self.at_prefetch()

    async def basic_consume(self, queue: str, consumer: Any, consumer_tag: str) -> None:
        self.consumers[consumer_tag] = consumer
        self.happened.append(f"reads {queue}")

    async def basic_cancel(self, tag: str, **_: Any) -> None:
        del self.consumers[tag]
        self.happened.append(f"leaves {tag}")

    def sent(self) -> list[tuple[str, int, bool]]:
        found = []
        while not self.write_queue.empty():
            payload = self.write_queue.get_nowait().payload
            while payload:
                size, _, read = unmarshal(payload)
                frame: Any = read
                found.append((frame.name, frame.delivery_tag, frame.multiple))
                payload = payload[size:]
        return found


def made(lines: LineRule = ONE_LINE, *, eager: bool = False, bounds: Bounds = BOUNDS) -> Intake:
    readiness = Readiness(["requests", "postgres", "responses"])
    return Intake([EXPIRED, REQUESTS], bounds, readiness, None, eager=eager, lines=lines)


def read_by(intake: Intake) -> list[Source]:
    return list(intake.reading)


async def until(found: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not found():  # noqa: ASYNC110 — what is waited for has no event
            await asyncio.sleep(0)


@asynccontextmanager
async def served(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, *, until_up: bool = False
) -> AsyncIterator[Channel]:
    """Serve on a channel until the end, as on one that the broker closes in order."""
    channel = Channel()

    async def opened(_connection: object) -> Channel:
        return channel

    monkeypatch.setattr(intake_module, "open_channel", opened)
    connection: Any = None
    serving = asyncio.create_task(intake.serve(connection))
    await until(lambda: serving.done() or (intake._readiness.are_up(PART) if until_up else intake.reading))
    yield channel
    channel.closing.set_result(None)
    await asyncio.wait_for(serving, 5)


async def test_it_reads_its_queues_until_the_channel_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = made()

    async with served(intake, monkeypatch) as channel:
        assert channel.happened == ["prefetch 8", "reads expired", "reads requests"]
        assert read_by(intake) == [EXPIRED, REQUESTS]
        assert "requests" not in intake._readiness.reasons

    assert read_by(intake) == []
    assert not intake.hand.sessions
    assert intake._readiness.reasons["requests"] == "not consuming"


async def test_while_it_is_held_back_it_reads_nothing_and_then_what_is_to_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake = made()

    async with served(intake, monkeypatch) as channel:
        channel.happened.clear()
        channel.consumers["requests"](message(1))
        intake.hold_back()
        assert intake.is_held_back
        await until(lambda: not intake.reading)
        assert channel.happened == ["leaves expired", "leaves requests"]
        assert (await channel.write_queue.get()).payload, "others may be free for it"
        assert not intake.hand
        intake.read([REQUESTS])
        intake.go_on()
        await until(lambda: intake.reading)
        assert channel.happened[2:] == ["prefetch 8", "reads requests"]


async def test_one_that_begins_held_back_could_read(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = made()
    intake.hold_back()
    async with served(intake, monkeypatch, until_up=True) as channel:
        assert channel.happened == []
        assert read_by(intake) == []


def test_of_requests_what_expired_is_read_before_the_others() -> None:
    expired, requests = sources_of_requests(names_for("p"))

    assert (expired.taken_by_broker, requests.taken_by_broker) == (True, False)


async def test_queues_that_have_been_quiet_are_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "QUIET_SECONDS", 0.01)

    async with served(made(), monkeypatch) as channel:
        channel.happened.clear()
        await until(lambda: len(channel.happened) > 4)

    assert channel.happened[:5] == [
        "leaves expired", "leaves requests", "prefetch 8", "reads expired", "reads requests",
    ]  # fmt: skip


async def test_one_that_does_not_answer_costs_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "SETUP_SECONDS", 0.01)
    session, intake = ChannelSession(channel := Channel(), 100), made()  # type: ignore[arg-type] # what is used of one
    channel.at_prefetch = asyncio.Event().wait

    with pytest.raises(QueueSilent):
        await intake._ask_anew(session, [REQUESTS], intake._receivers(intake.hand.open(session), session))


async def test_one_that_is_stopped_while_it_begins_reads_nothing() -> None:
    channel, intake = Channel(), made()
    session = ChannelSession(channel, 100)  # type: ignore[arg-type] # as above
    channel.at_prefetch = intake.stop
    receiver_of = intake._receivers(intake.hand.open(session), session)

    await intake._begin(session, [EXPIRED, REQUESTS], receiver_of)
    channel.at_prefetch = None
    await intake._ask_anew(session, [EXPIRED, REQUESTS], receiver_of)

    assert channel.happened == ["prefetch 8", "prefetch 8"]


async def test_at_a_stop_it_leaves_off_and_gives_back_what_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake = made()

    async with served(intake, monkeypatch) as channel:
        waits = asyncio.create_task(intake.arrivals())
        receive, channel.happened = channel.consumers["requests"], []
        for tag, size in ((1, 60), (2, 30), (3, 60)):
            receive(message(tag, b"x" * size))
        (taken,) = intake.hand.take(1)
        await asyncio.sleep(0)
        await intake.stop()

        assert channel.happened == ["leaves expired", "leaves requests"]
        assert channel.sent() == [("Basic.Nack", 2, False), ("Basic.Nack", 3, False)]
        assert (taken.tag, await asyncio.wait_for(waits, 5)) == (1, 0), "though Postgres is not there"


async def test_what_was_held_back_for_the_broker_is_sent_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake = made(bounds=BOUNDS._replace(deliveries=80))

    async with served(intake, monkeypatch) as channel:
        for tag in (1, 2, 3):
            channel.consumers["requests"](message(tag))
        await intake.settle(intake.hand.take(3)[1:])
        assert channel.sent() == [], "the first one is not settled"
        channel.happened.clear()

        await intake.flush()

        assert channel.sent() == [("Basic.Ack", 2, False), ("Basic.Ack", 3, False)]
        assert channel.happened == ["prefetch 80"], "the broker answers it once it has those"


async def test_behind_a_slow_one_the_broker_is_told_of_the_others_before_it_delivers_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake = made()

    async with served(intake, monkeypatch) as channel:
        for tag in range(1, BOUNDS.deliveries + 1):
            channel.consumers["requests"](message(tag))
        _slow, *others = intake.hand.take(BOUNDS.deliveries)
        await intake.settle(others[:3])

        assert channel.sent() == [("Basic.Ack", tag, False) for tag in (2, 3, 4)]


async def test_whose_turn_it_is_before_a_long_line_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    by_first_letter = LineRule(lambda body: body.decode()[0], lambda _line: 1.0, long=2)
    intake = made(by_first_letter)
    for part in ("postgres", "responses"):
        intake._readiness.up(part)

    async with served(intake, monkeypatch) as channel:
        for tag, body in enumerate((b"f", b"f", b"f", b"f", b"a"), start=1):
            channel.consumers["requests"](message(tag, body))
        waits = asyncio.create_task(intake.passers_by())
        intake.hand.take(1)

        assert await asyncio.wait_for(waits, 5) is True
        intake.hold_back()
        assert not intake.passes_by
        held_back = asyncio.create_task(intake.passers_by())
        await intake.stop()
        assert await asyncio.wait_for(held_back, 5) is False


@pytest.mark.parametrize("eager", [True, False])
async def test_frames_are_taken_early_only_where_that_was_found_possible(
    eager: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverted: list[object] = []
    monkeypatch.setattr(eager_reading, "divert_deliveries", lambda channel, *_: diverted.append(channel))

    async with served(made(eager=eager), monkeypatch) as channel:
        pass

    assert diverted == ([channel] if eager else [])


async def test_what_comes_in_the_library_s_own_way_is_the_same() -> None:
    intake, found = made(), list[Arrived]()

    intake._one_by_one(found.append)(message(7, b"body", exchange="sent-to", routing_key="key"))
    intake._one_by_one(found.append)(message(8, exchange=None, routing_key=None))

    assert [one[:3] for one in found] == [(7, "sent-to", "key"), (8, "", "")]
    assert (found[0].body, found[0].properties_read().message_id) == (b"body", "m-7")


def test_at_least_one_is_read_of_each_queue() -> None:
    assert made(bounds=BOUNDS._replace(deliveries=1))._prefetch_of([REQUESTS, Source("another")]) == 1


def message(
    tag: int, body: bytes = b"", exchange: str | None = "", routing_key: str | None = "requests"
) -> Any:
    header = SimpleNamespace(properties=spec.Basic.Properties(message_id=f"m-{tag}"))
    return SimpleNamespace(
        delivery_tag=tag, body=body, exchange=exchange, routing_key=routing_key, header=header
    )
