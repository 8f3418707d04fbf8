"""The drills of docs/on-call.md: what goes wrong makes an alert true, in a real Prometheus that scrapes real
workers; commands alone find it and end it; then the alert is over, and every promise is kept.
"""

import asyncio
import csv
import io
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from pydantic import SecretStr
from support.commands import Shell
from support.contract.secret_payloads import PHONE
from support.faults.processes import WorkerProcess
from support.faults.scene import Scene
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, response_in
from support.on_call import Operator
from support.prometheus import prometheus_of
from support.sealed import CANARY, ring_text

from schemas import CreateSessionRequest, CreateSessionResponse
from worker.handlers import Context, RetryLater
from worker.operations.promises import Received, verify
from worker.services import peers, ruling, surveying, watching
from worker.steps import attempting

QUICK = {
    "lease_seconds": 10, "prefetch": 8, "max_attempts": 1, "breaker_share": 1.0, "max_dead_letters": 1000,
}  # fmt: skip
FAILS_AT_ONCE = {
    "WORKER_LEASE_SECONDS": "10", "WORKER_PREFETCH": "8", "WORKER_MAX_ATTEMPTS": "1",
    "WORKER_RETRY_SECONDS": "0",
}  # fmt: skip
IN_FORCE_SECONDS = 1.0  # what is promised of limits
SMALL_DISK = {"vector(50e9)": "vector(5e9)", "[6h]": "[5m]"}  # of the rules
WHY = ("--because", "a drill", "--yes")


class Customers:
    """Send requests, and note what was confirmed to them and what came back."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.confirmed: list[UUID] = []
        self.received: list[Received] = []

    async def send(self, number: int, *, reply_to: str | None = "mine", **changes: Any) -> list[str]:
        """Send so many good requests, with these changes; returns their ids."""
        requests = [good_request() | changes for _ in range(number)]
        for request in requests:
            await self.desk.send(request, reply_to=reply_to)
            self.confirmed.append(UUID(request["request_id"]))
        return [request["request_id"] for request in requests]

    async def answers(self, number: int) -> list[CreateSessionResponse]:
        """Receive so many responses, beside the copies of those that have come before."""
        return [response_in(message) for message in await self.desk.different(number, self.read)]

    def read(self, message: AbstractIncomingMessage) -> CreateSessionResponse:
        self.received.append(Received(message.message_id or "", message.body))
        return response_in(message)


@pytest.fixture
def operator(shell: Shell) -> Operator:
    return Operator(shell)


@pytest_asyncio.fixture
async def customers(desk: Desk) -> Customers:
    return Customers(desk)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker looks at every few seconds, it looks at more often."""
    for module, name, seconds in (
        (watching, "LOOK_SECONDS", 0.5), (peers, "CENSUS_SECONDS", 0.5), (ruling, "COUNT_SECONDS", 0.5),
        (peers, "_SILENT_SECONDS", 6),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, seconds)


async def test_garbage_an_org_that_fails_and_answers_that_nobody_got(
    new_worker: NewWorker, customers: Customers, operator: Operator, db: asyncpg.Connection, scene: Scene
) -> None:
    mended = asyncio.Event()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.org_id == "org-7" and not mended.is_set():
            raise ConnectionError

    worker = await new_worker(handler=steer(act), **QUICK)
    full = await customers.desk.channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    async with prometheus_of([worker.http_port]) as prometheus:
        await prometheus.has_begun()
        failed = await customers.send(20, org_id="org-7")
        mendable = await plant_garbage(customers.desk)
        (lost,) = await customers.send(1, reply_to="nobody.reads.here")
        await customers.send(3, reply_to=full.name)
        await customers.send(1, reply_to=None)
        await plant_conflicts(customers)
        await prometheus.tells(
            ("HandlerFailing", "page"), ("AttemptsExhausted", "page"), ("AttemptsExhausted", "ticket"),
            ("DeadLetters", "page"), ("DeadLetters", "ticket"), ("ConflictsRising", "ticket"),
            ("AnswersNotDelivered", "ticket"), ("ResponsesRefused", "page"),
            ("NobodyReadsResponses", "ticket"),
        )  # fmt: skip
        assert Counter(answer.status.value for answer in await customers.answers(32)) == {
            "failed": 31, "completed": 1,
        }  # fmt: skip

        await end_garbage(operator, db, len(mendable))
        customers.confirmed += map(UUID, mendable)

        listed = await operator.says("requests", "list", "--status", "failed", "--since", "1h", "--json")
        assert listed.records[-1]["reasons"] == {"the handler raised ConnectionError": len(failed)}
        assert {each["org_id"] for each in listed.records[:-1]} == {"org-7"}
        mended.set()
        retry = ("requests", "retry", "--org", "org-7", "--status", "failed", "--since", "1h")
        looked = await operator.says(*retry, "--dry-run")
        assert "20 requests, 1 org (org-7)" in looked.err
        await operator.says(*retry, *WHY, "--rate", "1000/s")
        assert {answer.status for answer in await customers.answers(20)} == {"completed"}

        await end_undelivered(operator, customers, lost, full)
        await end_unread(operator, customers, len(mendable) + 1)
        await prometheus.is_quiet()

    audit = await operator.says("audit", "list", "--json")
    assert Counter(row["action"] for row in audit.records) == {
        "dead.replay": 1, "dead.drop": 2, "dead.restore": 1, "requests.retry": 1, "requests.resend": 2,
    }  # fmt: skip
    assert await verify(scene.database_url, customers.confirmed, customers.received) == []


