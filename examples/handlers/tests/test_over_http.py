"""The handler without servers of ours: `call` calls it as a worker does, its lifespan included."""

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from conftest import Rooms
from over_http import create

from session_worker.schemas import FailureCode
from session_worker.testing import Answered, ManualClock, TriedAgain, call, example_request


async def test_a_room_is_made(rooms: Rooms) -> None:
    outcome = await call(create, example_request(payload={"name": "Blue"}))

    assert outcome.response.status == "completed"
    assert outcome.response.metadata == {"room": "Blue 1"}
    assert list(rooms.made) == [outcome.response.payload.session_id]


async def test_a_second_call_makes_no_second_room(rooms: Rooms) -> None:
    request = example_request()

    first, again = await call(create, request), await call(create, request, attempt=2)

    assert first.response.metadata == again.response.metadata
    assert len(rooms.made) == 1


async def test_a_name_that_is_not_taken_is_the_requester_s_to_mend(rooms: Rooms) -> None:
    rooms.status = 422

    outcome = await call(create)

    assert isinstance(outcome, Answered)
    assert outcome.code is FailureCode.REJECTED
    assert outcome.response.error == "the service of rooms does not take this name"


async def test_a_busy_service_says_when_to_come_again(rooms: Rooms) -> None:
    rooms.status, rooms.headers = 503, {"Retry-After": "30"}

    outcome = await call(create)

    assert isinstance(outcome, TriedAgain)
    assert outcome.after == timedelta(seconds=30)

    rooms.status = 200
    assert (await outcome.again()).response.status == "completed"


async def test_a_service_that_is_broken_for_two_hours_fails_the_request(rooms: Rooms) -> None:
    rooms.status = 500
    clock = ManualClock(datetime(2026, 1, 2, 12, 0, tzinfo=UTC))

    outcome = await call(create, clock=clock)
    while isinstance(outcome, TriedAgain):
        assert isinstance(outcome.error, aiohttp.ClientResponseError)
        outcome = await outcome.again()

    assert isinstance(outcome, Answered)
    assert outcome.code is FailureCode.ATTEMPTS_EXHAUSTED
    assert clock() >= datetime(2026, 1, 2, 14, 0, tzinfo=UTC)


async def test_a_service_that_cannot_be_reached_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMS_URL", "http://127.0.0.1:1")

    outcome = await call(create)

    assert isinstance(outcome, TriedAgain)
    assert outcome.reason == "the service of rooms cannot be reached"
