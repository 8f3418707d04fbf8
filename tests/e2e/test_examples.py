"""The examples in other languages and libraries run against a real worker."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from support.contract.documents import ROOT
from support.harness import Desk, NewWorker, delete_topology, eventually, good_request, open_desk, row_of
from support.node_js import NODE, project_at

from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.stack.install import install

_EXAMPLES = ROOT / "examples"
_SECONDS = 60

pytestmark = pytest.mark.timeout(400)  # the first time, amqplib is installed


class Language(NamedTuple):
    command: list[str]
    folder: Path


@pytest_asyncio.fixture(params=["python", "node"])
async def language(request: pytest.FixtureRequest, tmp_path: Path) -> Language:
    if request.param == "python":
        return Language([sys.executable, "python_pika.py"], _EXAMPLES)
    return Language(
        [str(NODE), "create_session.mjs"], await project_at(_EXAMPLES / "node", tmp_path / "node")
    )


async def test_it_asks_and_gets_the_response(
    language: Language, new_worker: NewWorker, settings: Settings, db: asyncpg.Connection
) -> None:
    await new_worker()
    request_id = str(uuid4())

    code, out, err = await _run(language, settings, REQUEST_ID=request_id)

    response = json.loads(out)
    assert (code, err) == (0, "")
    assert (response["request_id"], response["status"]) == (request_id, "completed")
    row = await row_of(db, request_id)
    assert row["session_id"] == response["payload"]["session_id"]
    assert row["deadline_at"] is not None


async def test_a_failure_is_told(
    language: Language, new_worker: NewWorker, settings: Settings, desk: Desk
) -> None:
    await new_worker()
    other = good_request(name="something else")
    await desk.ask(other)

    code, out, err = await _run(language, settings, REQUEST_ID=other["request_id"])

    assert code == 1
    assert json.loads(out)["metadata"]["code"] == "request_id_conflict"
    assert "request_id_conflict: " in err


async def test_it_reads_responses(
    language: Language, new_worker: NewWorker, settings: Settings, desk: Desk
) -> None:
    await new_worker()
    wanted = [good_request() for _ in range(3)]
    for request in [*wanted[:2], *wanted]:  # two are asked for twice: their responses come again
        await desk.send(request, reply_to=None)

    code, out, err = await _run(language, settings, "subscribe", "3")

    assert (code, err) == (0, "")
    got = [json.loads(line)["request_id"] for line in out.splitlines()]
    assert sorted(got) == sorted(request["request_id"] for request in wanted)


async def test_it_takes_as_many_as_it_says_and_returns_none(
    language: Language, new_worker: NewWorker, settings: Settings, desk: Desk
) -> None:
    await new_worker()
    for _ in range(6):
        await desk.send(good_request(), reply_to=None)
    responses = names_for(settings.prefix).responses
    await eventually(lambda: _holds(desk, responses, 6))

    code, out, err = await _run(language, settings, "subscribe", "2")

    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2
    await eventually(lambda: _holds(desk, responses, 4))
    left = [await desk.take_from(responses) for _ in range(4)]
    assert {message.headers.get("x-delivery-count", 0) for message in left} == {0}


async def _holds(desk: Desk, queue: str, count: int) -> bool:
    return await desk.count(queue) == count


@pytest_asyncio.fixture
async def curl() -> Language:
    if shutil.which("curl") is None:
        why_not = await install("curl", print, os.environ)
        assert shutil.which("curl"), f"curl is not installed here, and {why_not}"
    return Language(["bash", "curl.sh"], _EXAMPLES)


async def test_curl_asks_and_reads(
    curl: Language, managed: tuple[str, str], new_worker: NewWorker, settings: Settings, prefix: str
) -> None:
    amqp_url, management_url = managed
    here = settings.model_copy(update={"amqp_url": type(settings.amqp_url)(amqp_url)})
    worker = await new_worker(amqp_url=here.amqp_url)
    try:
        request_id = str(uuid4())
        code, out, err = await _run(curl, here, MANAGEMENT_URL=management_url, REQUEST_ID=request_id)
        assert (code, err) == (0, "")
        assert _in_api(out) == {"request_id": request_id, "status": "completed"}

        async with open_desk(amqp_url, prefix) as desk:
            unread = good_request()
            await desk.send(unread, reply_to=None)
            await eventually(lambda: desk.count(f"{prefix}.responses"))
        code, out, err = await _run(curl, here, "subscribe", MANAGEMENT_URL=management_url)
        assert (code, err) == (0, "")
        assert _in_api(out) == {"request_id": unread["request_id"], "status": "completed"}
    finally:
        await worker.stop()
        await delete_topology(amqp_url, prefix)


def _in_api(out: str) -> dict[str, Any]:
    """Returns the parts that matter of the one message that the management API gave."""
    (message,) = json.loads(out)
    body = json.loads(message["payload"])
    return {name: body[name] for name in ("request_id", "status")}


async def _run(language: Language, settings: Settings, *words: str, **environ: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *language.command, *words, cwd=language.folder,
        env={
            **os.environ,
            "AMQP_URL": settings.amqp_url.get_secret_value(),
            "PREFIX": settings.prefix,
            **environ,
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
