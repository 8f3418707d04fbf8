"""The TypeScript package as it is published: its types, and what it does on a real broker."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from pamqp.common import FieldTable
from support.faults.proxy import proxy_to
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, row_of
from support.responder import Responder, completed, failed, request_id_of
from support.typescript import PROJECT, ClientError, Driver, build, compile_at, driver_at

from schemas import is_session_id
from worker.client import request_id_for
from worker.settings import Settings
from worker.stack import Stack

pytestmark = pytest.mark.timeout(400)  # the first time, the compiler is installed

_SNIPPET = re.compile(r"^```ts\n(.*?)^```", re.MULTILINE | re.DOTALL)
_URL = "'amqp://worker:local-only@localhost:5672/%2F'"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built."""
    place = tmp_path_factory.mktemp("typescript")
    build(place)
    return place


@pytest_asyncio.fixture(scope="module")
async def driver(package: Path) -> AsyncIterator[Driver]:
    """One process of Node.js for all tests here."""
    async with driver_at(package) as running:
        yield running


async def test_the_published_types_are_strict_and_the_readme_compiles(package: Path) -> None:
    (package / "test" / "readme.ts").write_text(_snippet())

    await asyncio.to_thread(compile_at, package, "test")


async def test_it_asks_a_worker_and_cancels(
    driver: Driver,
    new_worker: NewWorker,
    settings: Settings,
    package: Path,
    db: asyncpg.Connection,
    desk: Desk,
) -> None:
    await new_worker()
    url = settings.amqp_url.get_secret_value()
    client = await driver.open(url, settings.prefix)

    done = await client.call(payload={"name": "From TypeScript"}, key="order-1", userId="user-1")

    assert done["request_id"] == str(request_id_for("org-1", "order-1"))
    assert (done["status"], done["error"]) == ("completed", None)
    row = await row_of(db, done["request_id"])
    assert (row["session_id"], row["user_id"]) == (done["payload"]["session_id"], "user-1")
    assert row["deadline_at"] is not None

    again = await client.call(payload={"name": "From TypeScript"}, key="order-1", userId="user-1")
    assert again == done

    with pytest.raises(ClientError, match=r"payload\.name must") as long_name:
        await client.call(payload={"name": "x" * 41})
    told = long_name.value.told
    assert (told["name"], told["code"]) == ("SessionFailed", "invalid_request")
    assert [error["field"] for error in told["errors"]] == ["payload.name"]
    assert told["response"]["status"] == "failed"

    late = await client.do("cancel", request={"orgId": "org-1", "key": "order-1"})
    assert late == {"cancelled": False, "response": done}
    early = await client.do("cancel", request={"orgId": "org-1", "key": "order-2", "reason": "sold out"})
    assert (early["cancelled"], early["response"]["error"]) == (True, "cancelled: sold out")
    with pytest.raises(ClientError, match=r"SessionFailed: .*\(cancelled\): cancelled: sold out"):
        await client.call(key="order-2")

    submitted = await client.do("submit", request={"orgId": "org-1", "replyTo": desk.reply_to})
    assert json.loads((await desk.next()).body)["request_id"] == submitted

    snippet = _snippet().replace(_URL, f"{json.dumps(url)}, {{ prefix: {json.dumps(settings.prefix)} }}")
    (package / "test" / "snippet.ts").write_text(snippet)
    await driver.do("import", file="./snippet.ts")
    assert is_session_id(driver.printed.pop())
    await client.do("close")


async def test_a_call_outlives_its_connection_and_makes_one_session(
    driver: Driver, new_worker: NewWorker, settings: Settings, db: asyncpg.Connection
) -> None:
    calls: list[UUID] = []
    begun, cut = asyncio.Event(), asyncio.Event()

    async def act(request: Any, _context: Any) -> None:
        calls.append(request.request_id)
        begun.set()
        await cut.wait()

    await new_worker(handler=steer(act))
    async with proxy_to(settings.amqp_url.get_secret_value()) as (proxy, url):
        client = await driver.open(url, settings.prefix)
        request_id = str(uuid4())
        calling = asyncio.create_task(client.call(requestId=request_id))
        await begun.wait()
        first = (await row_of(db, request_id))["reply_to"]
        assert first is not None

        assert proxy.cut(reset=True) == 1
        await eventually(lambda: _asked_from_elsewhere(db, request_id, first))
        cut.set()

        done = await calling
        assert (done["status"], done["request_id"]) == ("completed", request_id)
        assert calls == [UUID(request_id)]
        assert await db.fetchval("SELECT count(*) FROM sessions") == 1
        await client.do("close")


