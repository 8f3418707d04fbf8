"""The main path on real servers: a request in, a session made, a response out."""

from uuid import uuid4

import asyncpg
from harness import Desk, NewWorker, good_request, response_in

from schemas import RequestStatus


async def test_a_request_becomes_a_session_and_a_response(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    request = good_request()

    await desk.send(request, correlation_id="mine-1")
    message = await desk.next()

    response = response_in(message)
    assert response.status is RequestStatus.COMPLETED
    assert str(response.request_id) == request["request_id"]
    assert message.correlation_id == "mine-1"
    session = await db.fetchrow("select * from sessions")
    assert session["id"] == response.payload.session_id
    assert session["name"] == "Support chat"
    history = await db.fetch("select status, attempt from request_transitions order by at, attempt")
    assert [tuple(row) for row in history] == [("pending", 0), ("processing", 1), ("completed", 1)]


async def test_many_requests_each_get_one_response(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await new_worker()
    ids = {uuid4() for _ in range(500)}
    for request_id in ids:
        await desk.send(good_request(request_id))

    answered = [response_in(await desk.next()).request_id for _ in ids]

    assert sorted(answered) == sorted(ids)
    assert await db.fetchval("select count(*) from sessions") == 500
