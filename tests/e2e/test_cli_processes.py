"""The commands that run until they are stopped: run, up, demo."""

import asyncio
import json
import os
import re
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

import asyncpg
import psutil
import pytest
import pytest_asyncio
from support.commands import PATIENCE_SECONDS, Shell, line_with
from support.harness import Desk, declare_topology, eventually, good_request
from support.prepared import start_worker

from worker.rabbitmq.topology import names_for
from worker.settings import Settings


@pytest_asyncio.fixture(autouse=True)
async def _json_lines(shell: Shell) -> None:
    """Have workers log JSON, which these tests read."""
    shell.variables["WORKER_LOG_FORMAT"] = "json"


@asynccontextmanager
async def supervised(shell: Shell, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    async with shell.start("run", "--processes", str(count)) as parent:
        for _ in range(count):
            await line_with(parent.stderr, "worker.ready")
        yield parent


def children_of(parent: asyncio.subprocess.Process) -> list[psutil.Process]:
    return psutil.Process(parent.pid).children()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_stops_in_order(shell: Shell, number: signal.Signals) -> None:
    async with shell.start("run") as worker:
        await line_with(worker.stderr, "worker.ready")
        assert (await shell.run("request")).code == 0
        worker.send_signal(number)
        await line_with(worker.stderr, "worker.stopped")
        assert await worker.wait() == 0


@pytest.mark.parametrize("words", [("run",), ("run", "--processes", "2"), ("up",)], ids=" ".join)
async def test_in_the_background_it_ends_by_sigterm_alone(
    shell: Shell, words: tuple[str, ...], empty_url: str
) -> None:
    """A shell starts background commands with Ctrl-C ignored, since Ctrl-C is for the one in front."""
    if words == ("up",):  # it takes tables of its own making alone
        shell.variables["DATABASE_URL"] = empty_url
    async with shell.start(*words, ignoring="INT HUP") as worker:
        await line_with(worker.stderr, "worker.ready")
        worker.send_signal(signal.SIGINT)
        assert (await shell.run("request")).code == 0, "it goes on"
        worker.terminate()
        stopping = json.loads(await line_with(worker.stderr, "stopping", "signal"))
        assert stopping["signal"] == "SIGTERM", "the first one that it heeds"
        assert await worker.wait() == 0


async def test_one_that_dies_is_started_again_and_all_stop_together(shell: Shell) -> None:
    async with supervised(shell, 2) as parent:
        doomed, other = children_of(parent)
        os.kill(doomed.pid, signal.SIGKILL)

        died = json.loads(await line_with(parent.stderr, "worker.died"))
        await line_with(parent.stderr, "worker.ready")

        children = children_of(parent)
        now = {child.pid for child in children}
        assert died["code"] == -signal.SIGKILL
        assert other.pid in now
        assert len(now) == 2
        assert doomed.pid not in now
        assert (await shell.run("request", "--count", "20")).code == 0

        parent.terminate()
        stopped = json.loads(await line_with(parent.stderr, "supervisor.stopped"))

        assert (await parent.wait(), stopped["codes"]) == (0, [0, 0])
        assert not any(child.is_running() for child in children)


async def test_workers_do_not_outlive_their_parent(shell: Shell) -> None:
    async with supervised(shell, 2) as parent:
        children = children_of(parent)
        parent.kill()

        async def all_gone() -> bool:
            return not any(child.is_running() for child in children)

        await eventually(all_gone)


async def test_what_no_restart_mends_ends_them_all(shell: Shell, empty_url: str) -> None:
    outcome = await shell.run("run", "--processes", "2", DATABASE_URL=empty_url)

    assert outcome.code == 1
    assert "run `session-worker migrate` first" in outcome.err


async def test_up_says_how_to_use_it(shell: Shell, empty_url: str) -> None:
    """It runs on the tests' servers; tests of the stack and of `make demo` see it start its own."""
    given = {"AMQP_URL": shell.variables["AMQP_URL"], "DATABASE_URL": empty_url}
    async with shell.start("up", DATABASE_URL=empty_url) as up:
        await line_with(up.stderr, "In another terminal, with AMQP_URL and DATABASE_URL as here:")
        exports = dict(map(_assignment, await _lines_until(up.stderr, "request --name")))
        assert exports == {"WORKER_PREFIX": shell.variables["WORKER_PREFIX"]}
        assert (await Shell(**given, **exports).run("request")).code == 0
        up.send_signal(signal.SIGINT)
        await line_with(up.stderr, "stopping the servers")
        assert await up.wait() == 0


async def test_the_demonstration_keeps_its_promises(shell: Shell, empty_url: str) -> None:
    outcome = await shell.run("demo", "--json", "--burst", "100", DATABASE_URL=empty_url)

    assert outcome.code == 0, outcome.err + outcome.out
    *scenes, summary, history = outcome.records
    assert len(scenes) >= 20
    assert all(scene["ok"] for scene in scenes)
    assert (summary["burst"], summary["burst_sessions"], summary["ok"]) == (100, 100, True)
    assert history["session"]["document"]["assistant"]["server"]["headers"] == {"authorization": "(sealed)"}


async def test_the_demonstration_shows_tables_also_in_the_background(shell: Shell, empty_url: str) -> None:
    async with shell.start("demo", "--burst", "50", ignoring="INT HUP", DATABASE_URL=empty_url) as demo:
        await line_with(demo.stderr, "worker ready")
        demo.send_signal(signal.SIGINT)
        out, err = await demo.communicate()
    assert demo.returncode == 0, err.decode()
    assert "everything came back as promised" in out.decode()
    assert "a burst of 50" in out.decode()
    assert "✗" not in out.decode()


async def _unfinished(database_url: str, count: int) -> list[asyncpg.Record]:
    """Makes so many requests that the next worker would take over; returns all rows."""
    db = await asyncpg.connect(database_url)
    try:
        await db.execute(
            "insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at,"
            " lease) select gen_random_uuid(), 'processing', 1, 'x', '{}', 'ts_' || n, now(), 1"
            " from generate_series(1, $1) n",
            count,
        )
        await db.execute("insert into leases (id, lease_until) select 1, now() where $1 > 0", count)
        rows: list[asyncpg.Record] = await db.fetch("select * from requests order by request_id")
    finally:
        await db.close()
    return rows


async def test_the_demonstration_leaves_a_database_as_it_was(shell: Shell, database_url: str) -> None:
    before = await _unfinished(database_url, 200)

    outcome = await shell.run("demo", "--burst", "50")

    assert outcome.code == 0, outcome.err
    assert await _unfinished(database_url, 0) == before
    db = await asyncpg.connect(database_url)
    assert await db.fetchval("select count(*) from pg_namespace where nspname like 'demo-%'") == 0
    assert await db.fetchval("select count(*) from installation") == 0, "they are still nobody's"
    assert await db.fetchval("select count(*) from request_transitions") == 400
    await db.close()


async def test_up_refuses_a_queue_that_is_in_use(
    shell: Shell, settings: Settings, empty_url: str, desk: Desk
) -> None:
    await declare_topology(settings)
    queue = names_for(settings.prefix).requests
    await desk.send(good_request())
    await desk.until_there_are(1, queue)

    outcome = await shell.run("up", DATABASE_URL=empty_url)

    assert outcome.code == 1
    assert "would answer requests that are meant for another" in outcome.err
    await desk.until_there_are(1, queue)


async def test_up_refuses_tables_that_it_has_not_made(shell: Shell, database_url: str) -> None:
    before = await _unfinished(database_url, 200)

    outcome = await shell.run("up")

    assert outcome.code == 1
    assert "were not made by `session-worker up`" in outcome.err
    assert "set WORKER_PREFIX to another name" in outcome.err
    assert await _unfinished(database_url, 0) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demonstration_leaves_no_worker(
    shell: Shell, empty_url: str, number: signal.Signals
) -> None:
    async with shell.start("demo", "--burst", "100000", DATABASE_URL=empty_url) as demo:
        ready = await line_with(demo.stderr, "worker ready")
        worker = psutil.Process(int(re.findall(r"process (\d+)", ready)[0]))
        assert demo.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await demo.stdout.readline()  # the table of the first requests: the burst has begun
        demo.send_signal(number)
        assert await demo.wait() == 130
        assert not worker.is_running()


async def _lines_until(stream: asyncio.StreamReader | None, end: str) -> list[str]:
    """Returns the lines with an export, up to a line that ends like this."""
    lines: list[str] = []
    while end not in (line := await line_with(stream, "")):
        lines += [line] if "export" in line else []
    return lines


def _assignment(line: str) -> tuple[str, str]:
    name, _, value = shlex.split(line)[1].partition("=")
    return name, value


@pytest.mark.parametrize("words", [("run",), ("run", "--processes", "2"), ("up",)])
async def test_a_reader_of_the_log_who_is_gone_takes_nothing_with_him(
    shell: Shell, words: tuple[str, ...], empty_url: str
) -> None:
    if words == ("up",):  # it takes tables of its own making alone
        shell.variables["DATABASE_URL"] = empty_url
    reading, writing = os.pipe()
    worker = await start_worker(
        words, shell.environ(), stdin=asyncio.subprocess.DEVNULL, stdout=writing, stderr=writing, limit=0
    )
    os.close(writing)
    try:
        with open(reading, "rb") as log:  # noqa: ASYNC230, PTH123 — a pipe
            for _ in range(2 if "--processes" in words else 1):
                await asyncio.to_thread(_read_until, log, b"worker.ready")
        assert (await shell.run("request")).code == 0, "it works without"
        worker.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


def _read_until(log: BinaryIO, wanted: bytes) -> None:
    for line in log:
        if wanted in line:
            return
    raise AssertionError(f"it ended without {wanted!r}")
