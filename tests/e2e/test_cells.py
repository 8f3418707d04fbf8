"""The example of cells: routers die and an organisation moves under load; each request has one session."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
from support.contract.documents import ROOT
from support.databases import made_database
from support.harness import (
    Desk,
    delete_topology,
    eventually,
    good_request,
    open_desk,
    run_in_process,
)

from worker.settings import Settings
from worker.stack import Stack

CELLS = ROOT / "examples" / "cells"
ORGS = ("org-1", "org-2", "org-of-nobody")
EVERY_SECONDS = 0.05
SESSIONS = "select request_id::text, id from sessions"


class Cell:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def sessions(self) -> dict[str, str]:
        db = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            return dict(await db.fetch(SESSIONS))
        finally:
            await db.close()


class Shop:
    """Asks for sessions at the front, and keeps what comes back."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.sent: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, set[str]] = {}

    async def send(self, request: dict[str, Any]) -> None:
        self.sent[request["request_id"]] = request
        await self._desk.send(request)

    async def keep_sending(self) -> None:
        while True:
            for org in ORGS:
                await self.send({**good_request(uuid4()), "org_id": org})
            await asyncio.sleep(EVERY_SECONDS)

    async def listen(self) -> None:
        while True:
            message = await self._desk.arrived.get()
            answer = json.loads(message.body)
            assert answer["status"] == "completed", answer
            self.answers.setdefault(answer["request_id"], set()).add(answer["payload"]["session_id"])

    async def until_answered(self, ids: set[str]) -> None:
        async def answered() -> bool:
            return ids <= self.answers.keys()

        await eventually(answered)

    def of(self, org: str) -> set[str]:
        return {request_id for request_id, request in self.sent.items() if request["org_id"] == org}


@asynccontextmanager
async def script(name: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, name, *words, cwd=CELLS)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def written_map(file: Path, managed: tuple[str, str], front: str, cells: dict[str, Cell]) -> None:
    """Writes the map of the example, with these cells in the place of its own."""
    shown = json.loads((CELLS / "cells.json").read_text("utf-8"))
    assert shown["cells"].keys() == cells.keys()
    shown["front"] = {"amqp_url": managed[0], "prefix": front}
    for name, cell in cells.items():
        url = cell.settings.database_url.get_secret_value()
        own = {"amqp_url": managed[0], "management_url": managed[1], "database_url": url}
        shown["cells"][name] |= {**own, "prefix": cell.settings.prefix}
    file.write_text(json.dumps(shown), "utf-8")


@pytest.fixture
async def cells(
    settings: Settings, stack: Stack, template: str, managed: tuple[str, str]
) -> AsyncIterator[dict[str, Cell]]:
    """Two installations: a prefix and a database each, and a worker."""
    async with made_database(stack.database_url, "cell", template) as url:
        kind = type(settings.amqp_url)
        first = settings.model_copy(update={"amqp_url": kind(managed[0])})
        second = first.model_copy(
            update={"prefix": f"{settings.prefix}b", "database_url": type(settings.database_url)(url)}
        )
        async with run_in_process(first) as start, run_in_process(second) as start_other:
            await asyncio.gather(start(), start_other())
            yield {"a": Cell(first), "b": Cell(second)}
        for each in (first, second):
            await delete_topology(managed[0], each.prefix)


@pytest.mark.timeout(400)
async def test_an_organisation_moves_under_load_and_routers_die(
    managed: tuple[str, str], cells: dict[str, Cell], prefix: str, tmp_path: Path
) -> None:
    front, file = f"{prefix}f", tmp_path / "cells.json"
    written_map(file, managed, front, cells)
    async with (
        await aio_pika.connect(managed[0]) as admin,
        open_desk(managed[0], front) as desk,
        script("router.py", str(file)),
    ):
        channel = await admin.channel()

        async def there() -> bool:
            probe = await admin.channel()
            try:
                await probe.declare_queue(f"{front}.held", passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return False
            return True

        await eventually(there)
        shop, first = Shop(desk), good_request(uuid4())

        async def routed() -> bool:  # the queues are there a moment before they are bound
            try:
                await shop.send(first)
            except aio_pika.exceptions.DeliveryError:
                return False
            return True

        await eventually(routed)
        tasks = [asyncio.create_task(each) for each in (shop.keep_sending(), shop.listen())]
        try:
            async with script("router.py", str(file)) as second_router:
                await shop.until_answered(set(await more(shop)))
                second_router.kill()  # with what it has in hand
            before = shop.of("org-1")
            await shop.until_answered(before)  # what no router has taken by then goes to the other cell
            async with script("move.py", str(file), "org-1", "b") as moving, script("router.py", str(file)):
                assert await moving.wait() == 0
            await shop.until_answered(set(await more(shop)))
            for request_id in sorted(before)[:5]:  # asked again, after the move
                await shop.send(shop.sent[request_id])
            tasks[0].cancel()
            await shop.until_answered(set(shop.sent))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for queue in (f"{front}.requests", f"{front}.held"):
                await channel.queue_delete(queue)
            await channel.exchange_delete(f"{front}.requests")
    a, b = await cells["a"].sessions(), await cells["b"].sessions()
    assert not a.keys() & b.keys(), "no request has a session in both"
    assert a.keys() | b.keys() == shop.sent.keys()
    assert shop.answers == {request_id: {session} for request_id, session in (a | b).items()}
    assert before <= a.keys()
    assert shop.of("org-1") & b.keys(), "it has moved"
    assert shop.of("org-2") <= b.keys()
    assert shop.of("org-of-nobody") <= a.keys()


async def more(shop: Shop) -> list[str]:
    """Waits for some more requests, and returns them."""
    known = set(shop.sent)

    async def enough() -> bool:
        return len(shop.sent) > len(known) + 100

    await eventually(enough)
    return [request_id for request_id in shop.sent if request_id not in known]
