"""The doctor finds what is wrong with the broker: each fault is planted there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aio_pika
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.access import Admin, administrator
from support.doctor import examined, planted, visited
from support.harness import Desk, declare_topology, delete_topology, eventually, open_desk, run_in_process
from yarl import URL

from worker.operations.doctor.checks import cluster, policies, queues, rabbitmq
from worker.operations.doctor.finding import Severity
from worker.operations.doctor.site import Need, Site, visit
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

MINE = [check.id for part in (rabbitmq, policies, cluster, queues) for check in part.CHECKS]


@pytest_asyncio.fixture
async def here(settings: Settings, managed: tuple[str, str]) -> AsyncIterator[Settings]:
    """Settings of an installation on the broker that has a management API."""
    amqp_url, _ = managed
    yield settings.model_copy(update={"amqp_url": SecretStr(amqp_url)})
    await delete_topology(amqp_url, settings.prefix)


@pytest_asyncio.fixture
async def admin(managed: tuple[str, str]) -> AsyncIterator[Admin]:
    async with administrator(managed[1]) as opened:
        yield opened


@asynccontextmanager
async def faults_of_queues(admin: Admin, prefix: str) -> AsyncIterator[None]:
    """Has policies that take messages away, and bindings of an earlier version."""
    names = names_for(prefix)
    limits = {"message_ttl": 60_000, "delivery_limit": 5, "expires": 3_600_000}
    await admin.set_policy(f"{prefix}-r", names.responses, **limits)
    await admin.set_policy(f"{prefix}-d", names.dead, max_length=10)
    try:
        yield
    finally:
        for letter in "rd":
            await admin.delete("policies", "/", f"{prefix}-{letter}")


async def test_what_is_missing_or_overruled_is_found_and_a_healthy_broker_has_nothing_wrong(
    here: Settings, admin: Admin, managed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    amqp_url, management_url = managed
    names = names_for(here.prefix)
    async with visited(here, Need.BROKER, Need.MANAGEMENT, management_url=management_url) as site:
        (missing,) = (await planted(site, "topology"))["topology"]
        assert missing.what.startswith(
            f"9 exchanges and queues are missing: the exchange {names.requests!r}, "
        )
        assert missing.remedy == "session-worker topology apply"
        assert (await examined(site, "bindings", "policies")).findings == []

        async with run_in_process(here) as new_worker:
            await new_worker()
            monkeypatch.setattr(queues, "a_moment", nothing)
            report = await examined(site, *MINE)
            assert (report.findings, report.unlooked) == ([], [])

        async with faults_of_queues(admin, here.prefix), await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            requests = await channel.get_queue(names.requests, ensure=False)
            await requests.unbind(names.requests, "create")
            await requests.bind(names.requests, "cancel")
            for queue in (names.responses, names.dead):
                await eventually(partial(policy_of, site, queue))
            found = await planted(site, "bindings", "policies")
        unbound, as_before = found["bindings"]
        assert (unbound.severity, as_before.severity) == (Severity.ERROR, Severity.WARNING)
        assert "'create'" in unbound.what
        told = "\n".join(each.what for each in found["policies"])
        assert f"deletes {names.responses!r}, and all in it, when it is not used for 3600 s" in told
        assert f"takes messages out of {names.responses!r} after 60 s: each goes to {names.dead!r}" in told
        assert f"gives {names.responses!r} a delivery limit of 5" in told
        assert f"drops the oldest of {names.dead!r} beyond max-length 10: each is lost" in told

        monkeypatch.setattr(rabbitmq, "_OLDEST", (99, 0))
        (old,) = (await planted(site, "broker-version"))["broker-version"]
        assert "99.0 or newer" in old.remedy

    await delete_topology(amqp_url, here.prefix)
    await declare_topology(here, delivery_limit=20)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(names.dead)
        await channel.declare_queue(names.dead, durable=True)
    async with visited(here, Need.BROKER) as site:
        (classic,) = (await planted(site, "topology"))["topology"]
        assert f"the queue {names.dead!r} is not as this worker needs it: x-queue-type" in classic.what
        assert classic.remedy.startswith("drain and delete it")
        low = (await planted(site, "delivery-limit"))["delivery-limit"]
        assert len(low) == 4
        assert "has a delivery limit of 20" in low[0].what

    await delete_topology(amqp_url, here.prefix)
    left = here.model_copy(update={"queue_limits": "policy"})
    await declare_topology(left)
    async with visited(left, Need.BROKER, Need.MANAGEMENT, management_url=management_url) as site:
        lacking = [each.what for each in (await planted(site, "policies"))["policies"]]
        assert sum("it drops what it should dead-letter" in what for what in lacking) == 4
        assert sum("overflow None and not 'reject-publish'" in what for what in lacking) == 4


async def test_what_the_user_may_not_do_is_told_with_the_rights_to_give(
    here: Settings, admin: Admin, managed: tuple[str, str]
) -> None:
    await declare_topology(here)
    user = here.prefix
    await admin.put("users", user, password="narrow", tags="")
    await admin.put("permissions", "/", user, configure="^$", write="^$", read=".*")
    narrow = URL(managed[0]).with_user(user).with_password("narrow")
    try:
        theirs = here.model_copy(update={"amqp_url": SecretStr(str(narrow))})
        async with visited(theirs, Need.BROKER) as site:
            found = await planted(site, "broker-rights")
            assert (await examined(site, "topology", "delivery-limit", "broker-alarm")).findings == []
            await admin.put("permissions", "/", user, configure=".*", write="^amq[.]default$", read=".*")
            (writing,) = (await planted(site, "broker-rights"))["broker-rights"]
        untagged = str(URL(managed[1]).with_user(user).with_password("narrow"))
        async with visit(theirs, {Need.BROKER}, 10, untagged) as site:
            assert "the tag monitoring" in site.lacking[Need.MANAGEMENT]
    finally:
        await admin.delete("users", user)

    (rights,) = found["broker-rights"]
    assert f"{user!r} may not do what a worker does: " in rights.what
    assert "exchange 'amq.default'" in rights.what
    assert f"exchange '{user}.requests'" in rights.what
    assert f"queue '{user}.requests'" in writing.what
    assert "exchange" not in writing.what
    assert rights.remedy == (
        f"session-worker access rabbitmq --role worker --user {user} --prefix {user}"
        " | rabbitmqctl import_definitions"
    )


async def test_what_lies_in_the_queues_and_who_reads_it_is_told(
    here: Settings, admin: Admin, managed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    amqp_url, management_url = managed
    await declare_topology(here)
    names = names_for(here.prefix)
    async with (
        open_desk(amqp_url, here.prefix) as desk,
        visited(here, Need.BROKER, Need.MANAGEMENT, management_url=management_url) as site,
    ):

        async def more() -> None:
            await fill(desk, {names.requests: ("create", 10), names.responses: ("completed", 10)})

        monkeypatch.setattr(queues, "a_moment", more)
        await admin.set_policy(here.prefix, names.responses, max_length=1000)
        try:
            await fill(desk, {names.requests: ("create", 1), names.undelivered: ("", 2), names.dead: ("", 3)})
            (alone,) = (await planted(site, "requests-growing"))["requests-growing"]
            assert "nobody consumes it" in alone.what

            await desk.channel.set_qos(1)
            reader = await desk.channel.get_queue(names.requests, ensure=False)
            held = asyncio.Queue[Any]()
            await reader.consume(held.put)
            await held.get()  # it holds one from now on
            await fill(desk, {names.requests: ("create", 110), names.responses: ("completed", 110)})
            await eventually(partial(policy_of, site, names.responses))
            found = await planted(
                site, "requests-growing", "responses-no-consumer", "responses-filling", "undelivered-rest",
                "dead-rest",
            )  # fmt: skip
        finally:
            await admin.delete("policies", "/", here.prefix)
        (growing,) = found["requests-growing"]
        assert "more each second, with 1 consumer" in growing.what
        assert "at its limit of 1,000 in" in found["responses-filling"][0].what
        assert "2 undelivered messages in" in found["undelivered-rest"][0].what
        assert "3 dead letters in" in found["dead-rest"][0].what
        assert "WORKER_MAX_DEAD_LETTERS is 0 here" in found["dead-rest"][0].what

        await make_small(desk, 5)
        await fill(desk, {names.responses: ("completed", 5)})
        await desk.until_there_are(5, names.responses)
        (full,) = (await planted(site, "responses-full"))["responses-full"]
        assert "5 responses, at its limit of 5" in full.what


async def make_small(desk: Desk, room: int) -> None:
    """Replaces the response queue by a small one."""
    responses = names_for(desk.prefix).responses
    await desk.channel.queue_delete(responses)
    limits: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": room, "x-overflow": "reject-publish"}
    queue = await desk.channel.declare_queue(responses, durable=True, arguments=limits)
    await queue.bind(responses, "#")


async def test_without_the_management_api_the_rest_is_looked_at(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "a_moment", nothing)
    await declare_topology(here)
    async with visited(here, Need.BROKER) as site:
        report = await examined(site, *MINE)

    unlooked = {check for check, _ in report.unlooked}
    assert unlooked == {"bindings", "policies", "broker-quorum", "broker-leader", "responses-full"}
    assert "give its address in MANAGEMENT_URL or MANAGEMENT_URL_FILE" in report.unlooked[0].why
    for address in ("http://us:hidden@vm:port", "us:hidden@vm:15672", "http://us:hidden@127.0.0.1:1"):
        async with visit(here, {Need.BROKER}, 10, address) as site:
            assert "hidden" not in site.lacking[Need.MANAGEMENT]


async def policy_of(site: Site, queue: str) -> object:
    """Returns what the API says of the policies of a queue; a change takes it some seconds."""
    has = await site.management.queue(queue)
    return has and has.policy


async def fill(desk: Desk, wanted: dict[str, tuple[str, int]]) -> None:
    """Publishes so many messages to each of these exchanges, and waits until their queues count them."""
    for name, (key, number) in wanted.items():
        before = await desk.count(name)
        exchange = await desk.channel.get_exchange(name, ensure=False)
        await asyncio.gather(
            *(exchange.publish(aio_pika.Message(b"{}", message_id=f"{one}"), key) for one in range(number))
        )
        await eventually(partial(has, desk, name, before + number))


async def has(desk: Desk, name: str, least: int) -> bool:
    """Looks whether the queue counts so many: others may fill it at the same time."""
    return await desk.count(name) >= least


async def nothing() -> None:
    """Waits for nothing."""
