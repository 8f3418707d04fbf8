"""`pause`, `resume` and `limits`: what an operator decides counts on all workers within a second."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from support.commands import Shell, line_with
from support.harness import Desk, NewWorker, eventually, good_request, metric_becomes, response_in

from worker.services import ruling

SILENT = """
insert into workers (id, host, pid, version, heartbeat)
values (gen_random_uuid(), 'silent', 1, '1', now() - interval '1 h')
"""


def of_org(org: str) -> dict[str, Any]:
    return good_request() | {"org_id": org}


async def until_waiting(db: asyncpg.Connection, number: int) -> None:
    """Waits until so many requests wait in Postgres."""

    async def look() -> bool:
        found: int = await db.fetchval("select count(*) from requests where waits_in is not null")
        return found == number

    await eventually(look)


@dataclass(frozen=True)
class Started:
    """A worker that is a process, and where it shows its metrics."""

    process: asyncio.subprocess.Process
    http_port: int


@pytest_asyncio.fixture
async def two_workers(shell: Shell) -> AsyncIterator[list[Started]]:
    shell.variables["WORKER_LOG_FORMAT"] = "json"
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(shell.start("run")) for _ in range(2)]
        found = []
        for process in processes:
            told = json.loads(await line_with(process.stderr, "worker.starting"))
            found.append(Started(process, told["http_port"]))
            await line_with(process.stderr, "worker.ready")
        yield found


async def test_a_pause_counts_on_each_worker_and_on_one_that_comes(
    shell: Shell, two_workers: list[Started], desk: Desk, db: asyncpg.Connection
) -> None:
    await db.execute(SILENT)
    paused = await shell.run("pause", "--org", "größe 🙂", "--reason", "too many errors", "--by", "ops")
    for worker in two_workers:
        await metric_becomes(1, worker, "worker_paused", scope="org")
    for _ in range(20):
        await desk.send(of_org("größe 🙂"))
    await until_waiting(db, 20)
    async with shell.start("run") as later:
        await line_with(later.stderr, "worker.ready")
        for worker in two_workers:
            worker.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(worker.process.communicate() for worker in two_workers))
        await desk.send(of_org("größe 🙂"))
        assert (await desk.ask(of_org("other"))).status == "completed"
        await until_waiting(db, 21)
        again = await shell.run("pause", "--org", "größe 🙂", "--reason", "still", "--until", "+1d")
        resumed = await shell.run("resume", "--org", "größe 🙂", "--json")
        answers = [response_in(await desk.next()) for _ in range(21)]

    assert {answer.status for answer in answers} == {"completed"}
    assert ruling.LOOK_SECONDS < 0.5, "within a second, as is promised, also when a look comes late"
    assert await db.fetchval("select count(*) from request_transitions where status = 'processing'") == 22
    for outcome in (paused, again, resumed):
        assert (outcome.code, outcome.err) == (0, "")
    assert "paused: the requests of größe 🙂, by ops since" in paused.out
    assert "in force within a second on 2 live workers; no request of größe 🙂 waits now" in paused.out
    assert "none of the newest 50,000 requests is of größe 🙂: the pause holds when one comes" in paused.out
    assert "in the place of the pause by ops since" in again.out
    assert "in force within a second on 1 live worker; 21 requests of größe 🙂 wait now" in again.out
    assert "none of the newest" not in again.out
    (told,) = resumed.records
    assert (told["resumed"], told["before"]["reason"], told["waiting"], told["workers"]) == (
        True, "still", 21, 1,
    )  # fmt: skip


async def test_a_worker_is_paused_by_its_place_and_stops_in_order(
    shell: Shell, two_workers: list[Started], desk: Desk, db: asyncpg.Connection
) -> None:
    first, second = (worker.process for worker in two_workers)
    row = await db.fetchrow("select id, host || ':' || pid as place from workers where pid = $1", first.pid)
    await db.execute(SILENT)
    unknown = await shell.run("pause", "--worker", "silent:1", "--reason", "r")
    paused = await shell.run("pause", "--worker", row["place"], "--reason", "a look at its memory")
    await line_with(first.stderr, "worker.paused", "a look at its memory")
    for _ in range(5):
        assert (await desk.ask(good_request())).status == "completed"
    listed = await shell.run("pause", "--list", "--json")
    other = await shell.run("pause", "--worker", str(await db.fetchval(
        "select id from workers where pid = $1", second.pid
    )), "--reason", "as well")  # fmt: skip
    await line_with(second.stderr, "worker.paused", "as well")
    resumed = await shell.run("resume", "--worker", row["place"])
    await line_with(first.stderr, "worker.resumed")
    assert (await desk.ask(good_request())).status == "completed"
    second.send_signal(signal.SIGTERM)
    await line_with(second.stderr, "worker.stopped")
    assert await second.wait() == 0

    assert (unknown.code, unknown.out) == (1, "")
    assert "no live worker is silent:1. Those that live:" in unknown.err
    assert f"{row['id']}  {row['place']}" in unknown.err
    assert "1 other live worker can take what comes" in paused.out
    assert [(one["scope"], one["name"], one["place"]) for one in listed.records] == [
        ("worker", str(row["id"]), row["place"])
    ]
    assert "no other live worker can take what comes: it stays in the queue" in other.out
    assert f"resumed: the worker {row['place']}, paused by" in resumed.out
    assert f"still paused: the worker {second_place(row['place'], second.pid)}, by" in resumed.out
    done = await db.fetch("select worker, count(*) from requests group by 1 order by 2")
    assert [(one["worker"] == row["id"], one["count"]) for one in done] == [(True, 1), (False, 5)]
    gone = await shell.run("resume", "--worker", second_place(row["place"], second.pid))
    assert (gone.code, gone.err) == (1, gone.err)
    by_id = await shell.run("resume", "--worker", (await db.fetchval("select name from pauses")))
    assert by_id.code == 0, "its pause is there, though it has gone"
    assert await db.fetchval("select count(*) from pauses") == 0


def second_place(place: str, pid: int) -> str:
    return f"{place.rpartition(':')[0]}:{pid}"


async def test_all_is_paused_and_ends_by_itself(
    shell: Shell, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker()
    later = datetime.now(UTC) + timedelta(hours=1)
    paused = await shell.run("pause", "--reason", "moving", "--until", later.isoformat(), "--json")
    await metric_becomes(1, worker, "worker_paused", scope="all")
    await desk.send(good_request())
    await until_waiting(db, 1)
    ready = await Shell().run("health", "--ready", "--url", f"http://127.0.0.1:{worker.http_port}")
    soon = await db.fetchval("update pauses set ends_at = now() + interval '1 s' returning ends_at")
    answer = response_in(await desk.next())

    assert answer.status == "completed"
    assert datetime.now(UTC) >= soon
    assert (ready.code, ready.err) == (0, "")
    assert "is paused (all: by " in ready.out
    assert ": moving)" in ready.out
    (told,) = paused.records
    assert (told["scope"], told["waiting"], told["workers"]) == ("all", 0, 1)
    assert datetime.fromisoformat(told["until"]) == later


async def test_options_may_stand_before_the_organisation(shell: Shell) -> None:
    assert "a burst is of a rate" in (await shell.run("limits", "set", "--burst", "2", "org-7")).err


async def test_what_is_not_paused_is_no_failure(shell: Shell) -> None:
    for words in ([], ["--org", "nobody"], ["--worker", "0b9fd3a3-6f0e-4a5b-9d70-6d1c0d2c7a11"]):
        shown, told = await shell.run("resume", *words), await shell.run("resume", *words, "--json")
        assert (shown.code, told.code, shown.err, told.err) == (0, 0, "", "")
        assert "not paused" in shown.out
        assert told.records[0]["resumed"] is False
    nothing = await shell.run("pause", "--list")
    assert (nothing.code, nothing.out) == (0, "nothing is paused\n")


@pytest.mark.parametrize(
    ("until", "says"),
    [
        ("2020-01-01T00:00:00Z", "--until is 2020-01-01 00:00:00.000Z, which is past: nothing was paused"),
        ("1767225600", "--until is 1970-01-21"),
        ("+0m", "--until is now, which is past"),
        ("soon", "is neither ISO 8601 nor milliseconds since 1970, nor a time from now as +30m, +2h or +1d"),
    ],
)
async def test_an_end_that_is_none_pauses_nothing(
    shell: Shell, db: asyncpg.Connection, until: str, says: str
) -> None:
    outcome = await shell.run("pause", "--reason", "r", "--until", until)

    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert await db.fetchval("select count(*) from pauses") == 0


async def test_limits_are_set_listed_and_cleared(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    await new_worker(limits="each: running=50; org-7: weight=2")
    first = await shell.run("limits", "set", "org-7", "--rate", "20/s", "--burst", "2", "--by", "ops")
    await shell.run("limits", "set", "all", "--weight", "3", "--reason", "its name is all")
    await shell.run("limits", "set", "--all", "--running", "200")
    over = await shell.run("limits", "set", "org-7", "--running", "10", "--json")
    listed, shown = await shell.run("limits", "list", "--json"), await shell.run("limits", "list")
    clock = asyncio.get_running_loop().time

    async def rate_holds() -> bool:
        begun = clock()
        for _ in range(12):
            await desk.send(of_org("org-7"))
        assert {response_in(await desk.next()).status for _ in range(12)} == {"completed"}
        return clock() - begun >= 10 / 20

    await eventually(rate_holds)
    cleared = await shell.run("limits", "clear", "org-7")
    again = await shell.run("limits", "clear", "org-7")
    nothing = await shell.run("limits", "clear", "nobody", "--json")
    each = await shell.run("limits", "clear", "--each")

    assert first.out == (
        "set for org org-7: rate=20/s burst=2 weight=2\nin force within a second on 1 live worker\n"
    )
    (told,) = over.records
    assert (told["rate"], told["burst"], told["running"], told["weight"]) == (20, 2, 10, 2)
    found = {(one["scope"], one["name"], one["source"]): one for one in listed.records}
    assert set(found) == {
        ("all", "", "command"), ("each", "", "setting"), ("org", "all", "command"),
        ("org", "org-7", "command"), ("org", "org-7", "setting"),
    }  # fmt: skip
    assert not found["org", "org-7", "setting"]["in_force"]
    assert found["org", "all", "command"]["reason"] == "its name is all"
    assert found["org", "org-7", "command"]["running_now"] == 0
    assert all(f"\n {whose} " in shown.out for whose in ("all", "each", "org all", "org org-7"))
    assert "that of WORKER_LIMITS counts again: weight=2" in cleared.out
    assert (again.code, again.out, each.code) == (1, "", 1)
    assert "it is that of WORKER_LIMITS (weight=2), which is to be changed there" in again.err
    assert (nothing.code, nothing.records[0]["cleared"]) == (0, False)


async def test_an_organisation_s_id_may_be_long_and_strange(shell: Shell, db: asyncpg.Connection) -> None:
    long, strange, flag = "x" * 255, "ünïcode 組織; a: b", "--all"
    for name in (long, strange, flag):
        assert (await shell.run("limits", "set", "--weight", "2", "--", name)).code == 0
        assert (await shell.run("pause", f"--org={name}", "--reason", "r")).code == 0
    assert (await shell.run("limits", "clear", "--", flag)).code == 0
    assert (await shell.run("resume", f"--org={strange}")).code == 0

    for table, left in (("limits", {long, strange}), ("pauses", {long, flag})):
        rows = await db.fetch(f"select name from {table} where scope = 'org'")  # noqa: S608 — one of two
        assert {row["name"] for row in rows} == left


async def test_status_says_what_a_request_waits_for(
    shell: Shell, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    await shell.run("pause", "--org", "held", "--reason", "too [many]", "--by", "ops", "--until", "+1h")
    await shell.run("limits", "set", "slow", "--rate", "0.01/s")
    await new_worker()
    held, first, slow, later = of_org("held"), of_org("slow"), of_org("slow"), of_org("other")
    assert (await desk.ask(first)).status == "completed"
    await desk.send(held)
    await desk.send(slow)
    at_nine = datetime.now(UTC) + timedelta(days=1)
    await desk.send(later, headers={"not_before": at_nine.isoformat()})
    await until_waiting(db, 3)

    async def asleep() -> bool:
        return bool(await db.fetchval("select exists (select from lines where asleep_for = 'rate')"))

    await eventually(asleep)
    shown = {one["request_id"]: await shell.run("status", one["request_id"]) for one in (held, slow, later)}
    told = (await shell.run("status", held["request_id"], "--json")).records[0]["request"]

    assert "paused (too [many], by ops, until 20" in shown[held["request_id"]].out
    assert "rate, may begin at 20" in shown[slow["request_id"]].out
    assert f"not before {at_nine:%Y-%m-%d %H:%M:%S}Z" in shown[later["request_id"]].out
    assert (told["status"], told["waits_for"], told["pause_reason"], told["paused_by"]) == (
        "pending", "paused", "too [many]", "ops",
    )  # fmt: skip
