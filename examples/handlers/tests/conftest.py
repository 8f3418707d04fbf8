"""A stand-in for the service of rooms that the handler calls."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer


class Rooms:
    """Answers as a test says: with rooms, until it is told a status."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked = asyncio.Event()

    async def put(self, request: web.Request) -> web.Response:
        self.asked.set()
        if self.status != web.HTTPOk.status_code:
            return web.Response(status=self.status, headers=self.headers)
        name = (await request.json())["name"]
        room = self.made.setdefault(request.match_info["session"], f"{name} {len(self.made) + 1}")
        return web.json_response({"room": room})


@pytest_asyncio.fixture
async def rooms(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rooms]:
    service = Rooms()
    app = web.Application()
    app.router.add_put("/rooms/{session}", service.put)
    async with TestServer(app) as server:
        monkeypatch.setenv("ROOMS_URL", str(server.make_url("/")))
        yield service
