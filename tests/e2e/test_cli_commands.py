"""Each command is run on real servers; its output and exit code are checked."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from support.commands import Outcome, Shell, line_with
from support.handlers import steer
from support.harness import Desk, NewWorker, declare_topology, eventually, good_request
from support.responder import Responder, completed

from schemas import CreateSessionRequest
from worker.handlers import Context, RetryLater
from worker.postgres.sql import load_migrations
from worker.rabbitmq.topology import names_for
from worker.settings import Settings


async def test_a_request_for_people_and_for_programs(shell: Shell, new_worker: NewWorker) -> None:
    await new_worker()

    shown = await shell.run("request", "--name", "Support chat", "--org-id", "org-1", "--key", "order-17")
    told = await shell.run(
        "request", "--name", "Support chat", "--org-id", "org-1", "--key", "order-17", "--json"
    )

    assert (shown.code, told.code) == (0, 0)
    (response,) = told.records
    assert response["status"] == "completed"
    assert response["payload"]["session_id"] in shown.out
    assert (shown.err, told.err) == ("", "")


async def test_a_failed_response_is_exit_code_1(shell: Shell, new_worker: NewWorker) -> None:
    await new_worker()

    shown = await shell.run("request", "--name", "x" * 41)
    told = await shell.run("request", "--casefile-id", "17", "--json")

    assert (shown.code, told.code) == (1, 1)
    assert "must have at most 40 characters" in shown.out
    assert told.records[0]["metadata"]["code"] == "invalid_request"


async def test_no_response_in_time_is_exit_code_4(shell: Shell) -> None:
    assert (await shell.run("topology", "apply")).code == 0

    outcome = await shell.run("request", "--timeout", "0.5", "--json")

    assert outcome.code == 4
    assert outcome.records[0]["status"] == "timed_out"
    assert "safe to ask again" in outcome.err


async def test_a_pipe_that_stays_silent_is_told_of(shell: Shell, new_worker: NewWorker) -> None:
    await new_worker()
    async with shell.start("request", "--json", piped=True) as process:
        await line_with(process.stderr, "reading requests from standard input", "</dev/null")
        assert process.stdin is not None
        process.stdin.close()
        assert json.loads(await line_with(process.stdout, "completed"))["status"] == "completed"
        assert await process.wait() == 0

    async with shell.start("request", "--name", "from a flag", "--json", piped=True) as process:
        await line_with(process.stdout, "completed")
        assert await process.wait() == 0, "nothing is read where a flag says what to ask for"


async def test_requests_from_a_file_a_pipe_and_flags(
    shell: Shell, new_worker: NewWorker, tmp_path: Path, db: asyncpg.Connection
) -> None:
    await new_worker()
    whole = tmp_path / "request.json"
    request_id = str(uuid4())
    whole.write_text(
        json.dumps({"requestId": request_id, "org_id": "org-9", "payload": {"name": "File"}}, indent=2)
    )
    lines = tmp_path / "requests.jsonl"
    lines.write_text('{"name": "a"}\n\n{"name": 5}\nnonsense\n{"payload": {}, "key": "k", "org_id": "o"}\n')

    from_file = await shell.run("request", "--file", str(whole), "--expiration-seconds", "90", "--json")
    from_lines = await shell.run("request", "--file", str(lines), "--json")
    from_pipe = await shell.run("request", "--json", stdin='{\n"name":\n"piped"\n}')
    from_empty_pipe = await shell.run("request", "--json", stdin="")
    many = await shell.run("request", "--count", "50")

    assert [outcome.code for outcome in (from_file, from_lines, from_pipe, from_empty_pipe, many)] == [
        0,
        1,
        0,
        0,
        0,
    ]
    assert from_file.records[0]["request_id"] == request_id
    row = await db.fetchrow(
        "select org_id, name, expiration_seconds from sessions where request_id = $1", request_id
    )
    assert tuple(row) == ("org-9", "File", 90)
    results = {record["line"]: record for record in from_lines.records}
    assert {number: record["status"] for number, record in results.items()} == {
        1: "completed", 2: "failed", 3: "not_sent", 4: "completed",
    }  # fmt: skip
    assert results[3]["error"] == "is not JSON"
    assert await db.fetchval("select name from sessions where name = 'piped'") == "piped"
    assert "50 requests" in many.out
    assert await db.fetchval("select count(*) from sessions") == 55


async def test_submitted_and_taken_from_the_response_queue(shell: Shell, new_worker: NewWorker) -> None:
    await new_worker()
    async with shell.start("responses", "--follow", "--json") as following:
        await line_with(following.stderr, "waiting for responses")
        submitted = await shell.run("request", "--no-wait", "--json")
        arrived = json.loads(await line_with(following.stdout, "session_id"))
        following.terminate()
        assert await following.wait() == 0

    assert submitted.records == [{"request_id": arrived["request_id"], "status": "submitted"}]
    none_left = await shell.run("responses")
    assert (none_left.code, none_left.out) == (0, "")
    assert "no responses in the queue" in none_left.err


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("--no-wait", 1),
        ("--timeout 90", 1),
        ("--no-wait --count 3", 3),
        ("--timeout 90 --count 3", 3),
        ("--timeout 90 --file requests.jsonl", 2),
        ("--no-wait --file requests.jsonl --checkpoint done", 2),
    ],
)
async def test_requests_that_begin_later(
    shell: Shell, responder: Responder, tmp_path: Path, given: str, count: int
) -> None:
    responder.rule = completed
    (tmp_path / "requests.jsonl").write_text('{"name": "a"}\n{"payload": {}, "key": "b"}\n')
    words = [str(tmp_path / word) if word in ("requests.jsonl", "done") else word for word in given.split()]
    begins_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)

    outcome = await shell.run("request", "--not-before", begins_at.isoformat(), *words)

    assert outcome.code == 0, outcome.err

    async def all_taken() -> bool:
        return len(responder.taken) == count

    await eventually(all_taken)
    times = {message.headers["not_before"] for message in responder.taken}
    assert times == {begins_at.timestamp() * 1000}


async def test_reading_some_responses_again_and_again_costs_the_others_nothing(
    shell: Shell, new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    responses = names_for(desk.prefix).responses
    for _ in range(8):
        await desk.send(good_request(), reply_to=None)

    async def all_there() -> bool:
        return await desk.count(responses) == 8

    await eventually(all_there)
    for words in (("--limit", "1"), ("--limit", "1"), ("--limit", "2", "--follow")):
        outcome = await shell.run("responses", "--json", *words)
        assert (outcome.code, len(outcome.records)) == (0, int(words[1]))
    left = [await desk.take_from(responses) for _ in range(4)]
    assert {message.headers.get("x-delivery-count", 0) for message in left} == {0}
    assert await desk.count(responses) == 0


async def test_a_reader_of_responses_who_leaves_is_no_failure(shell: Shell, new_worker: NewWorker) -> None:
    await new_worker()
    async with shell.start("responses", "--copies") as watching:
        await line_with(watching.stderr, "waiting for responses")
        assert watching.stdout is not None
        watching.stdout._transport.close()  # type: ignore[attr-defined] # asyncio closes a pipe in no other way
        await shell.run("request", "--no-wait")
        assert await watching.wait() == 141


async def test_copies_are_watched_without_taking(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()
    async with shell.start("responses", "--copies", "--json") as watching:
        await line_with(watching.stderr, "waiting for responses")
        await shell.run("request", "--no-wait")
        seen = json.loads(await line_with(watching.stdout, "session_id"))

    await desk.until_there_are(1, names_for(desk.prefix).responses)  # which may be slower than the watcher's
    assert (await shell.run("responses", "--json")).records == [seen]


async def test_status_shows_everything_but_secrets(shell: Shell, new_worker: NewWorker) -> None:
    await new_worker()
    payload = {
        "assistant": {
            "model": {"provider": "openai", "model": "gpt-4o"},
            "server": {"url": "https://example.com/", "headers": {"authorization": "Bearer canary"}},
        }
    }
    refused = await shell.run("request", "--json", stdin=json.dumps(payload))
    assert refused.records[0]["metadata"]["code"] == "secrets_refused"
    key = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    sealing = Shell(**{**shell.variables, "WORKER_PREFIX": f"{shell.variables['WORKER_PREFIX']}b"})
    assert (await sealing.run("migrate")).code == 0
    async with sealing.start("run", WORKER_SEAL_KEYS=key) as worker:
        await line_with(worker.stderr, "worker.ready")
        made = await sealing.run("request", "--json", stdin=json.dumps(payload))
    (response,) = made.records
    request_id = response["request_id"]

    shown = await sealing.run("status", request_id)
    watched = await sealing.run("status", request_id, "--watch", "--json")

    assert (shown.code, watched.code) == (0, 0)
    (found,) = watched.records
    assert found["response"] == response
    assert [step["status"] for step in found["history"]] == ["pending", "processing", "completed"]
    assert found["session"]["document"]["assistant"]["server"]["headers"] == {"authorization": "(sealed)"}
    assert "(sealed)" in shown.out
    assert response["payload"]["session_id"] in shown.out
    for text in (shown.out, watched.out, shown.err, watched.err):
        assert "canary" not in text
        assert "sealed:v1" not in text


async def test_status_says_why_each_attempt_failed(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    async def act(_request: CreateSessionRequest, context: Context) -> None:
        if context.attempt == 1:
            raise RetryLater(0.01, "no room is free")
        raise KeyError("canary")

    await new_worker(handler=steer(act), max_attempts=1)
    request = good_request()
    await desk.ask(request)

    shown = await shell.run("status", request["request_id"])
    (found,) = (await shell.run("status", request["request_id"], "--json")).records

    assert [(one["attempt"], one["kind"], one["error_type"], one["reason"]) for one in found["attempts"]] == [
        (1, "retry_later", "RetryLater", "no room is free"),
        (2, "raised", "KeyError", "the handler raised KeyError"),
    ]
    assert all("test_cli_commands.py:" in one["place"] for one in found["attempts"])
    assert all(one["worker"] and one["at"] for one in found["attempts"])
    assert "no room is free" in shown.out
    assert "failed attempts" in shown.out
    assert "canary" not in f"{shown}{found}"


async def test_status_of_what_nobody_knows(shell: Shell) -> None:
    once = await shell.run("status", str(uuid4()))
    watched = await shell.run("status", str(uuid4()), "--watch", "--timeout", "0.2")

    assert (once.code, watched.code) == (1, 4)
    assert "on record" in once.err
    assert "still not on record after 0.2 s" in watched.err


async def test_topology_is_compared_and_declared(shell: Shell) -> None:
    missing = await shell.run("topology", "verify", "--json")
    applied = await shell.run("topology", "apply", "--json")
    same = await shell.run("topology", "verify")
    differs = await shell.run("topology", "verify", WORKER_QUEUE_LIMITS="policy")

    assert [outcome.code for outcome in (missing, applied, same, differs)] == [1, 0, 0, 1]
    assert len(missing.records[0]["problems"]) == 9
    assert applied.records[0]["ok"] is True
    assert "WORKER_QUEUE_LIMITS" in differs.out


async def test_shards_are_compared_declared_and_looked_into(shell: Shell, settings: Settings) -> None:
    requests = names_for(settings.prefix).requests
    shards = {"WORKER_SHARDS": "2"}
    missing = await shell.run("topology", "verify", "--json", **shards)
    applied = await shell.run("topology", "apply", **shards)
    same = await shell.run("topology", "verify", "--json", **shards)
    queues = await shell.run("queues", "--json", **shards)

    assert (missing.code, applied.code, same.code, queues.code) == (1, 0, 0, 0)
    assert any(f"the queue '{requests}.2' is missing" in each for each in missing.records[0]["problems"])
    assert f"{settings.prefix}.shards" in applied.out
    assert same.records[0]["problems"] == []
    assert f"{requests}.2" in {each["queue"] for each in queues.records}


async def test_a_queue_with_an_older_limit_is_a_note_and_no_difference(
    shell: Shell, settings: Settings
) -> None:
    await declare_topology(settings, delivery_limit=20)

    people = await shell.run("topology", "verify")
    programs = await shell.run("topology", "verify", "--json")
    applied = await shell.run("topology", "apply")

    assert [outcome.code for outcome in (people, programs, applied)] == [0, 0, 0]
    assert people.out.count("note: the queue ") == applied.out.count("note: the queue ") == 4
    assert (programs.records[0]["ok"], len(programs.records[0]["notes"])) == (True, 4)


async def test_migrations_are_compared_and_applied(shell: Shell, empty_url: str) -> None:
    check = await shell.run("migrate", "--check", DATABASE_URL=empty_url)
    applied = await shell.run("migrate", "--json", DATABASE_URL=empty_url)
    again = await shell.run("migrate", "--check", DATABASE_URL=empty_url)
    sql = await Shell().run("migrate", "--sql")

    assert [outcome.code for outcome in (check, applied, again, sql)] == [1, 0, 0, 0]
    assert "pending 0001" in check.out
    assert applied.records[0]["applied"].startswith("0001")
    assert "create table requests" in sql.out
    status = await shell.run("status", str(uuid4()), DATABASE_URL=empty_url)
    assert status.code == 1


async def test_a_version_is_told_whether_it_can_work_with_newer_tables(shell: Shell, empty_url: str) -> None:
    await shell.run("migrate", DATABASE_URL=empty_url)
    last = load_migrations()[-1]
    db = await asyncpg.connect(empty_url)

    async def looked(number: int, name: str) -> Outcome:
        await db.execute("insert into schema_migrations values ($1, $2, 'x')", number, name)
        return await shell.run("migrate", "--check", DATABASE_URL=empty_url)

    fine = await looked(8000, "of_tomorrow")
    met = await looked(8001, f"drops_a_column_needs_{last.number:04d}")
    not_met = await looked(9000, "drops_more_needs_8000")
    worker = await shell.run("run", DATABASE_URL=empty_url)
    again = await shell.run("migrate", DATABASE_URL=empty_url)
    await db.close()

    assert (fine.code, fine.err) == (
        0,
        "up to date; newer than this version, and no obstacle: 8000_of_tomorrow\n",
    )
    assert met.code == 0
    assert [outcome.code for outcome in (not_met, worker, again)] == [1, 1, 1]
    for outcome in (not_met, worker, again):
        assert (
            "this version must not start: the database has migration 9000_drops_more_needs_8000, after which "
            "only versions that know migration 8000 can work, and this one knows none after "
            f"{last.written}. Take a newer version"
        ) in outcome.err


@pytest.mark.parametrize("name", ["request", "response", "session", "cancel"])
async def test_schemas_need_no_server(name: str) -> None:
    one, every = await Shell().run("schema", name), await Shell().run("schema", "--json")

    assert json.loads(one.out) == every.records[0][name]
