"""Long lists of requests take constant space, and reach their end however often they are cut off."""

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psutil
import pytest
from support.commands import PATIENCE_SECONDS, Shell, line_with
from support.harness import NewWorker, declare_topology, eventually

from worker.settings import Settings

MEGABYTE = 1 << 20
MANY = 20_000


def write_lines(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"name": "line {number}"}}\n' for number in range(1, count + 1)))
    return path


def _lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def journal_of(path: Path) -> list[dict[str, Any]]:
    """Returns what a checkpoint says of the lines. Its last line may be torn."""
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()[1:]]


async def peak_beyond(process: asyncio.subprocess.Process, base: int) -> int:
    """Returns by how much a process grows beyond `base`, measured until it ends."""
    peak = 0
    watched = psutil.Process(process.pid)
    while process.returncode is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        await asyncio.sleep(0.05)
    return peak - base


async def grown(shell: Shell, lines: int, noted: Path, *words: str) -> int:
    """Returns by how much a run over so many lines grows once it is under way."""
    async with shell.start("request", *words) as process:
        draining = asyncio.create_task(process.communicate())

        async def under_way() -> bool:
            assert process.returncode is None, "it ended before it could be measured"
            return _lines_in(noted) > lines // 10

        await eventually(under_way, PATIENCE_SECONDS)
        growth = await peak_beyond(process, psutil.Process(process.pid).memory_info().rss)
        await draining
        assert process.returncode == 0
        return growth


@pytest.mark.timeout(400)
async def test_many_lines_take_no_more_space_than_few(
    shell: Shell, settings: Settings, tmp_path: Path
) -> None:
    await declare_topology(settings)
    lines, noted = write_lines(tmp_path / "requests.jsonl", MANY), tmp_path / "done"

    growth = await grown(shell, MANY, noted, "--file", str(lines), "--no-wait", "--checkpoint", str(noted))

    assert growth < 5 * MEGABYTE  # as much for each line as 12 MB for 50,000
    assert Counter(record["outcome"] for record in journal_of(noted)) == {"submitted": MANY}


@pytest.mark.timeout(400)
async def test_many_that_are_waited_for_take_no_more_space_either(
    shell: Shell, new_worker: NewWorker, tmp_path: Path, db: asyncpg.Connection
) -> None:
    await new_worker()
    lines, results = write_lines(tmp_path / "requests.jsonl", 5_000), tmp_path / "responses.jsonl"

    growth = await grown(shell, 5_000, results, "--file", str(lines), "--results", str(results))

    assert growth < 12 * MEGABYTE
    assert await db.fetchval("select count(*) from sessions") == 5_000
    assert len(results.read_text().splitlines()) == 5_000


@pytest.mark.timeout(400)
@pytest.mark.parametrize("piped", [False, True])
async def test_killed_again_and_again_each_line_is_answered_once(
    shell: Shell, new_worker: NewWorker, tmp_path: Path, db: asyncpg.Connection, *, piped: bool
) -> None:
    await new_worker()
    count = 3_000
    lines = write_lines(tmp_path / "requests.jsonl", count)
    noted, results = tmp_path / "done", tmp_path / "responses.jsonl"
    words = ["request", "--checkpoint", str(noted), "--results", str(results), "--at-once", "100"]
    kills = 0

    def done() -> int:
        return len(journal_of(noted))

    for target in (200, 1_000, 2_000):
        with closing(lines.open("rb")) as source:
            process = await _start(shell, words, source if piped else None, lines)

            async def so_far(target: int = target) -> bool:
                return done() > target

            await eventually(so_far, PATIENCE_SECONDS)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            kills += process.returncode == -signal.SIGKILL
        with noted.open("ab") as torn:
            torn.write(b'{"line": 29')
    assert kills == 3
    assert done() < count
    with closing(lines.open("rb")) as source:
        process = await _start(shell, words, source if piped else None, lines)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0

    journal = journal_of(noted)
    assert Counter(record["line"] for record in journal) == Counter(range(1, count + 1))
    assert {record["outcome"] for record in journal} == {"completed"}
    responses = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(record["line"], record["request_id"]) for record in responses] == [
        (record["line"], record["request_id"]) for record in journal
    ]
    assert await db.fetchval("select count(*) from sessions") == count
    assert await db.fetchval("select count(*) from requests") == count
    names = await db.fetch("select request_id::text, name from sessions")
    by_id = {record["request_id"]: record["line"] for record in journal}
    assert {row["request_id"]: row["name"] for row in names} == {
        request_id: f"line {line}" for request_id, line in by_id.items()
    }


