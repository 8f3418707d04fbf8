"""Dead letters from the command line: found, grouped, mended, replayed, dropped and restored."""

import asyncio
import gzip
import json
import stat
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest_asyncio
from pydantic import SecretStr
from support.commands import Shell, line_with
from support.harness import Desk, NewWorker, eventually, good_request, response_in

from worker.cli import exits
from worker.rabbitmq.topology import names_for

KEY = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PASSWORD = "conspicuous-password"
OF_EACH = 50


@pytest_asyncio.fixture
async def there(shell: Shell, new_worker: NewWorker) -> Shell:
    """A shell beside a worker that takes dead letters into custody, sealed."""
    await new_worker(max_dead_letters=1000, seal_keys=SecretStr(KEY))
    return Shell(**shell.variables, WORKER_SEAL_KEYS=KEY, WORKER_MAX_DEAD_LETTERS="1000")


async def until_in_custody(db: asyncpg.Connection, number: int) -> None:
    async def look() -> bool:
        kept: int = await db.fetchval("select count(*) from dead_letters where state = 'kept'")
        return kept == number

    await eventually(look)


async def bury(desk: Desk, body: bytes, **properties: Any) -> None:
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).dead, ensure=False)
    await exchange.publish(aio_pika.Message(body, **properties), routing_key="", mandatory=True)


def without_id() -> dict[str, Any]:
    """A request whose producer gave the id another name."""
    request = good_request()
    request["id"] = request.pop("request_id")
    return request


async def test_garbage_of_six_kinds_is_grouped_mended_replayed_dropped_and_restored(
    there: Shell, desk: Desk, db: asyncpg.Connection
) -> None:
    mendable = [without_id() for _ in range(OF_EACH)]
    for number in range(OF_EACH):
        other = {"order": number, "password": PASSWORD, "note": "\x1b[31m<b>=1+1"}
        for body, app in (
            (json.dumps(mendable[number]).encode(), "billing-exporter"),
            (b"<order>%d</order>" % number, "billing-exporter"),
            (gzip.compress(b"%d" % number), "packer"),
            (json.dumps(other).encode(), "=cmd"),
            (b"[%d]" % number, "lists"),
            (json.dumps(good_request() | {"request_id": f"nr-{number}"}).encode(), "numbers"),
        ):
            await desk.send(body, app_id=app, reply_to=None)
    await until_in_custody(db, 6 * OF_EACH)

    groups = (await there.run("dead", "list", "--json")).records
    assert {group["messages"] for group in groups} == {OF_EACH}
    assert len(groups) == 6, "two faults with the same reason are two groups"
    by_app = {tuple(group["apps"]): group for group in groups}
    ours = next(group for group in groups if "has id," in group["name"])["example"]
    shown = await there.run("dead", "list")
    assert (shown.code, shown.err) == (0, "")
    assert "custody holds 300 of 1,000" in shown.out
    table = (await there.run("dead", "list", "--group", "app", "--csv")).out
    assert "\n'=cmd,50," in table, "no cell is a formula"

    example = str(by_app[("=cmd",)]["example"])
    one = await there.run("dead", "show", example[:8])
    assert one.code == 0
    assert PASSWORD not in one.out + one.err
    assert "(masked)" in one.out
    assert "\x1b" not in one.out
    raw = await there.run("dead", "show", example, "--raw")
    assert json.loads(raw.out)["password"] == PASSWORD
    assert (
        await db.fetchval(
            "select bool_or(position($1::bytea in body) > 0) from dead_letters", PASSWORD.encode()
        )
        is False
    )

    mending = ["dead", "replay", "--like", ours, "--rename", "id=request_id"]
    dry = await there.run(*mending, "--dry-run", "--json")
    assert {(record["prospect"], record["to"]) for record in dry.records} == {
        ("new", f"{desk.prefix}.requests")
    }
    assert len(dry.records) == OF_EACH
    unmended = await there.run("dead", "replay", "--like", ours, "--dry-run", "--json")
    assert {record["prospect"] for record in unmended.records} == {"still unreadable"}
    refused = await there.run(*mending)
    assert (refused.code, await db.fetchval("select count(*) from requests")) == (2, 0)

    sent = await there.run(*mending, "--yes", "--because", "billing 2.1 named it id", "--rate", "10000")
    assert (sent.code, sent.out) == (0, f"{OF_EACH} sent\n")

    async def all_completed() -> bool:
        done: int = await db.fetchval("select count(*) from requests where status = 'completed'")
        return done == OF_EACH

    await eventually(all_completed)
    recorded = {str(row["request_id"]) for row in await db.fetch("select request_id from requests")}
    assert recorded == {request["id"] for request in mendable}, "each keeps its id"
    assert (await there.run(*mending, "--yes")).code == 1, "they are in custody no more"

    dropped = await there.run(
        "dead", "drop", "--reason", "JSON", "--yes", "--json", "--because", "a producer's test"
    )
    assert dropped.records == [{"done": "dropped", "messages": 2 * OF_EACH, "selected": 2 * OF_EACH}]
    restored = await there.run("dead", "restore", "--app", "lists", "--yes")
    assert restored.out == f"{OF_EACH} restored\n"
    states = await db.fetch("select state, count(*) from dead_letters group by state order by state")
    assert dict(states) == {"dropped": OF_EACH, "kept": 4 * OF_EACH, "replayed": OF_EACH}
    audited = await db.fetch(
        "select action, reason, sum(touched)::integer, count(*) from audit group by 1, 2 order by min(number)"
    )
    assert [tuple(row) for row in audited] == [
        ("dead.replay", "billing 2.1 named it id", OF_EACH, 3),  # a row for each part that was sent
        ("dead.drop", "a producer's test", 2 * OF_EACH, 1),
        ("dead.restore", None, OF_EACH, 1),
    ]


