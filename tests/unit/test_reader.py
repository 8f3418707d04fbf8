"""The process that reads large messages answers as the worker would, costs it little, and ends with it."""

import asyncio
import base64
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import psutil
import pytest
from pamqp import commands as spec
from structlog.testing import capture_logs
from support.attackers import ID, attacks, request

from schemas import CreateSessionRequest, FailureCode
from worker.errors import KilledItsReader, SealError
from worker.handlers import Context
from worker.messages.decoding import Limits, decode, restore
from worker.messages.envelope import Message
from worker.messages.heaviness import HEAVY_BYTES, is_heavy
from worker.messages.sealing import parse_seal_keys
from worker.reading.protocol import ReaderSettings
from worker.reading.reader import Reader
from worker.steps.creating import HandlerCreation
from worker.steps.retry_rule import RetryRule
from worker.values import Arrival, Completed, Read, Unreadable, Verdict, first_work

KEY_TEXT = f"k1:{base64.b64encode(bytes(32)).decode()}"
KEYS = parse_seal_keys(KEY_TEXT)
LIMIT = 1 << 20
KILLER = "while_reading:kill:KILLER"
LONGEST_PIECE_SECONDS = 0.05
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
T = TypeVar("T")
ATTACKS = attacks()


def message(body: bytes, deliveries: int = 0, **properties: Any) -> Message:
    return Message(body, spec.Basic.Properties(**properties), None, delivery_count=deliveries)


@pytest.fixture(scope="module")
async def reading() -> AsyncIterator[Reader]:
    made = Reader(ReaderSettings(KEY_TEXT, Limits(LIMIT), wants_whole=True, fail_point=KILLER), KEYS)
    yield made
    await made.close()


def alike(read: Read) -> Any:
    """Removes what differs each time: nonces, and where the whole request is."""
    if not isinstance(read, Arrival):
        return read
    requested = read.request and (read.request.whole(), read.request._replace(given=b""))
    return read._replace(body=None, document=None, session_id="", request=None), requested


def test_what_is_large_or_came_back_often_is_read_there(reading: Reader) -> None:
    small, large = request(), request(metadata='{"a":"%s"}' % ("x" * HEAVY_BYTES))

    assert [reading.is_for(message(small, count)) for count in (0, 2, 3, 50)] == [False, False, True, True]
    assert reading.is_for(message(large))
    assert reading.is_for(message(request(metadata='{"a":[%s0]}' % ("0," * 2_000)))), (
        "it is small, and has many values"
    )
    assert not reading.is_for(message(request(metadata='{"a":[%s0]}' % ("0," * 400))))
    assert not reading.is_for(message(b"x" * (LIMIT + 1))), "it is not read at all"


SECRET = (
    '{"phone_number":{"twilio_phone_number":"+14155550100","twilio_account_sid":"s","twilio_auth_token":"t"}}'
)


async def test_it_reads_and_restores_as_the_worker_itself_does(reading: Reader) -> None:
    for body in (
        request(),
        request('{"name":"A","assistant_id":"a","assistant":{"name":"B"},"messages":null}', '{"a":null}'),
        request(SECRET),
        b"nothing",
        request()[:-1],
        b'{"request_id":"%s","operation":"cancel_session"}' % str(ID).encode(),
    ):
        for properties in ({}, {"reply_to": "q"}, {"headers": {"deadline": True}}):
            one = message(body, **properties)
            read = await reading.read(one)
            here = decode(one, Limits(LIMIT), KEYS, NOW)
            assert alike(read) == alike(here)
            if isinstance(read, Arrival) and read.body:
                requested, document = await reading.restore(read.body, ID)
                mine, my_document = restore(read.body, ID, KEYS)
                assert (requested.whole(), document) == (mine.whole(), my_document)


async def test_a_time_to_begin_comes_back_from_there(reading: Reader) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    for headers, expected in (({"not_before": tomorrow}, tomorrow), ({"not_before": NOW}, None)):
        read = await reading.read(message(request(), 3, headers=headers))
        assert isinstance(read, Arrival)
        assert (read.refusal, read.not_before) == (None, expected)


async def test_what_kills_its_reader_is_refused_and_the_next_message_is_read(reading: Reader) -> None:
    killing = request(metadata='{"a":"KILLER"}')
    with capture_logs() as events:
        read = await reading.read(message(killing, 3))
        after = await reading.read(message(request(), 3))

    assert isinstance(read, Arrival)
    assert read.refusal is not None
    assert (read.request_id, read.refusal.code) == (ID, FailureCode.ATTEMPTS_EXHAUSTED)
    assert read.body is None
    assert isinstance(after, Arrival)
    assert after.refusal is None
    died = [event for event in events if event["event"] == "reader.died"]
    assert [event["deliveries"] for event in died] == [3, 3]


async def test_what_kills_its_reader_and_names_no_id_is_unreadable(reading: Reader) -> None:
    read = await reading.read(message(b'{"a":"KILLER"}', 3, reply_to="q"))

    assert isinstance(read, Unreadable)
    assert read.told is not None
    assert read.told.refusal.code is FailureCode.ATTEMPTS_EXHAUSTED


async def test_one_death_may_be_an_accident(reading: Reader) -> None:
    await reading.read(message(request()))
    assert reading._process is not None
    reading._process.kill()

    read = await reading.read(message(request(), 3))

    assert isinstance(read, Arrival)
    assert read.refusal is None