async def _asked_from_elsewhere(db: asyncpg.Connection, request_id: str, first: str) -> bool:
    return bool((await row_of(db, request_id))["reply_to"] != first)


async def test_each_call_gets_its_own_response_once_and_in_time(
    driver: Driver, responder: Responder, stack: Stack, prefix: str
) -> None:
    client = await driver.open(stack.amqp_url, prefix)
    first = asyncio.create_task(client.call(payload={"name": "one"}, traceparent="00-1-2-01"))
    asked = await responder.next()
    properties = (asked.type, asked.content_type, asked.delivery_mode, asked.app_id, asked.correlation_id)
    assert properties == ("CreateSessionRequest", "application/json", 2, "shop", str(request_id_of(asked)))
    assert set(asked.headers) == {"deadline", "traceparent"}
    assert UUID(asked.message_id)

    # Whoever asks for the same meanwhile waits for the same response; other content is another request.
    same = asyncio.create_task(client.call(requestId=str(request_id_of(asked)), payload={"name": "one"}))
    with pytest.raises(ClientError, match=r"RequestInFlight: .*: one id, one request"):
        await client.call(requestId=str(request_id_of(asked)), payload={"name": "two"})
    response = completed(request_id_of(asked))
    await responder.answer(asked, response)
    assert (await first)["metadata"] == (await same)["metadata"] == {"by": "test"}

    # A copy of a response that was given already answers nobody else.
    second = asyncio.create_task(client.call())
    other = await responder.next()
    await responder.answer(asked, response)
    await responder.answer(other, failed(request_id_of(other)))
    with pytest.raises(ClientError, match=f"SessionFailed: request {request_id_of(other)} failed"):
        await second

    with pytest.raises(ClientError, match=r"RequestTimedOut: .* within 200 ms\. It is safe to ask again"):
        await client.call(requestId=str(uuid4()), timeout=200)
    unanswered = await responder.next()
    again = asyncio.create_task(client.call(requestId=str(request_id_of(unanswered))))
    copy = await responder.next()
    assert request_id_of(copy) == request_id_of(unanswered)
    await responder.answer(copy, b"[1]")
    with pytest.raises(ClientError, match="ResponseUnreadable"):
        await again

    waiting = asyncio.create_task(client.call())
    await responder.next()
    await client.do("close")
    with pytest.raises(ClientError, match="ClientClosed"):
        await waiting


async def test_what_cannot_be_sent_is_waited_for_or_told(
    driver: Driver, responder: Responder, stack: Stack, prefix: str
) -> None:
    client = await driver.open(stack.amqp_url, prefix)
    await _fill(responder, prefix)
    submitting = asyncio.create_task(client.do("submit", request={"orgId": "org-1"}))
    with pytest.raises(ClientError, match="RequestTimedOut"):
        await client.call(timeout=200)
    assert not submitting.done()
    queue = await responder.channel.get_queue(f"{prefix}.small")
    await queue.purge()
    await submitting
    assert await responder.left_in(queue.name) == 1
    await queue.delete(if_empty=False)
    with pytest.raises(ClientError, match=rf"RequestUnroutable: .*'{prefix}\.requests'"):
        await client.call()
    nowhere = await driver.open(stack.amqp_url, f"{prefix}x")
    with pytest.raises(ClientError, match=rf"RequestUnroutable: .*'{prefix}x\.requests'"):
        await nowhere.call()

    await client.do("close")
    await nowhere.do("close")
    refused = await driver.open(re.sub(r"//[^@]+@", "//nobody:wrong@", stack.amqp_url), prefix)
    with pytest.raises(ClientError, match=r"BrokerUnreachable: .*ACCESS.REFUSED"):
        await refused.call()
    away = await driver.open("amqp://127.0.0.1:1/%2F", prefix, connectTimeout=100)
    with pytest.raises(ClientError, match=r"BrokerUnreachable: .*ECONNREFUSED"):
        await away.call()


async def _fill(responder: Responder, prefix: str) -> None:
    """Puts a full queue in the place of the request queue."""
    exchange = f"{prefix}.requests"
    arguments: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    small = await responder.channel.declare_queue(f"{prefix}.small", exclusive=True, arguments=arguments)
    await (await responder.channel.get_queue(exchange, ensure=False)).unbind(exchange, "create")
    await small.bind(exchange, "create")
    await responder.publish(small.name, b"{}")


def _snippet() -> str:
    (snippet,) = _SNIPPET.findall((PROJECT / "README.md").read_text("utf-8"))
    assert _URL in snippet
    return str(snippet)