async def _start(shell: Shell, words: list[str], source: Any, lines: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", *words, *(() if source else ("--file", str(lines))),
        env=shell.environ(), stdin=source or asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def test_a_summary_by_code_and_an_exit_code_over_all_runs(
    shell: Shell, new_worker: NewWorker, tmp_path: Path, db: asyncpg.Connection
) -> None:
    await new_worker()
    lines, noted = tmp_path / "requests.jsonl", tmp_path / "done"
    own = uuid4()
    lines.write_text(
        f'{{"name": "a"}}\n\n{{"name": 5}}\nnonsense\n{{"payload": {{}}, "request_id": "{own}"}}\n'
        '{"payload": {}, "key": "k", "org_id": "o"}\n'
    )
    words = ("request", "--file", str(lines), "--checkpoint", str(noted), "--json")

    first = await shell.run(*words)
    again = await shell.run(*words)

    assert (first.code, again.code) == (1, 1)
    assert {record["line"]: record["status"] for record in first.records} == {
        1: "completed", 2: "failed", 3: "not_sent", 4: "completed", 5: "completed",
    }  # fmt: skip
    assert {record["line"]: record.get("request_id") for record in first.records}[4] == str(own)
    assert again.records == []
    for outcome in (first, again):
        assert "invalid_request" in outcome.err
        assert "5 requests" in outcome.err
    assert "(5 of them done before)" in again.err
    assert await db.fetchval("select count(*) from requests") == 4


async def test_lines_that_cannot_be_sent_hold_up_no_others(
    shell: Shell, new_worker: NewWorker, tmp_path: Path, db: asyncpg.Connection
) -> None:
    await new_worker()
    lines, noted = tmp_path / "requests.jsonl", tmp_path / "done"
    bad = (b'{"payload": {}, "key": 17}', b'{"name": "Jos\xe9"}', b"[" * 100_000, b'{"name": 1e999}')
    lines.write_bytes(b'{"name": "a"}\n' * 50 + b"\n".join(bad) + b'\n{"name": "b"}\n' * 50)

    outcome = await shell.run("request", "--file", str(lines), "--checkpoint", str(noted))

    assert outcome.code == 1
    problems = ("has a key that is not a string", "is not UTF-8", "is nested too deep", "cannot be sent: ")
    for number, problem in enumerate(problems, 51):
        assert f"line {number}: not sent: it {problem}" in outcome.err
    assert Counter(record["outcome"] for record in journal_of(noted)) == {"completed": 100, "not_sent": 4}
    assert await db.fetchval("select count(*) from sessions") == 100


async def test_the_first_that_failed_are_named_and_the_rest_counted(
    shell: Shell, new_worker: NewWorker, tmp_path: Path
) -> None:
    await new_worker()
    lines, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    good, bad = '{"name": "a"}\n', '{"name": 5}\n'
    lines.write_text(good * 20 + bad * 3 + "nonsense\n" + bad * 6 + good * 20)
    words = ("request", "--file", str(lines), "--at-once", "1")

    kept = await shell.run(*words, "--results", str(results))
    counted = await shell.run("request", "--count", "3", "--name", "x" * 41)
    for_programs = await shell.run(*words, "--json")

    assert (kept.code, counted.code, for_programs.code) == (1, 1, 1)
    assert [line for line in kept.err.splitlines() if line] == [
        "line 21: invalid_request: payload.name must be a string",
        "line 22: invalid_request: payload.name must be a string",
        "line 23: invalid_request: payload.name must be a string",
        "line 24: not sent: it is not JSON",
        "line 25: invalid_request: payload.name must be a string",
        f"and 5 more that failed: --results {results} has all",
    ]
    assert re.findall("^request [0-9]+", counted.err, re.MULTILINE) == ["request 1", "request 2", "request 3"]
    assert "line 21" not in for_programs.err, "its record says so"


async def test_a_reader_who_leaves_ends_it_without_a_complaint(
    shell: Shell, new_worker: NewWorker, tmp_path: Path
) -> None:
    await new_worker()
    lines = write_lines(tmp_path / "requests.jsonl", 2_000)
    async with shell.start("request", "--file", str(lines), "--json") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined] # asyncio closes a pipe in no other way
        assert process.stderr is not None
        said = await process.stderr.read()
        assert await process.wait() == 141
    assert b"unexpected" not in said


