"""`session-worker verify` checks what the other commands print."""

import json
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from support.commands import Outcome, Shell
from support.harness import Desk, NewWorker, eventually

from worker.rabbitmq.topology import names_for
from worker.settings import Settings


async def send(shell: Shell, desk: Desk, db: asyncpg.Connection, count: int, *words: str) -> Outcome:
    """Sends so many more requests; returns once their responses are in the queue, and that is noted."""
    expected = await db.fetchval("select count(*) from requests") + count
    published = "select count(*) = $1 from listed_requests where published_at is not null"
    sent = await shell.run("request", "--count", str(count), "--no-wait", "--json", *words)
    assert sent.code == 0
    await eventually(lambda: db.fetchval(published, expected))
    await desk.until_there_are(expected, names_for(desk.prefix).responses)
    return sent


async def test_nothing_to_complain_of_and_then_something(
    shell: Shell, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, tmp_path: Path
) -> None:
    await new_worker()
    confirmed, responses = tmp_path / "confirmed.jsonl", tmp_path / "responses.jsonl"
    sent = await send(shell, desk, db, 20)
    failed = await send(shell, desk, db, 1, "--name", "x" * 41)
    again = json.dumps({"request_id": sent.records[0]["request_id"], "payload": {}})
    assert (await shell.run("request", "--no-wait", "--json", stdin=again)).code == 0
    conflict = json.dumps({"request_id": sent.records[1]["request_id"], "org_id": "x", "payload": {}})
    assert (await shell.run("request", "--no-wait", "--json", stdin=conflict)).code == 0
    received = await shell.run("responses", "--follow", "--raw", "--limit", "23")
    confirmed.write_text(sent.out + failed.out + '{"request_id": "not even one", "status": "not_sent"}\n')
    responses.write_text(received.out)
    verify = ("verify", "--confirmed", str(confirmed), "--responses", str(responses))

    good = await shell.run(*verify)
    told = await shell.run(*verify, "--json")

    assert (good.code, good.out) == (0, "")
    assert "no violation: 21 requests confirmed, 23 responses received" in good.err
    assert (told.code, told.records) == (0, [])

    lost = str(uuid4())
    confirmed.write_text(sent.out + failed.out + lost)
    copies = received.records
    copies.append(copies[3] | {"body": copies[3]["body"] + " "})
    responses.write_text("\n".join(map(json.dumps, copies)))
    shown = await shell.run(*verify)
    told = await shell.run(*verify, "--json")

    assert (shown.code, told.code) == (1, 1)
    assert sorted(record["promise"] for record in told.records) == ["nothing lost", "one response"]
    assert {record["request_id"] for record in told.records} == {lost, copies[3]["message_id"]}
    assert "copies with 2 different bodies" in shown.out
    assert lost in shown.out
    assert "2 violations" in shown.err


async def test_responses_as_programs_read_them_will_do(
    shell: Shell, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, tmp_path: Path
) -> None:
    await new_worker()
    ids = "\n".join(record["request_id"] for record in (await send(shell, desk, db, 5)).records)
    received = await shell.run("responses", "--json")
    responses = tmp_path / "responses.jsonl"
    responses.write_text(received.out)
    verify = ("verify", "--confirmed", "-", "--responses", str(responses))

    assert len(received.records) == 5
    assert (await shell.run(*verify, stdin=ids)).code == 0

    responses.write_text("\n".join(json.dumps(record) for record in received.records))
    spaced_out = await shell.run(*verify, "--json", stdin=ids)
    assert {record["found"] for record in spaced_out.records} == {
        "the response received is not the one on record"
    }


@pytest.mark.parametrize(
    ("confirmed", "responses", "complaint"),
    [
        ("nonsense", "", "line 1: is neither a request id"),
        ('\n{"status": "submitted"}', "", "line 2: is neither a request id"),
        ("", '{"message_id": 5}', "line 1: is no line of `responses --raw`"),
        ("", "[]", "line 1: is no line of `responses --raw`"),
        (None, "", "cannot be read"),
    ],
)
async def test_a_file_that_says_something_else_is_named(
    confirmed: str | None, responses: str, complaint: str, tmp_path: Path
) -> None:
    one, other = tmp_path / "confirmed", tmp_path / "responses"
    if confirmed is not None:
        one.write_text(confirmed)
    other.write_text(responses)

    outcome = await Shell().run("verify", "--confirmed", str(one), "--responses", str(other))

    assert (outcome.code, outcome.out) == (2, "")
    assert complaint in outcome.err
    assert str(other if responses else one) in outcome.err


async def test_standard_input_is_one_file() -> None:
    outcome = await Shell().run("verify", "--confirmed", "-", "--responses", "-")

    assert outcome.code == 2
    assert "cannot both be standard input" in outcome.err


async def test_help_shows_the_three_commands() -> None:
    outcome = await Shell().run("verify", "--help")

    assert outcome.code == 0
    assert "session-worker verify --confirmed confirmed.jsonl --responses responses.jsonl" in outcome.out


async def test_what_others_wrote_is_shown_as_it_is(
    settings: Settings, new_worker: NewWorker, tmp_path: Path
) -> None:
    await new_worker()
    shell = Shell(DATABASE_URL=settings.database_url.get_secret_value(), WORKER_PREFIX=settings.prefix)
    confirmed, responses = tmp_path / "confirmed", tmp_path / "responses"
    confirmed.write_text("")
    bodies = (
        '{"request_id": "[/a]"}',
        '{"request_id": "[red]abc"}',
        "[" * 100_000,
        '{"request_id": "\\u001b[2J"}',
    )
    responses.write_text("".join(json.dumps({"message_id": "m", "body": body}) + "\n" for body in bodies))

    outcome = await shell.run("verify", "--confirmed", str(confirmed), "--responses", str(responses))

    assert outcome.code == 1
    assert "[/a]" in outcome.out
    assert "[red]abc" in outcome.out
    assert "\x1b" not in outcome.out