async def test_a_dry_run_says_what_will_become_of_each_and_a_replay_leaves_what_would_fail(
    there: Shell, desk: Desk, db: asyncpg.Connection, tmp_path: Path
) -> None:
    names = names_for(desk.prefix)
    known, fresh, unwanted = good_request(), good_request(), good_request()
    await desk.send(known)
    response = await desk.next()
    other = known | {"org_id": "org-2"}
    nothing = {"x-reason": "nothing", "x-code": "unreadable", "traceparent": "00-1-2-01"}
    bodies: dict[str, tuple[bytes, dict[str, Any]]] = {
        "new": (json.dumps(fresh).encode(), {"headers": nothing, "reply_to": desk.reply_to}),
        "answered from the record": (json.dumps(known).encode(), {"reply_to": desk.reply_to}),
        "conflict": (json.dumps(other).encode(), {"reply_to": desk.reply_to}),
        "still unreadable": (b"{}", {}),
        "cancellation": (
            json.dumps({"request_id": unwanted["request_id"], "operation": "cancel_session"}).encode(), {},
        ),
        "response": (response.body, {"type": response.type, "reply_to": "gone", "message_id": "m"}),
    }  # fmt: skip
    for body, properties in bodies.values():
        await bury(desk, body, **properties)
    await until_in_custody(db, len(bodies))

    dry = await there.run("dead", "replay", "--all", "--dry-run", "--json")
    assert {record["prospect"] for record in dry.records} == set(bodies)
    assert len(dry.records) == len(bodies)
    told = await there.run("dead", "replay", "--all", "--dry-run")
    assert "1 conflict" in told.out
    assert max(map(len, told.out.splitlines())) <= 100
    assert await db.fetchval("select count(*) from audit") == 0, "a dry run changes nothing"

    sent = await there.run("dead", "replay", "--all", "--yes")

    assert sent.code == 0
    assert "4 sent" in sent.out
    assert "left in custody: 1 conflict: the request id is on record with another content" in sent.out
    answers = {str(response_in(one).request_id): one for one in [await desk.next() for _ in range(2)]}
    assert set(answers) == {known["request_id"], fresh["request_id"]}
    assert answers[known["request_id"]].body == response.body
    assert answers[fresh["request_id"]].headers["traceparent"] == "00-1-2-01"
    # There, in any order, is also what the cancellation came to: its sender had named no queue.
    there_too = [await desk.take_from(names.responses) for _ in range(2)]
    assert response.body in [one.body for one in there_too], "its reader's queue is gone"
    assert unwanted["request_id"] in [str(response_in(one).request_id) for one in there_too]
    assert desk.arrived.empty()
    await until_in_custody(db, 2)

    queue = await desk.channel.declare_queue(exclusive=True)
    lost = await there.run("dead", "redirect", "--all", "--to", "nowhere", "--yes")
    assert (lost.code, "2 no queue took it" in lost.out) == (1, True)
    file = tmp_path / "letters.jsonl"
    exported = await there.run("dead", "export", str(file))
    assert (exported.code, len(file.read_text().splitlines())) == (0, 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await there.run("dead", "export", str(file))).code == 2, "it is not written over"
    redirected = await there.run("dead", "redirect", "--all", "--to", queue.name, "--yes")
    assert redirected.code == 0
    assert {(await queue.get()).body for _ in range(2)} == {b"{}", json.dumps(other).encode()}
    assert await db.fetchval("select count(*) from dead_letters where sent_to = $1", queue.name) == 2


