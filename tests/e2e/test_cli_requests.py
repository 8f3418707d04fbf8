"""`requests` finds what an operator looks for and explains it; `orgs`, `workers`, `queues` show the whole."""

import csv
import io
import shlex
from uuid import UUID, uuid4

import asyncpg
from support.commands import Shell, line_with
from support.harness import Desk, NewWorker, eventually, good_request

from worker.rabbitmq.topology import names_for

HOSTILE = "=cmd|' /C calc'!A0\x1b]0;owned\x07\x9b2J\r<b>[red]"
CONTROL = set("\x1b\x07\x9b\r")
LETTER = """
insert into dead_letters (id, request_id, body, size, properties, headers, reason, kind, died_at)
values ($1, $2, '', 0, '{}', '{}', 'r', 'k', now())
"""
PLANT = """
with worker as (
  insert into workers (id, host, pid, version, handler, handler_build, heartbeat)
  values (gen_random_uuid(), $2::text, 7, $2, $2, $2, now() - interval '1 hour')
  returning id
), request as (
  insert into requests (request_id, status, attempt, org_id, user_id, fingerprint, body, session_id, reply_to,
    correlation_id, worker, started_at, finished_at, error_code, response, undelivered, undelivered_at)
  select $1, 'failed', 1, $2, $2, '\\x00',
    json_build_object('payload', json_build_object($2, $3::text, 'token', 'sealed:k1:a')),
    'ts_' || $2, $2, $2, id, now(), now(), 'rejected', json_build_object('error', $3), 'unroutable', now()
  from worker returning request_id, worker
), attempt as (
  insert into attempts (request_id, attempt, worker, kind, error_type, reason, place)
  select request_id, 1, worker, 'raised', $2, left($3, 500), $2 from request
), letter as (
  insert into dead_letters (id, body, size, properties, headers, reason, kind, message_id, app_id, user_id,
    exchange, routing_key, request_id, died_at)
  select $1, convert_to($3, 'UTF8'), 7, jsonb_build_object('correlation_id', $2),
    jsonb_build_object($2, left($3, 100000)), left($3, 500), $2, $2, $2, $2, $2, $2, request_id, now()
  from request
), kept as (
  insert into request_counts (org_id, status, code, number) values ($2, 'failed', 'rejected', 1)
), pause as (
  insert into pauses (scope, name, reason, paused_by) values ('org', $2, $2, $2)
), limited as (
  insert into limits (scope, name, source, running, reason, set_by) values ('org', $2, 'command', 1, $2, $2)
), selection as (
  insert into selections (id, action, chosen_by, options, who, reason, rate)
  values ('0000abcd', 'retry', jsonb_build_object('org', $2), jsonb_build_object('to', $2), $2, $2, 1)
)
insert into audit (who, action, reason, about)
values ($2, $2, left($3, 500), jsonb_build_object('org', $2, $2, left($3, 100000)))
"""


async def finish(db: asyncpg.Connection, request_id: UUID, error: str = "rooms answered 503") -> None:
    await db.execute(
        """
        insert into requests (request_id, status, attempt, org_id, fingerprint, body, session_id, started_at)
        values ($1, 'processing', 1, $2, '\\x00', '{"payload": {"token": "sealed:k1:abc"}}', $3, now())
        """,
        request_id, HOSTILE, f"ts_{request_id.hex}",
    )  # fmt: skip
    await db.execute(
        """
        update requests set status = 'failed', error_code = 'timeout', finished_at = now(),
          response = json_build_object('error', $2::text)
        where request_id = $1
        """,
        request_id, error,
    )  # fmt: skip


