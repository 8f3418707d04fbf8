"""submit and submit_many return confirmed requests in order, with no more in flight than asked for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from support.harness import ANSWER_SECONDS, NewWorker, eventually
from support.responder import Responder, request_id_of

from worker.client import Client, Request, RequestUnroutable, SessionFailed, request_id_for


async def test_submit_returns_when_the_request_is_safe(responder: Responder, client: Client) -> None:
    begins_at = datetime.now(UTC) + timedelta(minutes=1)
    deadline = begins_at + timedelta(hours=1)

    request_id = await client.submit(
        org_id="org-1", key="order-17", not_before=begins_at, deadline=deadline, reply_to="somewhere"
    )

    message = await responder.next()
    assert request_id == request_id_of(message) == request_id_for("org-1", "order-17")
    assert message.reply_to == "somewhere"
    assert message.headers == {
        "not_before": int(begins_at.timestamp() * 1000),
        "deadline": int(deadline.timestamp() * 1000),
    }


@pytest.mark.parametrize("name", ["not_before", "deadline"])
async def test_a_time_without_a_zone_is_refused(responder: Responder, client: Client, name: str) -> None:
    given: dict[str, Any] = {name: datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)}

    with pytest.raises(ValueError, match=f"{name} has no time zone"):
        await client.submit(org_id="org-1", **given)

    await client.submit(org_id="org-1", key="next")
    assert request_id_of(await responder.next()) == request_id_for("org-1", "next"), "nothing came before"


async def test_what_could_not_begin_in_time_is_not_sent(responder: Responder, client: Client) -> None:
    now = datetime.now(UTC)
    soon = now + timedelta(hours=1)

    with pytest.raises(ValueError, match="is not earlier than the deadline"):
        await client.submit(org_id="org-1", not_before=soon, deadline=soon)
    past = Request(org_id="org-1", key="past", not_before=now, deadline=now - timedelta(seconds=1))
    far = Request(org_id="org-1", key="far", not_before=now + timedelta(days=1000))
    for request in (past, far):  # what is wrong with these is for a worker to say
        await client.submit(request)
        assert request_id_of(await responder.next()) == request_id_for("org-1", str(request.key))


async def test_many_may_begin_at_times_of_their_own(responder: Responder, client: Client) -> None:
    now = datetime.now(UTC)
    times = {
        request_id_for("org-1", f"order-{hours}"): now + timedelta(hours=hours) for hours in range(1, 20)
    }
    requests = (
        Request(org_id="org-1", request_id=request_id, not_before=begins_at)
        for request_id, begins_at in times.items()
    )

    assert [request_id async for request_id in client.submit_many(requests)] == list(times)

    for _ in times:
        message = await responder.next()
        begins_at = times[request_id_of(message)]
        assert message.headers == {"not_before": int(begins_at.timestamp() * 1000)}


async def test_submit_many_confirms_in_order(responder: Responder, client: Client) -> None:
    keys = [f"order-{number}" for number in range(700)]

    async def requests() -> AsyncIterator[Request]:
        for key in keys:
            yield Request(org_id="org-1", key=key)

    confirmed = [request_id async for request_id in client.submit_many(requests(), window=64)]

    assert confirmed == [request_id_for("org-1", key) for key in keys]
    assert {request_id_of(await responder.next()) for _ in keys} == set(confirmed)


async def test_submit_many_takes_no_more_than_its_window(responder: Responder, client: Client) -> None:
    taken = 0

    def requests() -> Iterator[Request]:
        nonlocal taken
        while True:
            taken += 1
            yield Request(org_id="org-1")

    submitting = client.submit_many(requests(), window=8)
    for confirmed in range(1, 50):
        await anext(submitting)
        assert taken <= confirmed + 8
    await submitting.aclose()
    await responder.next()


async def test_a_source_may_wait_for_what_was_confirmed(responder: Responder, client: Client) -> None:
    confirmed = asyncio.Event()
    confirmed.set()

    async def requests() -> AsyncIterator[Request]:
        for _ in range(3):
            await confirmed.wait()
            confirmed.clear()
            yield Request(org_id="org-1")

    ids = []
    async with asyncio.timeout(ANSWER_SECONDS):
        async for request_id in client.submit_many(requests()):
            ids.append(request_id)
            confirmed.set()

    assert [request_id_of(await responder.next()) for _ in range(3)] == ids


@pytest.mark.parametrize("wrong", ["a request", "the source"])
async def test_all_before_an_error_are_confirmed(responder: Responder, client: Client, wrong: str) -> None:
    def requests() -> Iterator[Request]:
        for number in range(100):
            yield Request(org_id="org-1", key=f"order-{number}")
        if wrong == "the source":
            raise ValueError("not JSON compliant")
        yield Request(org_id="org-1", payload={"expiration_seconds": float("nan")})

    ids = []

    async def submit() -> None:
        async for request_id in client.submit_many(requests()):
            ids.append(request_id)  # noqa: PERF401 — what came before the error counts

    with pytest.raises(ValueError, match="not JSON compliant"):
        await submit()

    assert ids == [request_id_for("org-1", f"order-{number}") for number in range(100)]
    assert {request_id_of(await responder.next()) for _ in range(100)} == set(ids)


async def test_a_window_of_nothing(client: Client) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await anext(client.submit_many([Request(org_id="org-1")], window=0))


async def test_submit_many_ends_with_the_first_error(client: Client) -> None:
    with pytest.raises(RequestUnroutable):
        async for _ in client.submit_many(Request(org_id="org-1") for _ in range(100)):
            pass


async def test_with_a_worker(client: Client, new_worker: NewWorker, db: asyncpg.Connection) -> None:
    await new_worker()

    responses = await asyncio.gather(
        *(client.create_session(org_id="org-1", payload={"name": f"{number}"}) for number in range(300))
    )
    first = await client.create_session(org_id="org-1", key="order-17", payload={"name": "Once"})
    again = await client.create_session(org_id="org-1", key="order-17", payload={"name": "Once"})
    with pytest.raises(SessionFailed, match="conflict"):
        await client.create_session(org_id="org-1", key="order-17", payload={"name": "Other"})
    with pytest.raises(SessionFailed) as raised:
        await client.create_session(org_id="org-1", payload={"name": "x" * 41})

    assert first == again
    assert raised.value.errors == [{"field": "payload.name", "reason": "must have at most 40 characters"}]
    assert len({response.payload.session_id for response in responses}) == 300
    assert await db.fetchval("select count(*) from sessions") == 301

    submitted = {
        request_id async for request_id in client.submit_many(Request(org_id="o") for _ in range(50))
    }
    async with client.subscribe() as arriving:
        answered = {(await anext(arriving)).request_id for _ in submitted}
    assert answered == submitted

    async def all_published() -> bool:
        return bool(
            await db.fetchval("select not exists (select from listed_requests where published_at is null)")
        )

    await eventually(all_published)