async def test_a_replay_that_is_killed_half_way_goes_on_without_doubling(
    there: Shell, desk: Desk, db: asyncpg.Connection
) -> None:
    letters = [without_id() for _ in range(30)]
    for letter in letters:
        await desk.send(letter, app_id="billing")
    for _ in letters:
        await desk.next()  # that it is not valid
    await until_in_custody(db, 30)
    words = ["dead", "replay", "--app", "billing", "--rename", "id=request_id", "--yes"]

    async with there.start(*words, "--rate", "5") as process:
        await line_with(process.stderr, "/30", "sent")
        process.kill()
        await process.wait()
    # As if it had been killed between the confirm and the note.
    await db.execute(
        "update dead_letters set state = 'kept', ended_at = null, ended_by = null, ended_reason = null, "
        "sent_to = null where id = (select id from dead_letters where state = 'replayed' limit 1)"
    )
    left = await db.fetchval("select count(*) from dead_letters where state = 'kept'")
    assert 1 < left < 30
    again = await there.run(*words, "--rate", "10000")
    assert (again.code, again.out) == (0, f"{left} sent\n")

    # Those that were sent twice may be answered twice.
    answers = await desk.answers_to(letter["id"] for letter in letters)
    assert {answer.status for answer in answers.values()} == {"completed"}
    assert await db.fetchval("select count(*) from sessions") == 30
    assert await db.fetchval("select count(*) from dead_letters where state = 'kept'") == 0


async def test_of_two_who_send_the_same_one_does_and_each_part_is_noted_with_its_row_of_the_audit(
    there: Shell, desk: Desk, db: asyncpg.Connection
) -> None:
    for number in range(30):
        await bury(desk, b"%d" % number, message_id=str(number))
    await until_in_custody(db, 30)
    queue = await desk.channel.declare_queue(exclusive=True)
    redirect = ("dead", "redirect", "--all", "--to", queue.name, "--yes", "--rate", "10000")
    kept = "select count(*) from dead_letters where state = 'kept'"
    refused = "alter table audit add constraint refused check (action <> 'dead.redirect')"

    await db.execute(refused)
    unnoted = await there.run(*redirect)
    assert (unnoted.code, await db.fetchval(kept)) == (exits.UNEXPECTED, 30), unnoted.err
    await db.execute("alter table audit drop constraint refused")
    await desk.until_there_are(20, queue.name)
    await queue.purge()

    await asyncio.gather(*(there.run(*redirect) for _ in range(2)))
    bodies = [(await queue.get()).body for _ in range(30)]
    assert sorted(map(int, bodies)) == list(range(30))
    assert await queue.get(fail=False) is None
    assert await db.fetchval(kept) == 0
    assert await db.fetchval("select sum(touched) from audit") == 30

    for number in range(2):
        await bury(desk, b"%d" % number, message_id=f"late {number}")
    await until_in_custody(db, 2)
    async with db.transaction():
        await db.execute("select from dead_letters where message_id = 'late 0' for update")
        passed_by = await there.run(*redirect)
    assert passed_by.out == "no longer there to be sent: 1; somebody else was quicker\n1 sent\n"


