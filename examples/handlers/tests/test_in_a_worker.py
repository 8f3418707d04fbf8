"""The handler in a real worker, on a real RabbitMQ and Postgres: the fixture `session_worker` has both."""

import asyncio

from conftest import Rooms
from over_http import create

from session_worker.testing.running import StartWorker


async def test_requests_get_their_rooms(session_worker: StartWorker, rooms: Rooms) -> None:
    async with session_worker(create) as running:
        responses = await asyncio.gather(
            *(
                running.client.create_session(org_id="org-1", payload={"name": name})
                for name in ("Red", "Blue", "Green")
            )
        )

    made = {response.payload.session_id: response.metadata["room"] for response in responses}
    assert made == rooms.made


async def test_a_request_outlasts_a_busy_service(session_worker: StartWorker, rooms: Rooms) -> None:
    rooms.status, rooms.headers = 503, {"Retry-After": "0"}

    async with session_worker(create) as running:
        waiting = asyncio.create_task(running.client.create_session(org_id="org-1", payload={"name": "Red"}))
        await rooms.asked.wait()
        rooms.status = 200
        response = await waiting

    assert response.metadata == {"room": "Red 1"}