async def test_a_full_disk_is_told_by_the_name_of_its_file(
    shell: Shell, settings: Settings, tmp_path: Path
) -> None:
    await declare_topology(settings)
    lines, noted = write_lines(tmp_path / "requests.jsonl", 2_000), tmp_path / "done"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -f 60; exec "$@"', "sh", sys.executable, "-m", "worker", "request"),
        *("--file", str(lines), "--no-wait", "--checkpoint", str(noted)),
        env=shell.environ(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()

    assert process.returncode == 1
    assert f"--checkpoint {noted}: cannot be written: File too large" in said.decode()
    whole = await shell.run("request", "--file", str(lines), "--no-wait", "--checkpoint", str(noted))
    assert whole.code == 0
    assert Counter(record["line"] for record in journal_of(noted)) == Counter(range(1, 2_001))


async def test_results_that_a_lost_machine_took_along_are_asked_for_again(
    shell: Shell, new_worker: NewWorker, tmp_path: Path
) -> None:
    await new_worker()
    lines = write_lines(tmp_path / "requests.jsonl", 300)
    noted, results = tmp_path / "done", tmp_path / "responses.jsonl"
    words = ("request", "--file", str(lines), "--checkpoint", str(noted), "--results", str(results))
    assert (await shell.run(*words)).code == 0

    def answered() -> list[tuple[int, str]]:
        records = map(json.loads, results.read_text().splitlines())
        return [(record["line"], record["request_id"]) for record in records]

    before = answered()
    os.truncate(results, results.stat().st_size // 2)

    again = await shell.run(*words)

    assert again.code == 0
    assert sorted(answered()) == sorted(before)
    assert (await shell.run(*words[:5])).code == 2, "the results would go nowhere"


async def test_what_was_submitted_is_asked_for_by_a_run_that_waits(
    shell: Shell, new_worker: NewWorker, settings: Settings, tmp_path: Path, db: asyncpg.Connection
) -> None:
    await declare_topology(settings)
    lines, noted = write_lines(tmp_path / "requests.jsonl", 20), tmp_path / "done"
    words = ("request", "--file", str(lines), "--checkpoint", str(noted))

    submitted = await shell.run(*words, "--no-wait")
    late = await shell.run(*words, "--timeout", "0.5")
    await new_worker()
    waited = await shell.run(*words)

    assert (submitted.code, late.code, waited.code) == (0, 4, 0)
    ids: dict[int, set[str]] = {}
    for record in journal_of(noted):
        ids.setdefault(record["line"], set()).add(record["request_id"])
    assert all(len(same) == 1 for same in ids.values())
    assert [record["outcome"] for record in journal_of(noted)] == (
        ["submitted"] * 20 + ["timed_out"] * 20 + ["completed"] * 20
    )
    assert await db.fetchval("select count(*) from sessions") == 20


async def test_what_is_not_of_this_list_is_refused(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    await declare_topology(settings)
    lines, noted = write_lines(tmp_path / "requests.jsonl", 3), tmp_path / "done"
    other = tmp_path / "other.jsonl"
    other.write_text('{"name": "line 1"}\n{"name": "another"}\n')
    words = ("request", "--no-wait", "--checkpoint", str(noted))
    assert (await shell.run(*words, "--file", str(lines))).code == 0
    before = noted.read_bytes()

    refused = {
        "is of another input": await shell.run(*words, "--file", str(other)),
        "another input:": await shell.run(*words, stdin='{"name": "x"}\n'),
        "other options": await shell.run(*words, "--file", str(lines), "--org-id", "org-2"),
        "same --results": await shell.run(*words, "--file", str(lines), "--results", str(tmp_path / "r")),
        "needs a list": await shell.run(*words, "--name", "a"),
        "does not go with --key": await shell.run(*words, "--file", str(lines), "--key", "k"),
        "no request in the input": await shell.run(*words, stdin="\n"),
        "is no checkpoint": await shell.run(
            "request", "--file", str(lines), "--checkpoint", str(lines)
        ),
    }  # fmt: skip

    for problem, outcome in refused.items():
        assert (outcome.code, problem in outcome.err) == (2, True), outcome.err
        assert "to go on from here" not in outcome.err, "the same words would come to the same"
        assert outcome.out == ""
    assert "is of another input, or its file has changed since" in refused["is of another input"].err
    assert noted.read_bytes() == before
    assert lines.read_text().startswith('{"name": "line 1"}\n')
    assert (await shell.run(*words, stdin=lines.read_text())).code == 0, "the same list, from a pipe"


async def test_one_run_at_a_time(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    await declare_topology(settings)
    lines, noted = write_lines(tmp_path / "requests.jsonl", 3), tmp_path / "done"
    words = ("request", "--file", str(lines), "--checkpoint", str(noted))
    async with shell.start(*words) as first:
        await eventually(lambda: _exists(noted))
        second = await shell.run(*words)
        first.send_signal(signal.SIGINT)
        assert first.stderr is not None
        await line_with(first.stderr, "same --checkpoint")
        assert await first.wait() == 130

    assert second.code == 2
    assert "in use by another run" in second.err


async def _exists(path: Path) -> bool:
    return path.exists() and os.path.getsize(path) > 0  # noqa: ASYNC240, PTH202 — of a test's own folder


def test_ids_follow_from_the_checkpoint(tmp_path: Path) -> None:
    from worker.cli.bulk.checkpoint import Checkpoint  # noqa: PLC0415 — the only test that looks inside

    def ids() -> Iterator[UUID]:
        with Checkpoint(tmp_path / "done", results=None, options={}, wait=True) as journal:
            journal.begin("{}", None)
            yield from (journal.id_for(number) for number in (1, 2, 1))

    first, second = list(ids()), list(ids())

    assert first == second
    assert first[0] == first[2] != first[1]