async def test_one_message_is_mended_in_an_editor(
    there: Shell, desk: Desk, db: asyncpg.Connection, tmp_path: Path
) -> None:
    request_id = uuid4()
    await desk.send(b'{"broken": ', reply_to=None, correlation_id="theirs")
    await until_in_custody(db, 1)
    (listed,) = (await there.run("dead", "list", "--group", "none", "--json")).records
    mended = tmp_path / "mended.json"
    mended.write_text(json.dumps(good_request(request_id)))
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\ngrep -q broken "$1" && cp {mended} "$1"\n')
    script.chmod(0o755)

    failing = await there.run("dead", "replay", listed["id"], "--editor", "--yes", EDITOR="false")
    sent = await there.run("dead", "replay", listed["id"][:8], "--editor", "--yes", EDITOR=str(script))

    assert (failing.code, sent.code) == (1, 0)

    async def completed() -> bool:
        status: str | None = await db.fetchval(
            "select status from requests where request_id = $1", request_id
        )
        return status == "completed"

    await eventually(completed)


async def test_wrong_words_and_servers_that_are_away_are_named(
    there: Shell, desk: Desk, db: asyncpg.Connection
) -> None:
    await bury(desk, b"{}")
    await bury(desk, b"[]")
    await until_in_custody(db, 2)
    await db.execute("update dead_letters set request_id = $1", UUID(int=7))

    async def outcome(*words: str, **variables: str) -> tuple[int, str]:
        ended = await there.run("dead", *words, **variables)
        return ended.code, ended.err

    found = await asyncio.gather(
        outcome("show", "ffffffff"),
        outcome("show", "00000000"),
        outcome("drop", "--because", "x", "--yes"),
        outcome("drop", "--all", "--app", "x", "--because", "x", "--yes"),
        outcome("drop", "--all", "--yes"),
        outcome("drop", "--app", "nobody", "--because", "x", "--yes"),
        outcome("replay", "--all", "--set", "x", "--dry-run"),
        outcome("replay", "--all", "--yes", "--set", "a=1"),
        outcome("show", str(UUID(int=7)), WORKER_SEAL_KEYS=""),
        outcome("list", "--wait", "0.5", DATABASE_URL="postgresql://a:b@127.0.0.1:1/x"),
    )
    # By itself: beside ten others, Postgres may take longer to answer than it waits for RabbitMQ.
    away = await outcome(
        "redirect", "--all", "--to", "x", "--yes", "--wait", "2", AMQP_URL="amqp://a:b@127.0.0.1:1/x"
    )

    wanted = [
        (1, "no message ffffffff is in custody"), (2, "2 messages match 00000000"), (2, "say which"),
        (2, "--all goes with no ID"), (2, "--because"), (1, "no message that is kept matches"),
        (2, "must be PATH=VALUE"), (1, "nothing is sent"), (2, "2 messages match"),
        (3, "Postgres cannot be reached"), (3, "RabbitMQ cannot be reached"),
    ]  # fmt: skip
    for (code, err), (expected, text) in zip([*found, away], wanted, strict=True):
        assert (code, text in err) == (expected, True), err
    assert await db.fetchval("select count(*) from dead_letters where state = 'kept'") == 2
