"""Two of three RabbitMQ nodes are lost under load: one for long, the other while the first is gone."""

import asyncio
import logging
import os
from typing import Any

import asyncpg
import pytest
from aiormq import Channel
from support.doctor import examined, planted, visited
from support.faults.cluster import Cluster, cluster
from support.faults.load import Books, Producers, keep_sending, keeping_books
from support.faults.processes import worker_processes
from support.faults.scene import Scene
from support.faults.watching import until_no_more
from support.harness import Desk, NewWorker, declare_topology, eventually, good_request
from support.servers import write_down

from worker.operations.doctor.finding import Finding, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.promises import verify
from worker.rabbitmq import intake, topology
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

PREFIX = "cluster"
PER_SECOND = 75.0
MORE = 150  # answers that show that work goes on
NO_QUORUM_SECONDS = 4.0


@pytest.fixture
def quiet_client(caplog: pytest.LogCaptureFixture) -> None:
    """Silences the client libraries: lost connections are expected here."""
    for name in ("aiormq", "aio_pika"):
        caplog.set_level(logging.CRITICAL, name)


async def goes_on(books: Books, what: str) -> None:
    """Waits until more requests are accepted, and answered."""
    confirmed, answered = len(books.confirmed), len(books.answered)
    await books.until(
        lambda: len(books.confirmed) > confirmed + MORE and len(books.answered) > answered + MORE, 120, what
    )


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("quiet_client")
async def test_a_cluster_that_loses_its_leader_and_then_its_quorum_loses_no_request(
    database_url: str, db: asyncpg.Connection
) -> None:
    requests = names_for(PREFIX).requests
    async with cluster() as three:
        scene = Scene(three.url, database_url, PREFIX)
        async with worker_processes(2, scene.environ), keeping_books(three.url, PREFIX) as books:
            queues = await three.queues(three.nodes[0])
            assert set(queues) == set(names_for(PREFIX))
            for queue in queues.values():
                assert sorted(queue["members"]) == sorted(node.name for node in three.nodes)

            await asyncio.gather(*map(write_down, three.nodes))
            producers, enough = Producers(three.url, PREFIX, books, 400), asyncio.Event()
            producers.per_second = PER_SECOND
            sending = asyncio.create_task(keep_sending(producers, enough))
            try:
                await goes_on(books, "at work")

                leader = await three.leader(requests, three.nodes[0])
                one, other = [node for node in three.nodes if node is not leader]
                await books.until(lambda: books.open > 0, 90, "in flight")
                pid = leader.pid
                await leader.kill()
                assert is_gone(pid)
                await goes_on(books, "going on without the leader")
                assert await three.leader(requests, one) in (one, other)
                assert leader.name not in (await three.queues(one))[requests]["online"]

                await books.until(lambda: books.open > 0, 90, "in flight")
                await other.freeze()
                try:
                    await no_quorum(books)
                finally:
                    await other.thaw()
                await goes_on(books, "going on with two of three")

                await leader.start()
                await eventually(three.all_online)
                await goes_on(books, "going on with all three")
                enough.set()
                producers.per_second = None
                await sending
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await books.until_all_answered(90)

        assert await verify(database_url, books.confirmed, books.received) == []
        assert await db.fetchval("select count(*) from requests") >= len(books.confirmed) >= 4 * MORE
        assert await db.fetchval("select max(attempt) from requests") <= 2, (
            "an outage of the broker is no attempt"
        )
        assert (await three.queues(three.nodes[0]))[names_for(PREFIX).dead]["online"]
        await the_doctor_finds_what_ails(three, database_url)


