"""Where workers go by who sends, nobody acts for another one's organisation, or learns what it has."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs
from support.broker_users import broker_users
from support.commands import Shell
from support.doctor import planted, visited
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    eventually,
    good_request,
    metric_becomes,
    metric_of,
    open_desk,
    response_in,
    row_of,
)

from schemas import CreateSessionResponse, FailureCode
from worker.cli import exits
from worker.client import BrokerUnreachable, Client, NotAllowed
from worker.messages.heaviness import HEAVY_BYTES
from worker.operations.doctor.site import Need
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.testing.running import RunningWorker

TOMORROW = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000)
EVERYTHING = """
select json_agg(r order by request_id)::text as requests,
  (select json_agg(t order by request_id, attempt, at)::text from request_transitions t) as history,
  (select json_agg(s order by id)::text from sessions s) as sessions
from requests r
"""


class Tenant(NamedTuple):
    """A user of the broker with a desk of its own."""

    user: str
    url: str
    desk: Desk

    async def send(self, body: dict[str, Any] | bytes, **properties: Any) -> None:
        await self.desk.send(body, **{"user_id": self.user, **properties})

    async def cancel(self, request_id: str, *, spaces: int = 0, **properties: Any) -> None:
        body = json.dumps({"request_id": request_id, "operation": "cancel_session"}) + " " * spaces
        exchange = await self.desk.channel.get_exchange(names_for(self.desk.prefix).requests, ensure=False)
        given = {
            "user_id": self.user, "reply_to": self.desk.reply_to, "correlation_id": "cancel", **properties,
        }  # fmt: skip
        await exchange.publish(aio_pika.Message(body.encode(), **given), routing_key="cancel")

    async def told(self) -> CreateSessionResponse:
        return response_in(await self.desk.next())


class There(NamedTuple):
    """Where workers go by who sends: `a` and `b` are organisations, `console` acts for both."""

    settings: Settings
    a: Tenant
    b: Tenant
    console: Tenant


@pytest_asyncio.fixture
async def there(settings: Settings, managed: tuple[str, str]) -> AsyncIterator[There]:
    prefix = settings.prefix
    names = [f"{prefix}-{name}" for name in ("a", "b", "console")]
    orgs = {f"{prefix}-{{org}}": "{org}", f"{prefix}-console": "*"}
    mine = settings.model_copy(update={"amqp_url": SecretStr(managed[0]), "org_of_user": json.dumps(orgs)})
    async with broker_users(*managed, *names) as urls, AsyncExitStack() as exits_of_desks:
        desks = [await exits_of_desks.enter_async_context(open_desk(url, prefix)) for url in urls]
        yield There(mine, *map(Tenant, names, urls, desks))


async def started(there: There, new_worker: NewWorker, **changes: Any) -> RunningWorker:
    mine = {"amqp_url": there.settings.amqp_url, "org_of_user": there.settings.org_of_user}
    return await new_worker(**mine, **changes)


def request_of(org: str, request_id: str | None = None, **payload: Any) -> dict[str, Any]:
    return {**good_request(UUID(request_id) if request_id else None, **payload), "org_id": org}


def without_ids(response: CreateSessionResponse) -> dict[str, Any]:
    """Leaves out what differs between two answers to two messages."""
    told = response.model_dump(mode="json")
    created = datetime.fromisoformat(told["payload"].pop("created_at"))
    assert datetime.now(UTC) - created < timedelta(minutes=1), "it is not the time of what is on record"
    del told["request_id"], told["timestamp"], told["payload"]["session_id"]
    return told


async def test_another_one_s_attempts_are_alike_and_change_and_reveal_nothing(
    there: There, new_worker: NewWorker, db: asyncpg.Connection
) -> None:
    worker = await started(there, new_worker)
    a, b = there.a, there.b
    finished, waits = request_of("b"), request_of("b")
    await b.send(finished)
    response = await b.desk.next()
    await b.send(waits, headers={"not_before": TOMORROW})
    done, pending = finished["request_id"], waits["request_id"]

    async def settled() -> bool:
        rows = await db.fetch("select published_at, waits_in from listed_requests")
        return len(rows) == 2 and all(any(row) for row in rows)

    await eventually(settled)
    before = await db.fetchrow(EVERYTHING)
    large = json.dumps(request_of("b")).encode() + b" " * HEAVY_BYTES

    asked: list[tuple[dict[str, Any] | bytes, dict[str, Any]]] = [
        (request_of("b"), {}),  # in its name
        (large, {}),  # read in another process
        (finished, {}),  # for its response
        (waits, {}),  # for its response, once there is one
        (request_of("b", done, name="other"), {}),
        (request_of("a", done), {}),  # its own, under the other one's id
        (request_of("a", pending), {}),
        (request_of("b"), {"headers": {"deadline": 1}}),  # too late
    ]  # fmt: skip
    answers = []
    with capture_logs() as events:
        for body, properties in asked:
            await a.send(body, **properties)
            answers.append(await a.told())
        for request_id in (done, pending, str(uuid4())):
            for spaces in (0, HEAVY_BYTES):
                await a.cancel(request_id, spaces=spaces)
                answers.append(await a.told())
        await a.cancel(pending, reply_to=None)
    alike = [without_ids(one) for one in answers]
    assert alike == [alike[0]] * 14
    assert alike[0]["metadata"] == {"code": "not_allowed", "recorded": False}
    refused = [event for event in events if event["event"] == "request.not_allowed"]
    assert {event.get("sender", a.user) for event in refused} == {a.user}

    # What is not valid, or says nothing of who sent it, occupies no id and tells nothing of one either.
    for request_id in (done, str(uuid4())):
        await a.send(request_of("b", request_id, name=5))
        told = await a.told()
        assert (told.metadata["code"], told.metadata["recorded"]) == ("invalid_request", False)
        await a.send(b"{", correlation_id=request_id)
        assert (await a.told()).metadata["recorded"] is False
        await a.send(request_of("a", request_id), user_id=None)
        await a.cancel(request_id, user_id=None)
        silent = [await a.told() for _ in range(2)]
        assert {one.metadata["code"] for one in silent} == {"not_allowed"}
        assert all("set its property user_id" in (one.error or "") for one in silent)

    assert await db.fetchrow(EVERYTHING) == before
    assert b.desk.arrived.empty()
    await metric_becomes(10, worker, "worker_not_allowed_total", operation="create_session")
    cancels = await metric_of(worker, "worker_not_allowed_total", operation="cancel_session")
    assert cancels in (8, 9), "nobody is told of the one without a reply queue"

    # The owner's own are as ever: repeated and cancelled, also beside the other's attempts.
    await b.send(finished)
    assert (await b.desk.next()).body == response.body
    await a.cancel(pending)
    await b.cancel(pending)
    assert {(await b.told()).metadata["code"] for _ in range(2)} == {"cancelled"}
    assert (await a.told()).metadata["code"] == "not_allowed"
    await a.send(request_of("a"))
    assert (await a.told()).status == "completed"


async def test_operators_act_for_all(
    there: There, new_worker: NewWorker, db: asyncpg.Connection, settings: Settings
) -> None:
    await started(there, new_worker, max_dead_letters=100)
    shell = Shell(
        AMQP_URL=there.console.url,
        DATABASE_URL=settings.database_url.get_secret_value(),
        WORKER_PREFIX=settings.prefix,
    )
    says = {"WORKER_ORG_OF_USER": there.settings.org_of_user}
    waits, later = [request_of("b") for _ in range(3)], request_of("b")
    for each in waits:
        await there.b.send(each, headers={"not_before": TOMORROW})
    ids = [each["request_id"] for each in waits]
    await eventually(lambda: db.fetchval("select count(*) = 3 from requests"))

    unsaid = await shell.run("cancel", ids[0])
    assert unsaid.code == exits.FAILED
    assert "set its property user_id" in unsaid.err
    here = there.settings.model_copy(update={"org_of_user": "", "http_port": 8080})
    async with visited(here, Need.TABLES) as site:
        (found,) = (await planted(site, "sender-unsaid"))["sender-unsaid"]
        assert "are answered not_allowed" in found.what

    assert (await shell.run("cancel", ids[0], **says)).code == exits.OK
    assert (await shell.run("requests", "cancel", ids[1], "--because", "why", **says)).code == exits.OK
    assert {(await there.b.told()).metadata["code"] for _ in range(2)} == {"cancelled"}
    assert (await row_of(db, ids[2]))["status"] == "pending"
    retried = await shell.run("requests", "retry", ids[0], "--because", "why", **says)
    assert retried.code == exits.OK, retried.err
    assert (await there.b.told()).status == "completed"

    # What an operator sends again is not granted by that, unless the operator vouches for it with a change.
    exchange = await there.a.desk.channel.get_exchange(names_for(settings.prefix).dead, ensure=False)
    foreign = aio_pika.Message(json.dumps(request_of("b")).encode(), user_id=there.a.user, reply_to="nowhere")
    await exchange.publish(foreign, routing_key="")
    await eventually(lambda: db.fetchval("select count(*) = 1 from dead_letters"))
    again = ("dead", "replay", "--all", "--yes")
    left = await shell.run(*again, **says)
    assert (left.code, "nothing is sent" in left.err) == (exits.FAILED, True)
    assert (await shell.run(*again, "--set", "payload.name=x", **says)).code == exits.OK
    await eventually(lambda: db.fetchval("select count(*) = 1 from sessions where name = 'x'"))

    # The worker's own user, which a command may have, is an operator as well; and before the request comes.
    own = {"AMQP_URL": there.settings.amqp_url.get_secret_value()}
    assert (await shell.run("cancel", later["request_id"], **says, **own)).code == exits.OK
    await there.b.send(later)
    assert (await there.b.told()).metadata["code"] == "cancelled"


async def test_the_client_says_who_sends_and_names_what_is_not_allowed(
    there: There, new_worker: NewWorker
) -> None:
    await started(there, new_worker)
    prefix, a = there.settings.prefix, there.a

    async with Client(a.url, prefix, broker_user=a.user) as client:
        assert (await client.create_session(org_id="a", key="order-17")).status == "completed"
        with pytest.raises(NotAllowed, match="may not act for the organisation") as raised:
            await client.create_session(org_id="b", key="order-17")
        assert raised.value.code is FailureCode.NOT_ALLOWED
        with pytest.raises(NotAllowed):
            await client.cancel(key="order-17", org_id="b")
    async with Client(a.url, prefix) as client:
        with pytest.raises(NotAllowed, match="does not say who sent it"):
            await client.create_session(org_id="a")
    async with Client(a.url, prefix, broker_user=there.b.user) as client:
        with pytest.raises(BrokerUnreachable, match="refuses this user"):
            await client.create_session(org_id="b")


async def test_a_foreign_flood_stands_in_no_line_of_the_organisation(
    there: There, new_worker: NewWorker
) -> None:
    await declare_topology(there.settings)
    for _ in range(200):
        await there.a.send(request_of("b"))
    await there.b.send(request_of("b"))

    await started(there, new_worker, batch_size=1, batches=1)
    mine = await there.b.told()
    before = [(await there.a.told()).timestamp < mine.timestamp for _ in range(200)]

    assert mine.status == "completed"
    assert sum(before) < 100, "it did not wait behind all of them"