async def test_a_stored_request_that_kills_its_reader_or_needs_a_key_is_told_apart(reading: Reader) -> None:
    kept = decode(message(request(SECRET)), Limits(LIMIT), KEYS, NOW)
    assert isinstance(kept, Arrival)
    assert kept.body is not None

    with pytest.raises(KilledItsReader):
        await reading.restore(kept.body.replace('"org_id":"evil"', '"org_id":"KILLER"'), ID)
    with pytest.raises(SealError):
        await reading.restore(kept.body, uuid4())
    with pytest.raises(ValueError, match="this version cannot read it"):
        await reading.restore(kept.body.replace("twilio_phone_number", "of_tomorrow"), ID)


async def test_it_ends_with_its_worker_and_when_it_is_closed() -> None:
    made = Reader(ReaderSettings("", Limits(LIMIT), wants_whole=False, fail_point=""), KEYS)
    await made.read(message(request()))
    assert made._process is not None
    process = psutil.Process(made._process.pid)
    await made.close()
    assert not process.is_running()
    await made.close()

    await made.read(message(request()))  # again, if it is asked again
    child = made._process
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()  # as the end of its worker does it
    async with asyncio.timeout(60):
        assert await child.wait() == 0


async def test_memory_beyond_its_limit_ends_it_and_not_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    taken_off = 3 << 20  # 64 times
    made = Reader(ReaderSettings("", Limits(-taken_off), wants_whole=False, fail_point=""), KEYS)
    try:
        with capture_logs() as events:
            read = await made.read(message(request(metadata='{"a":"%s"}' % ("x" * (60 << 20)))))
    finally:
        await made.close()

    assert isinstance(read, Arrival)
    assert read.refusal is not None
    assert read.refusal.code is FailureCode.ATTEMPTS_EXHAUSTED
    assert [event["event"] for event in events].count("reader.died") == 2


def test_a_limit_that_the_worker_was_started_under_stays() -> None:
    """A process that is not root's cannot raise it."""
    program = """
import resource
from worker.reading.reader_process import _limit_memory
limit = 1 << 33
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
_limit_memory(1 << 20)
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
assert soft < hard == limit, (soft, hard)
_limit_memory(1 << 40)
assert resource.getrlimit(resource.RLIMIT_AS) == (limit, limit)
"""
    subprocess.run((sys.executable, "-c", program), check=True, timeout=60)  # noqa: S603 — our own


async def longest_piece(work: Awaitable[T], clock: Callable[[], float] = time.thread_time) -> tuple[float, T]:
    """Returns the most processor time that passes between two turns of the other tasks."""
    longest = 0.0

    async def others() -> None:
        nonlocal longest
        while True:
            begun = clock()
            await asyncio.sleep(0)
            longest = max(longest, clock() - begun)

    beside = asyncio.create_task(others())
    await asyncio.sleep(0)  # it has its first turn
    done = await work
    await asyncio.sleep(0)  # and one after what is done in a single piece
    beside.cancel()
    return longest, done


@pytest.mark.parametrize("name", ATTACKS)
async def test_no_message_holds_the_worker_up_or_fills_its_memory(reading: Reader, name: str) -> None:
    """Each of the attackers' messages takes in one piece at most 50 ms of the worker's processor time, and
    at most 20 times its size, to read it, to refuse it and to restore it."""
    attack = ATTACKS[name]
    one = message(attack.body)
    assert len(attack.body) <= LIMIT
    await reading.read(message(request()))

    async def take_in() -> Read:
        if not reading.is_for(one):
            return decode(one, Limits(LIMIT), KEYS, NOW)
        read = await reading.read(one)
        if isinstance(read, Arrival) and read.body and is_heavy(read.body.encode()):
            await reading.restore(read.body, read.request_id)
        return read

    piece, read = await longest_piece(take_in())
    if piece >= LONGEST_PIECE_SECONDS:  # other work on the machine may be why
        piece, read = await longest_piece(take_in())
    tracemalloc.start()
    await take_in()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(read, Arrival)
    assert (read.refusal and read.refusal.code) == attack.verdict
    assert piece < LONGEST_PIECE_SECONDS
    assert peak < 20 * len(attack.body)
    if read.refusal:
        assert len(read.refusal.reason) < 500
        assert len(str(read.refusal.errors)) < 10_000


@pytest.mark.parametrize("name", ["messages of a model", "keys", "a history of 11,000 messages"])
async def test_a_large_request_is_handed_to_a_handler_in_pieces(reading: Reader, name: str) -> None:
    """A piece takes at most 50 ms of processor time of the whole process, its threads included."""
    given: list[CreateSessionRequest] = []

    async def keep(request: CreateSessionRequest, _context: Context) -> None:
        given.append(request)

    read = await reading.read(message(ATTACKS[name].body))
    assert isinstance(read, Arrival)
    work = first_work(read)
    creation = HandlerCreation(keep, 1, 60, RetryRule(3, 1, 10, 3))

    async def call() -> list[Verdict]:
        with await creation.reserve(1) as slots:
            return [verdict async for verdicts in creation.create([work], slots) for verdict in verdicts]

    pieces = []
    for _ in range(3):
        piece, (verdict,) = await longest_piece(call(), time.process_time)
        pieces.append(piece)
        assert isinstance(verdict, Completed)
    whole = CreateSessionRequest.model_validate_json(ATTACKS[name].body)
    assert given == [whole] * 3
    assert min(pieces) < LONGEST_PIECE_SECONDS