async def plant_garbage(desk: Desk) -> list[str]:
    """Send messages without an id, and some that are no JSON; returns the ids that the first were to have."""
    ids = [str(uuid4()) for _ in range(40)]
    for number, request_id in enumerate(ids):
        request = good_request() | {"id": request_id}
        del request["request_id"]
        await desk.send(request, reply_to=None, app_id="billing")
        await desk.send(b"<order>%d</order>" % number, reply_to=None, app_id="lists")
    return ids


async def plant_conflicts(customers: Customers) -> None:
    once = uuid4()
    for number in range(12):
        await customers.desk.send(good_request(once, name=f"another {number}"))
    customers.confirmed.append(once)


async def end_garbage(operator: Operator, db: asyncpg.Connection, mendable: int) -> None:
    """Drill 1: mend what can be mended, and drop the rest."""
    in_custody = "select count(*) = 80 from dead_letters"
    await eventually(lambda: db.fetchval(in_custody))
    groups = {tuple(each["apps"]): each for each in (await operator.says("dead", "list", "--json")).records}
    assert {apps: each["messages"] for apps, each in groups.items()} == {
        ("billing",): mendable, ("lists",): 40,
    }  # fmt: skip
    mending = ("dead", "replay", "--like", groups[("billing",)]["example"], "--rename", "id=request_id")
    dry = await operator.says(*mending, "--dry-run", "--json")
    assert {each["prospect"] for each in dry.records} == {"new"}
    await operator.says(*mending, *WHY, "--rate", "1000/s")
    for verb in ("drop", "restore", "drop"):
        ended = await operator.says("dead", verb, "--app", "lists", *WHY, "--json")
        assert ended.records[0]["messages"] == 40
    assert "no message that is kept matches" in (await operator.says("dead", "list")).out


async def end_undelivered(operator: Operator, customers: Customers, lost: str, full: AbstractQueue) -> None:
    """Drill 4: a response is sent again elsewhere; so are those that a full queue has refused."""
    here = ("--to", customers.desk.reply_to)
    told = (await operator.says("requests", "explain", lost, "--json")).records[0]
    assert (told["events"][-1]["what"], told["by_itself"]) == ("NOT DELIVERED", False)
    assert "nobody.reads.here is not there" in told["events"][-1]["text"]
    await operator.says("requests", "resend", lost, *here)
    refused = ("--response", "refused", "--since", "1h")
    listed = await operator.says("requests", "list", *refused, "--json")
    assert {each["reply_to"] for each in listed.records[:-1]} == {full.name}
    await operator.says("requests", "resend", *refused, *here, *WHY)
    customers.read(await full.get(no_ack=True))
    assert {answer.status for answer in await customers.answers(3)} == {"completed"}


async def end_unread(operator: Operator, customers: Customers, number: int) -> None:
    """Drill 7: responses lie in their queue, and nobody reads it."""
    queue = f"{customers.desk.prefix}.responses"
    await customers.desk.until_there_are(number, queue)
    depths = {each["queue"]: each for each in (await operator.says("queues", "--json")).records}
    assert (depths[queue]["ready"], depths[queue]["consumers"]) == (number, 0)
    taken = (await operator.says("responses", "--raw")).records
    assert len(taken) == number
    await customers.desk.until_there_are(0, queue)
    customers.received += [Received(each["message_id"], each["body"].encode()) for each in taken]


