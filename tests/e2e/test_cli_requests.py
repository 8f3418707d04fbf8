"""`requests` finds what an operator looks for and explains it; `orgs`, `workers`, `queues` show the whole."""

import csv
import io
from uuid import UUID, uuid4

import asyncpg
from support.commands import Shell, line_with
from support.harness import Desk, NewWorker, eventually, good_request

HOSTILE = "=cmd|' /C calc'!A0\x1b]0;owned\x07<b>[red]"


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
    await desk.ask(good, correlation_id="order-17")
    failed = await desk.ask(bad)

    listed = await shell.run("requests", "list", "--status", "failed", "--since", "1h", "--json")
    shown = await shell.run("requests", "list", COLUMNS="80")
    told = await shell.run("requests", "explain", failed.payload.session_id, "--json")
    read = await shell.run("requests", "explain", "order-17")
    whole = await shell.run("requests", "show", "order-17", "--payload", "--json")

    assert [each["request_id"] for each in listed.records[:-1]] == [bad["request_id"]]
    assert (listed.records[-1]["matching"], listed.records[-1]["exact"]) == (1, True)
    assert listed.records[-1]["reasons"] == {listed.records[0]["reason"]: 1}
    assert "2 match; 2 shown" in shown.out
    assert good["request_id"] in shown.out and bad["request_id"] in shown.out  # noqa: PT018 — both at once
    assert [event["what"] for event in told.records[0]["events"]][:3] == ["received", "attempt 1", "failed"]
    assert (told.code, told.records[0]["broken"]) == (0, [])
    assert "the promises are kept so far" in read.out
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

    await eventually(undelivered, 60)
    told = (await shell.run("requests", "explain", request["request_id"], "--json")).records[0]

    assert told["events"][-1]["what"] == "NOT DELIVERED"
    assert "the queue nobody.s is not there" in told["events"][-1]["text"]
    assert told["by_itself"] is False
    assert told["next"].startswith("nothing will happen by itself")


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
    request_id = uuid4()
    await finish(db, request_id, error=HOSTILE + "x" * (1 << 20))

    for words in (
        ("requests", "list"), ("requests", "explain", str(request_id)), ("orgs",),
        ("requests", "show", str(request_id), "--payload"),
    ):  # fmt: skip
        outcome = await shell.run(*words)
        assert outcome.code == (words[1:2] == ("explain",))
        assert "\x1b" not in outcome.out
        assert "\x07" not in outcome.out
        assert "sealed:" not in outcome.out
    as_csv = await shell.run("requests", "list", "--csv")
    (row,) = csv.DictReader(io.StringIO(as_csv.out))
    assert row["org_id"] == f"'{HOSTILE}"
    assert row["reason"] == f"'{HOSTILE}{'x' * (500 - len(HOSTILE))}"


async def test_an_id_that_several_have_or_none(shell: Shell, db: asyncpg.Connection) -> None:
    for number in range(2):
        await finish(db, UUID(f"6f9f1c0e-0000-4000-8000-{number:012}"))

    several = await shell.run("requests", "explain", "6f9f1c0e")
    none = await shell.run("requests", "show", str(uuid4()))
    gone = await shell.run("requests", "list", "--after", str(uuid4()))
    wrong = await shell.run("requests", "list", "--since", "yesterday")
    nothing = await shell.run("requests", "list", "--org", "nobody")
    for option, value in (("--org", "\udcff"), ("--attempt", "99999999999"), ("--limit", "10001")):
        assert (await shell.run("requests", "list", option, value)).code == 2
    assert (await shell.run("requests", "list", "--until", "0001-01-01")).out == nothing.out

    assert (several.code, none.code, gone.code, wrong.code, nothing.code) == (2, 1, 1, 2, 0)
    assert "2 requests match 6f9f1c0e" in several.err
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