@pytest.mark.parametrize("step", ["queue_bind", "basic_consume", "basic_cancel"])
async def test_a_node_that_answers_nothing_is_left_for_the_next(
    step: str, new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up = set()

    async def never(channel: Channel, *_: object, **__: object) -> None:
        held_up.add(channel.connection)
        await asyncio.Event().wait()

    monkeypatch.setattr(topology, "SETUP_SECONDS", 0.3)
    monkeypatch.setattr(intake, "SETUP_SECONDS", 0.3)
    monkeypatch.setattr(intake, "QUIET_SECONDS", 0.3)
    with monkeypatch.context() as patch:
        patch.setattr(Channel, step, never)  # it leaves off when nothing has come for a while
        worker = await new_worker(until_ready=False)
        await eventually(lambda: asyncio.sleep(0, len(held_up) > 3))  # it connected anew
    await worker.readiness.until_up()

    assert (await desk.ask(good_request())).status == "completed"


async def test_a_queue_in_which_nothing_is_goes_on_being_read(
    new_worker: NewWorker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_anew = asyncio.Event()
    cancel = Channel.basic_cancel

    async def counted(channel: Channel, tag: str, **options: Any) -> Any:
        asked_anew.set()
        return await cancel(channel, tag, **options)

    monkeypatch.setattr(intake, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(Channel, "basic_cancel", counted)
    worker = await new_worker()
    for _ in range(3):
        asked_anew.clear()
        async with asyncio.timeout(60):
            await asked_anew.wait()
        assert worker.readiness.ready
        assert (await desk.ask(good_request())).status == "completed"


async def test_one_that_is_stopped_while_it_asks_anew_begins_to_read_nothing(
    new_worker: NewWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_anew, stopped = asyncio.Event(), asyncio.Event()
    asking: list[Channel] = []
    begun: list[Channel] = []
    set_prefetch, consume, stop = Channel.basic_qos, Channel.basic_consume, intake.Intake.stop

    async def held_up(channel: Channel, **options: Any) -> Any:
        if not asking:
            asking.append(channel)
            asked_anew.set()
            await stopped.wait()
        return await set_prefetch(channel, **options)

    async def noted(channel: Channel, *args: Any, **options: Any) -> Any:
        begun.append(channel)
        return await consume(channel, *args, **options)

    async def stop_it(one: intake.Intake) -> None:
        await stop(one)
        if any(session.channel is asking[0] for session in one.hand.sessions):
            stopped.set()

    monkeypatch.setattr(intake, "QUIET_SECONDS", 0.2)
    worker = await new_worker()
    monkeypatch.setattr(Channel, "basic_qos", held_up)
    monkeypatch.setattr(Channel, "basic_consume", noted)
    monkeypatch.setattr(intake.Intake, "stop", stop_it)
    async with asyncio.timeout(60):
        await asked_anew.wait()
        worker.stop_event.set()
        await worker.task

    assert stopped.is_set()
    assert asking[0] not in begun


async def the_doctor_finds_what_ails(three: Cluster, database_url: str) -> None:
    """Plants what only a cluster can have, on queues of their own."""
    one, two, third = three.nodes
    settings = Settings(amqp_url=one.url, database_url=database_url, prefix="led")
    names = names_for("led")
    await declare_topology(settings)
    async with visited(settings, Need.BROKER, Need.MANAGEMENT, management_url=one.management_url) as site:
        (led,) = (await planted(site, "broker-leader"))["broker-leader"]
        assert f"all 5 queues are on {one.name}, one of 3 nodes" in led.what
        assert (await examined(site, "broker-quorum", "broker-alarm")).findings == []

        gone = f'rabbit_quorum_queue:delete_member(<<"/">>, <<"{names.dead}">>, \'{third.name}\').'
        assert "ok" in await one.ctl("eval", gone)
        (few,) = (await planted(site, "broker-quorum"))["broker-quorum"]
        assert f"{names.dead!r} has members on 2 of 3 nodes" in few.what
        assert few.remedy == f"rabbitmq-queues grow {third.name} all"

        await two.ctl("set_vm_memory_high_watermark", "0.00001")
        async with visited(settings, Need.BROKER) as by_amqp_alone:
            # It is another node's alarm: this one is told of it a moment later.
            await eventually(lambda: said(by_amqp_alone, "broker-alarm", "one was not confirmed within"))
            (held,) = (await planted(by_amqp_alone, "broker-alarm"))["broker-alarm"]
        assert "one was not confirmed within" in held.what
        short = f"{two.name} takes no messages: it uses "
        await eventually(lambda: said(site, "broker-alarm", short))  # nodes tell each other now and then

        await third.kill()
        lacks = await eventually(
            lambda: said(site, "broker-quorum", "2 of its 3 members are online; without 1 more")
        )
        assert {each.severity for each in lacks} == {Severity.WARNING}
        await two.kill()
        lost = await eventually(
            lambda: said(site, "broker-quorum", "1 of its 3 members are online, which is no majority")
        )
        assert {each.severity for each in lost} == {Severity.ERROR}


async def said(site: Site, check: str, words: str) -> list[Finding]:
    """Returns what the doctor finds with these words."""
    return [each for each in (await examined(site, check)).findings if words in each.what]


async def no_quorum(books: Books) -> None:
    """Leaves one node of three running: it cannot promise anything, so nothing is confirmed."""
    await until_no_more(lambda: len(books.confirmed), NO_QUORUM_SECONDS)