async def test_what_failed_is_listed_grouped_and_explained(
    shell: Shell, new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    good, bad = good_request(), good_request(name="x" * 41)
    trace_id = UUID(good["request_id"]).hex
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    await desk.ask(good, correlation_id="order-17", headers=headers)
    failed = await desk.ask(bad)

    listed = await shell.run("requests", "list", "--status", "failed", "--since", "1h", "--json")
    shown = await shell.run("requests", "list", COLUMNS="80")
    told = await shell.run("requests", "explain", failed.payload.session_id, "--json")
    link = {"WORKER_TRACE_URL": "https://traces.example/{trace_id}"}
    read = await shell.run("requests", "explain", "order-17", **link)
    traced = await shell.run("requests", "explain", "order-17", "--json", **link)
    status = await shell.run("status", "order-17", COLUMNS="160", **link)
    whole = await shell.run("requests", "show", "order-17", "--payload", "--json")

    assert [each["request_id"] for each in listed.records[:-1]] == [bad["request_id"]]
    assert (listed.records[-1]["matching"], listed.records[-1]["exact"]) == (1, True)
    assert listed.records[-1]["reasons"] == {listed.records[0]["reason"]: 1}
    assert "2 match; 2 shown" in shown.out
    assert good["request_id"] in shown.out and bad["request_id"] in shown.out  # noqa: PT018 — both at once
    begun = await shell.run("requests", "show", bad["request_id"][:18], "--json")
    assert begun.records[0]["request"]["request_id"] == bad["request_id"], (
        "what a narrow list shows is enough"
    )
    assert [event["what"] for event in told.records[0]["events"]][:3] == ["received", "attempt 1", "failed"]
    assert (told.code, told.records[0]["broken"]) == (0, [])
    assert "the promises are kept so far" in read.out
    assert f"\ntrace    {trace_id}  https://traces.example/{trace_id}\n" in read.out
    assert f"{trace_id}  https://traces.example/{trace_id}" in status.out
    assert traced.records[0]["trace_id"] == trace_id
    assert traced.records[0]["trace"] == f"https://traces.example/{trace_id}"
    assert (told.records[0]["trace_id"], told.records[0]["trace"]) == (None, None)
    assert whole.records[0]["body"]["payload"]["name"] == "Support chat"
    assert whole.records[0]["request"]["correlation_id"] == "order-17"


async def test_an_answer_that_nobody_got_is_explained(
    shell: Shell, new_worker: NewWorker, desk: Desk
) -> None:
    await new_worker()
    request = good_request()
    await desk.send(request, reply_to="nobody.s")

    async def undelivered() -> bool:
        return bool((await shell.run("requests", "list", "--response", "unroutable", "--json")).records[:-1])

    await eventually(undelivered)
    told = (await shell.run("requests", "explain", request["request_id"], "--json")).records[0]

    assert told["events"][-1]["what"] == "NOT DELIVERED"
    assert "the queue nobody.s is not there" in told["events"][-1]["text"]
    assert told["by_itself"] is False
    assert told["next"].startswith("nothing will happen by itself")
    program, *words = shlex.split(told["command"])
    assert program == "session-worker"
    assert (await shell.run(*words)).code == 0, "the command that it names ends it"
    answer = await desk.take_from(names_for(desk.prefix).responses)
    assert answer.message_id == request["request_id"]
    over = (await shell.run("requests", "explain", request["request_id"], "--json")).records[0]
    assert (over["next"], over["command"]) == ("nothing: it is answered", None)


async def test_a_record_that_breaks_a_promise_is_told(shell: Shell, db: asyncpg.Connection) -> None:
    stuck = uuid4()
    await finish(db, broken := uuid4())
    await db.execute(
        """
        insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at)
        values ($1, 'processing', 1, '\\x00', '{}', 'ts_stuck', now())
        """,
        stuck,
    )

    wrong = await shell.run("requests", "explain", str(broken))
    nothing = await shell.run("requests", "explain", str(stuck), "--json")
    listed = await shell.run("requests", "list", "--status", "processing", "--json")

    assert wrong.code == 1
    assert "BROKEN: the response is true" in wrong.out
    assert (nothing.code, nothing.records[0]["by_itself"]) == (0, False)
    assert "nothing holds it" in nothing.records[0]["next"]
    assert listed.records[0]["request_id"] == str(stuck)


async def test_what_others_have_written_does_no_harm(shell: Shell, db: asyncpg.Connection) -> None:
    """Escapes, markup, formulas and a mebibyte, in each text that is shown."""
    request_id = uuid4()
    await db.execute("set session_replication_role = replica")  # triggers are off
    await db.execute(PLANT, request_id, HOSTILE, HOSTILE + "x" * (1 << 20))
    await db.execute("reset session_replication_role")
    key = str(request_id)

    for words in (
        ("requests", "list"), ("requests", "explain", key), ("requests", "show", key, "--payload"),
        ("requests", "retry", "--status", "failed", "--dry-run"), ("orgs",), ("workers",), ("top",),
        ("pause", "--list"), ("limits", "list"), ("audit", "list"), ("selections", "list"),
        ("selections", "show", "0000abcd"), ("dead", "list"), ("dead", "list", "--group", "none"),
        ("dead", "show", key), ("dead", "drop", "--all", "--because", "x", "--dry-run"),
        ("dead", "replay", "--all", "--dry-run"),
    ):  # fmt: skip
        outcome = await shell.run(*words)
        shown = outcome.out + outcome.err
        assert outcome.code == (words[0] == "workers" or "explain" in words), shown[:2000]
        assert set(shown) & CONTROL == set(), words
        assert "sealed:" not in shown
        assert "[red]" in shown or words[1:2] != ("show",) or words[0] == "selections", words
        as_json = (await shell.run(*words, "--json")).out if words[0] in ("workers", "dead") else ""
        assert set(as_json) & CONTROL == set(), words
    for words in (
        ("requests", "list"), ("orgs",), ("workers",), ("audit", "list"), ("dead", "list"),
        ("dead", "list", "--group", "none"), ("history", "export", "--since", "1d"),
    ):  # fmt: skip
        header, *lines = csv.reader(io.StringIO((await shell.run(*words, "--csv")).out, newline=""))
        assert {len(line) for line in lines} == {len(header)}, words
        cells = [cell for line in lines for cell in line]
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == [], words
        assert [cell for cell in cells if cell.startswith("'=cmd|' /C calc'!A0")], words
        assert set("".join(cells)) & CONTROL == set(), words


async def test_an_id_that_several_have_or_none(shell: Shell, db: asyncpg.Connection) -> None:
    for number in range(2):
        await finish(db, UUID(f"6f9f1c0e-0000-4000-8000-{number:012}"))

    several = await shell.run("requests", "explain", "6f9f1c0e")
    none = await shell.run("requests", "show", str(uuid4()))
    await db.execute(LETTER, letter := uuid4(), of := uuid4())
    buried = await shell.run("requests", "explain", str(of))
    retried = await shell.run("requests", "retry", "6f9f1c0e")
    gone = await shell.run("requests", "list", "--after", str(uuid4()))
    wrong = await shell.run("requests", "list", "--since", "yesterday")
    nothing = await shell.run("requests", "list", "--org", "nobody")
    nowhere = {"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/x"}
    away = await shell.run("requests", "explain", "6f9f1c0e", "--wait", "0.5", **nowhere)
    for option, value in (("--org", "\udcff"), ("--attempt", "99999999999"), ("--limit", "10001")):
        assert (await shell.run("requests", "list", option, value)).code == 2
    assert (await shell.run("requests", "list", "--until", "0001-01-01")).out == nothing.out

    assert (several.code, none.code, gone.code, wrong.code, nothing.code) == (2, 1, 1, 2, 0)
    assert (away.code, "Postgres cannot be reached" in away.err) == (3, True)
    assert "2 requests match 6f9f1c0e" in several.err
    assert (retried.code, "several requests match 6f9f1c0e" in retried.err) == (2, True)
    assert "dead letters with this id: 0" in none.err
    assert (buried.code, f"session-worker dead show {letter}" in buried.err) == (1, True)
    assert "is not on record any more" in gone.err
    assert "nor how long ago" in wrong.err
    assert nothing.out == "no request matches\n"


async def test_a_watch_prints_what_happens(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    await new_worker()
    async with shell.start("requests", "watch", "--status", "completed", "--json") as watching:
        await line_with(watching.stderr, "watching")
        request = good_request()
        await desk.ask(request)
        assert request["request_id"] in await line_with(watching.stdout, "completed")


async def test_orgs_workers_and_queues(shell: Shell, new_worker: NewWorker, desk: Desk) -> None:
    nobody = await shell.run("workers")
    missing = await shell.run("queues", "--json")
    await new_worker()
    await desk.ask(good_request())

    orgs = await shell.run("orgs", "--json")
    workers = await shell.run("workers", "--json")
    queues = await shell.run("queues", "--json")
    top = await shell.run("top")

    assert (nobody.code, missing.code) == (1, 1)
    assert missing.records[0]["ready"] is None
    assert [(each["org"], each["completed"], each["recent"]) for each in orgs.records] == [("org-1", 1, 1)]
    assert [(each["state"], workers.code) for each in workers.records] == [("ready", 0)]
    assert "completed 1  failed 0" in top.out
    assert "org-1" in top.out
    requests = next(each for each in queues.records if each["queue"].endswith(".requests"))
    assert (requests["ready"], requests["consumers"], queues.code) == (0, 1, 0)
