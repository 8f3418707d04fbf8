"""The handlers in examples/handlers run in a real worker as they are."""

import asyncio
import importlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from support.contract.documents import ROOT
from support.faults.processes import WorkerProcess
from support.faults.scene import Scene
from support.harness import Desk, NewWorker, eventually, good_request, metric_of, response_in
from support.nobodys_port import nobodys_port

from schemas import RequestStatus

_HANDLERS = ROOT / "examples" / "handlers"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_HANDLERS))


async def test_plain(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker(handler="plain:create")

    response = await desk.ask(good_request())

    assert response.metadata == {"room": "org-1/1"}


async def test_retrying(new_worker: NewWorker, desk: Desk) -> None:
    free = importlib.import_module("retrying").FREE

    worker = await new_worker(handler="retrying:create")

    async def put_off() -> float | None:
        return await metric_of(worker, "worker_handler_seconds_count", outcome="retry")

    metadata = [(await desk.ask(good_request())).metadata for _ in range(2)]
    await desk.send(good_request())
    await eventually(put_off)
    free.append("red")
    metadata.append(response_in(await desk.next()).metadata)

    last = metadata.pop()
    assert metadata == [{"room": "green", "attempt": 1}, {"room": "blue", "attempt": 1}]
    assert last["room"] == "red"
    assert last["attempt"] >= 2, "it is tried every two seconds"


async def test_rejecting(new_worker: NewWorker, desk: Desk) -> None:
    await new_worker(handler="rejecting:create")

    short = await desk.ask(good_request(None, expiration_seconds=3600))
    long = await desk.ask(good_request(None, expiration_seconds=3601))

    assert short.status == "completed"
    assert (long.metadata, long.error) == ({"code": "rejected"}, "expiration_seconds: at most 3600 here")


class Service:
    """Stands in for the service of rooms that the example calls."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.connections: set[object] = set()
        self.busy = 0

    async def put(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        if self.busy:
            self.busy -= 1
            return web.Response(status=503, headers={"Retry-After": "0"})
        if (await request.json())["name"] == "forbidden":
            return web.Response(status=422)
        self.made.append(request.match_info["session"])
        return web.json_response({"room": f"room-{len(self.made)}"})


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_put("/rooms/{session}", service.put)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def service() -> Service:
    return Service()


async def test_over_http(scene: Scene, desk: Desk, service: Service) -> None:
    """All calls share one client, which is closed at the end: aiohttp complains of one that is not."""
    async with serving(service) as port:
        worker = WorkerProcess(
            scene.environ
            | {
                "WORKER_HANDLER": "over_http:create",
                "ROOMS_URL": f"http://127.0.0.1:{port}",
                "PYTHONPATH": os.pathsep.join(filter(None, (str(_HANDLERS), os.environ.get("PYTHONPATH")))),
            }
        )
        try:
            await worker.start()
            service.busy = 2
            made = [await desk.ask(good_request()) for _ in range(5)]
            refused = await desk.ask(good_request(None, name="forbidden"))
            worker.terminate()
            code = await asyncio.wait_for(worker.wait(), 60)
        finally:
            await worker.end()

    assert [one.status for one in made] == [RequestStatus.COMPLETED] * 5
    assert [one.payload.session_id for one in made] == service.made
    assert refused.metadata == {"code": "rejected"}
    assert len(service.connections) == 1
    assert code == 0
    assert "Unclosed" not in json.dumps(worker.events)


async def test_over_http_while_the_service_is_away(scene: Scene, desk: Desk) -> None:
    """The request is not at fault, and is answered once the service is back."""
    with nobodys_port() as port:
        environ = scene.environ | {
            "WORKER_HANDLER": "over_http:create",
            "ROOMS_URL": f"http://127.0.0.1:{port}",
            "WORKER_RETRY_BASE_SECONDS": "0.1",
            "WORKER_RETRY_CAP_SECONDS": "0.1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_HANDLERS), os.environ.get("PYTHONPATH")))),
        }
        worker = WorkerProcess(environ)
        try:
            await worker.start()
            await desk.send(good_request())
            put_off = await worker.event("request.retry")
            worker.terminate()
            assert await asyncio.wait_for(worker.wait(), 60) == 0
        finally:
            await worker.end()

    assert put_off["reason"] == "the service of rooms cannot be reached"