async def test_a_bad_build_a_frozen_worker_and_a_lock(
    new_worker: NewWorker, customers: Customers, operator: Operator, scene: Scene
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None: ...

    worker = await new_worker(handler=steer(act), **QUICK)
    other = WorkerProcess(
        scene.environ | FAILS_AT_ONCE | {"WORKER_HANDLER": "support.faults.handlers:fails_for_some"}
    )
    try:
        await other.start()
        async with prometheus_of([worker.http_port, other.http_port]) as prometheus:
            await prometheus.finds('count(worker_handler_seconds_count{outcome="raised"}) == 2')
            failed = await meet_bad_build(customers)
            await prometheus.tells(("BadBuild", "page"), ("SettingsDiffer", "ticket"))
            await end_bad_build(operator, customers, other, failed)
            await prometheus.is_quiet()

            await other.start()
            other.freeze()
            await customers.send(20)
            await prometheus.tells(("WorkerSilent", "page"))
            await until_silent(operator, {other.pid})
            await other.kill()
            assert {answer.status for answer in await customers.answers(20)} == {"completed"}
            await prometheus.is_quiet()

            holder = await asyncpg.connect(
                scene.database_url, server_settings={"application_name": "nightly backup"}
            )
            await holder.execute("begin; lock table requests")
            await customers.send(120)
            await prometheus.tells(("LockWait", "page"), ("PartDown", "page"), ("NotProgressing", "page"))
            await end_lock(operator, holder)
            assert {answer.status for answer in await customers.answers(120)} == {"completed"}
            await prometheus.is_quiet()

            await worker.stop()
            await prometheus.tells(("NoWorker", "page"))
    finally:
        await other.end()
    assert await verify(scene.database_url, customers.confirmed, customers.received) == []


async def until_silent(operator: Operator, pids: set[int]) -> list[dict[str, Any]]:
    """Lists the workers once these alone are silent: one whose beat is late seems so for a moment."""

    async def look() -> list[dict[str, Any]] | None:
        listed = await operator.shell.run("workers", "--json")
        silent = {each["pid"] for each in listed.records if each["state"] == "SILENT"}
        return listed.records if (silent, listed.code) == (pids, int(bool(pids))) else None

    return await eventually(look)


async def meet_bad_build(customers: Customers) -> int:
    """Send requests to both builds; returns how many the bad one has failed."""
    await customers.send(150)
    statuses = Counter(answer.status.value for answer in await customers.answers(150))
    assert 0 < statuses["failed"] < 75
    return statuses["failed"]


async def end_bad_build(operator: Operator, customers: Customers, bad: WorkerProcess, failed: int) -> None:
    """Drill 9: a build begins nothing more, others do again what it has failed, and its worker is ended."""
    listed = await until_silent(operator, set())
    assert len({each["build"] for each in listed}) == 2
    (its,) = [each for each in listed if each["pid"] == bad.pid]
    of_build = ("--build", its["build"], "--status", "failed", "--since", "1h")
    found = (await operator.says("requests", "list", *of_build, "--json")).records[-1]
    assert found["reasons"] == {"the handler raised KeyError": failed}
    place = f"{its['host']}:{its['pid']}"
    drained = await operator.says("workers", "drain", place, "--reason", "a bad build")
    assert f"drained: the worker {place} has nothing in hand" in drained.out
    shown = await operator.says("workers", "show", place)
    assert "paused" in shown.out
    assert "a bad build" in shown.out
    await operator.says("requests", "retry", *of_build, *WHY, "--rate", "1000/s")
    assert {answer.status for answer in await customers.answers(failed)} == {"completed"}
    bad.terminate()
    assert await bad.wait() == 0
    found = (await operator.says("requests", "list", *of_build, "--json")).records[-1]
    assert found["builds"] == {its["build"]: failed}, "also when it has ended"


async def end_lock(operator: Operator, holder: asyncpg.Connection) -> None:
    """Drill 5: somebody else's transaction holds a lock."""
    (told,) = (await operator.says("blockers", "--json", code=1)).records
    assert (told["pid"], told["application"]) == (holder.get_server_pid(), "nightly backup")
    await operator.says("blockers", "--terminate", str(told["pid"]), "--yes", "--reason", "a drill")

    async def is_closed() -> bool:
        return bool(holder.is_closed())

    await eventually(is_closed)


async def test_a_flood_slow_calls_and_maintenance(
    new_worker: NewWorker, customers: Customers, operator: Operator, db: asyncpg.Connection, scene: Scene
) -> None:
    calls = asyncio.Semaphore(0)

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.org_id == "flood":
            await calls.acquire()

    worker = await new_worker(handler=steer(act), handler_concurrency=4, handler_timeout_seconds=120, **QUICK)
    async with prometheus_of([worker.http_port]) as prometheus:
        await prometheus.has_begun()
        flood = await customers.send(4, org_id="flood")
        await grow_old(db)
        await prometheus.finds("worker_oldest_unfinished_seconds > 60")  # before the line grows
        flood += await customers.send(196, org_id="flood")
        others = await customers.send(5)
        await prometheus.tells(("QueueWillNotDrain", "page"))
        await serve_the_others(operator, customers, others, calls)
        await end_flood(operator, customers, len(flood) - 6)
        for _ in range(2):
            calls.release()
        await customers.answers(2)
        await operator.says("limits", "clear", "flood")
        await prometheus.is_quiet()

        paused = await operator.says("pause", "--until", "+1h", "--reason", "moving the database", "--json")
        assert paused.records[0]["scope"] == "all"
        await prometheus.finds('worker_paused{scope="all"} == 1')
        await customers.send(120)
        # For so long that the rules have seen it, and nothing that was finished before.
        await prometheus.finds(
            'count_over_time((sum(worker_waiting_requests{reason="paused"}) == 120)[4s:500ms]) >= 8'
        )
        ready = await operator.says("health", "--ready", "--url", f"http://127.0.0.1:{worker.http_port}")
        assert "moving the database" in ready.out
        # Nobody is woken by a pause. What the flood had held up was slow, and may still be told of.
        await prometheus.tells_no_more_than(("Slow", "page"))
        await operator.says("resume", "--reason", "it has moved")
        assert {answer.status for answer in await customers.answers(120)} == {"completed"}

    export = await operator.says("history", "export", "--org", "flood", "--since", "1h", "--csv")
    ends = [row for row in csv.DictReader(io.StringIO(export.out)) if row["to"] in ("completed", "failed")]
    assert {row["request_id"] for row in ends} == set(flood)
    assert Counter((row["to"], row["code"], bool(row["actor"])) for row in ends) == {
        ("completed", "", False): 6, ("failed", "cancelled", True): 194,
    }  # fmt: skip
    assert await verify(scene.database_url, customers.confirmed, customers.received) == []


async def grow_old(db: asyncpg.Connection) -> None:
    """Make what runs two minutes older, past the guard, which lets nobody do so."""
    await eventually(lambda: db.fetchval("select count(*) >= 4 from requests where status = 'processing'"))
    await db.execute("set session_replication_role = replica")
    await db.execute(
        "update requests set received_at = received_at - interval '2 min' where status = 'processing'"
    )
    await db.execute("reset session_replication_role")


async def serve_the_others(
    operator: Operator, customers: Customers, others: list[str], calls: asyncio.Semaphore
) -> None:
    """Drills 3 and 6: who has filled the line, and what is limited, is found; the others are served again."""
    depths = (await operator.says("queues", "--json")).records
    workers = await until_silent(operator, set())
    orgs = (await operator.says("orgs", "--since", "1h", "--json")).records
    in_queue = next(each["ready"] for each in depths if each["queue"].endswith(".requests"))
    assert workers[0]["in_hand"] >= 4, "the calls hang"
    assert orgs[0]["org"] == "flood"
    assert orgs[0]["waiting"] + in_queue >= 180
    await operator.says("limits", "set", "flood", "--running", "2", "--reason", "a flood")
    await asyncio.sleep(IN_FORCE_SECONDS)
    for _ in range(4):
        calls.release()
    answered = {str(answer.request_id) for answer in await customers.answers(9)}
    assert answered.issuperset(others)


async def end_flood(operator: Operator, customers: Customers, waiting: int) -> None:
    """Drill 3: what the flood has left in line is not wanted any more."""
    await customers.desk.until_there_are(0, f"{customers.desk.prefix}.requests")
    cancel = ("requests", "cancel", "--org", "flood", "--status", "waiting", "--because", "a flood")

    async def all_wait() -> bool:
        looked = await operator.says(*cancel, "--dry-run", "--json")
        return bool(looked.records[0]["requests"] == waiting)

    await eventually(all_wait)
    await operator.says(*cancel, "--yes", "--rate", "1000/s")
    assert {answer.error for answer in await customers.answers(waiting)} == {"cancelled: a flood"}


async def test_a_disk_that_fills_and_a_key_that_has_leaked(
    new_worker: NewWorker,
    customers: Customers,
    operator: Operator,
    db: asyncpg.Connection,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name in ((watching, "_TABLES_SECONDS"), (surveying, "SEALED_SECONDS")):
        monkeypatch.setattr(module, name, 0.5)
    monkeypatch.setattr(attempting, "_UNREADABLE_SECONDS", 1)
    go_on = asyncio.Event()

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if request.org_id == "later" and not go_on.is_set():
            raise RetryLater(after=0.2, reason="not yet")

    quick = {**QUICK, "handler": steer(act)}
    worker = await new_worker(seal_keys=SecretStr(ring_text("k1")), **quick)
    same = {**quick, "http_port": worker.http_port}
    async with prometheus_of([worker.http_port], SMALL_DISK) as prometheus:
        await prometheus.has_begun()
        old = await customers.send(300)
        await prometheus.tells(("DiskIn7Days", "ticket"))
        await customers.answers(300)
        await end_full_disk(operator, db, len(old))
        customers.confirmed.clear()
        customers.received.clear()
        await prometheus.is_quiet()

        secret: dict[str, Any] = {
            "payload": {"name": "it", "phone_number": {**PHONE, "twilio_auth_token": CANARY}}
        }
        await customers.send(3, **secret)
        await customers.answers(3)
        (later,) = await customers.send(1, org_id="later", **secret)
        await customers.desk.send(b"no JSON", reply_to=None)
        await prometheus.finds('worker_sealed_rows{key="k1"} == 5')
        await worker.stop()
        hasty = await new_worker(
            seal_keys=SecretStr(ring_text("k2")), **same
        )  # without the old key: too soon
        await prometheus.tells(("KeyInUseMissing", "ticket"))
        operator.shell.variables["WORKER_SEAL_KEYS"] = ring_text("k2", "k1")
        lacking = await operator.says("keys", "check", "--quick", code=1)
        assert "k1 is missing: 1 unfinished requests need it; not set in" in lacking.out
        await hasty.stop()
        rolled_out = await new_worker(seal_keys=SecretStr(ring_text("k2", "k1")), **same)
        go_on.set()
        (answer,) = await customers.answers(1)
        assert (str(answer.request_id), answer.status) == (later, "completed")
        await end_leaked_key(operator, answer.payload.session_id)
        await prometheus.finds(
            'absent(worker_sealed_rows{key="k1"}) and on () worker_sealed_rows{key="k2"} == 5'
        )
        await rolled_out.stop()
        await new_worker(seal_keys=SecretStr(ring_text("k2")), **same)
        await customers.send(1, **secret)
        assert {answer.status for answer in await customers.answers(1)} == {"completed"}
        await prometheus.is_quiet()
    assert await verify(scene.database_url, customers.confirmed, customers.received) == []


async def end_full_disk(operator: Operator, db: asyncpg.Connection, requests: int) -> None:
    """Drill 8: what takes the room is found, and what is old enough is deleted."""
    await eventually(lambda: db.fetchval("select bool_and(published_at is not null) from listed_requests"))
    await db.execute("set session_replication_role = replica")  # past the guard
    await db.execute(
        "update requests set received_at = received_at - interval '8 days', "
        "finished_at = finished_at - interval '8 days'"
    )
    await db.execute("reset session_replication_role")
    kept = (await operator.says("retention", "status", "--json")).records
    assert "requests" in [table["name"] for table in kept[:5]], "the largest come first"
    assert kept[-1]["requests"] == requests
    run = ("retention", "run", "--older", "7d")
    looked = await operator.says(*run, "--dry-run")
    assert f"{requests} of {requests} requests are finished and older than 7 days" in looked.out
    await operator.says(*run, "--reason", "a drill", "--yes")
    assert await db.fetchval("select count(*) from requests") == 0


async def end_leaked_key(operator: Operator, session_id: str) -> None:
    """Drill 10: what the old key has sealed is sealed with the new one, which is enough then."""
    needed = {
        (row["key"], row["place"]): row["rows"]
        for row in (await operator.says("keys", "report", "--json")).records
    }
    assert needed["k1", "custody"] == 1
    assert needed["k1", "sessions"] == needed["k1", "finished"] == 4
    resealed = await operator.says("keys", "rotate", "--from", "k1", "--reason", "it has leaked")
    assert resealed.out == "9 rows that k1 had sealed are sealed with k2\n"
    operator.shell.variables["WORKER_SEAL_KEYS"] = ring_text("k2")
    checked = await operator.says("keys", "check")
    assert "each key that rows are sealed with is there: k2" in checked.out
    opened = (await operator.says("keys", "open", session_id, "--reason", "a drill")).records[0]
    assert opened["phone_number"]["twilio_auth_token"] == CANARY
