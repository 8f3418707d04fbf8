"""`keys`, `retention` and `blockers` from the command line: what they show, ask, refuse and do."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
from datetime import timedelta

import asyncpg
from support.commands import Shell
from support.harness import eventually
from support.sealed import CANARY, put_dead_letter, put_request, put_session, ring, ring_text, strange_ring
from support.secret_search import traces_of

WORKER = """
insert into workers (id, host, pid, version, settings)
values (gen_random_uuid(), 'vm', $1, '1', jsonb_build_object('seal_keys', $2::text, 'retention_days', 30))
"""
ENDED = "update sessions set status = 'completed', updated_at = now() - interval '91 days'"


async def test_which_rows_need_which_key_is_listed_checked_and_changed(
    shell: Shell, db: asyncpg.Connection
) -> None:
    one = await put_request(db, ring("k1"))
    await put_request(db, ring("k1"), "put off")
    await put_session(db, one, ring("k1"))
    await put_dead_letter(db, b"letter", ring("k1"))
    both = {"WORKER_SEAL_KEYS": ring_text("k2", "k1")}

    listed = await shell.run("keys", "report", "--json", **both)
    shown = await shell.run("keys", "report", **both)
    alone = await shell.run("keys", "check")
    fine = await shell.run("keys", "check", **both)
    assert [(row["key"], row["place"], row["rows"], row["seals"]) for row in listed.records] == [
        ("k1", "custody", 1, False), ("k1", "finished", 1, False), ("k1", "repeats", 2, False),
        ("k1", "sessions", 1, False), ("k1", "unfinished", 1, False), ("k2", "unfinished", 0, True),
    ]  # fmt: skip
    assert re.search(r"k1 repeats of requests 2 \d{4}-\S+ opens 0 of 0", " ".join(shown.out.split()))
    assert "k2 nothing 0 seals 0 of 0" in " ".join(shown.out.split())
    assert (alone.code, fine.code) == (1, 0)
    assert "k1 is missing: 1 unfinished requests need it; not set in this shell" in alone.out
    assert "note: without k1 repeats of 2 requests are answered with request_id_conflict" in alone.out
    assert fine.out == "each key that rows are sealed with is there: k1\n"
    words = ("keys", "rotate", "--from", "k1", "--reason", "it was in a log")

    await db.execute(WORKER, 1, "k1")
    refused = await shell.run(*words, **both)
    assert (refused.code, "k2 is not in the WORKER_SEAL_KEYS of vm:1" in refused.err) == (1, True)
    await db.execute("update workers set settings = jsonb_build_object('seal_keys', 'k1,k2')")
    quick = await shell.run("keys", "check", "--quick", "--json", **both)
    assert (quick.code, quick.out) == (0, "")
    usage = [
        await shell.run(*words, "--to", "k3", **both),
        await shell.run(*words, WORKER_SEAL_KEYS=ring_text("k1", "k2")),
        await shell.run(*words[:4], **both),
    ]
    assert [outcome.code for outcome in usage] == [2, 2, 2]
    assert [wanted in outcome.err for wanted, outcome in zip(
        ("the key k3 is not in the", "k1 is the first key here", "--reason"), usage, strict=True
    )] == [True] * 3  # fmt: skip

    resealed = await shell.run(*words, **both)
    assert (resealed.code, resealed.out) == (0, "4 rows that k1 had sealed are sealed with k2\n")
    assert "vm:1 still seal with k1" in resealed.err
    await put_request(db, strange_ring("k1"))
    again = await shell.run(*words, "--json", **both)
    assert again.code == 1
    (record,) = again.records
    assert (record["sealed"], record["left"], record["unopened"], len(record["examples"])) == (0, 0, 1, 1)

    to_file = await shell.run("keys", "open", f"ts_{one}", "--reason", "ticket 7", **both)
    assert json.loads(to_file.out)["phone_number"]["twilio_auth_token"] == f"{CANARY}-{one}"
    unknown = await shell.run("keys", "open", "ts_nothing", "--reason", "ticket 7", **both)
    without = await shell.run("keys", "open", str(one), "--reason", "ticket 7")
    assert (unknown.code, without.code) == (1, 1)
    main_side, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", "keys", "open", str(one), "--reason", "x",
        stdout=terminal, stderr=asyncio.subprocess.PIPE, env={**shell.environ(), **both},
    )  # fmt: skip
    _, err = await process.communicate()
    os.close(main_side)
    os.close(terminal)
    assert (process.returncode, b"not shown on a terminal" in err) == (2, True)
    everything = [listed, shown, alone, fine, refused, resealed, again, unknown, without]
    assert traces_of(CANARY, str(everything)) == []
    audited = await db.fetch("select action, reason from audit order by number")
    assert [row["action"] for row in audited] == ["keys.rotate"] * 3 + ["keys.open"]


async def test_a_key_is_retired_once_nothing_needs_it(shell: Shell, db: asyncpg.Connection) -> None:
    held = await put_request(db, ring("k1"))
    await db.execute(WORKER, 1, "k2,k1")
    words = ("keys", "retire", "k1", "--reason", "its time")

    needed = await shell.run(*words)
    await db.execute("update requests set body = replace(body, ':k1:', ':k2:') where request_id = $1", held)
    repeats = await shell.run(*words)
    retired = await shell.run(*words, "--give-up-repeats")
    report = await shell.run("keys", "report")

    assert (needed.code, repeats.code) == (1, 1)
    assert "k1 is still needed: 1 finished requests, 1 repeats of requests. Nothing was done" in needed.err
    assert "--give-up-repeats does not wait for that" in repeats.err
    assert retired.out == (
        "k1 is retired: nothing needs it\nrepeats of 1 requests are not known any more\n"
        "take it from WORKER_SEAL_KEYS of vm:1\n"
    )
    assert re.search(r"^k1 was retired at \S+ \S+Z by \S+: its time$", report.out, re.MULTILINE)


async def test_an_exchange_of_keys_that_is_interrupted_goes_on(shell: Shell, db: asyncpg.Connection) -> None:
    rows = 60  # half a minute's work: there is time to interrupt it
    for _ in range(rows):
        await put_request(db, ring("k1"))
    words = ("keys", "rotate", "--from", "k1", "--reason", "r")

    async with shell.start(*words, "--rate", "2/s", WORKER_SEAL_KEYS=ring_text("k2", "k1")) as process:
        await eventually(lambda: db.fetchval("select true from audit limit 1"))
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    done = await db.fetchval("select sum(touched) from audit")
    again = await shell.run(*words, WORKER_SEAL_KEYS=ring_text("k2", "k1"))

    assert process.returncode == 130
    assert f"{done} rows were sealed anew before the end: to go on, say the same again" in err.decode()
    assert 0 < done < rows
    assert again.out == f"{rows - done} rows that k1 had sealed are sealed with k2\n"
    assert await db.fetchval("select sum(touched) from audit") == rows


async def test_what_is_kept_is_shown_and_what_is_old_deleted(shell: Shell, db: asyncpg.Connection) -> None:
    old = await put_request(db, None, ago=timedelta(days=8))
    await put_session(db, old, None)
    await put_request(db, None)
    await db.execute(ENDED)
    await db.execute("analyze")
    run = ("retention", "run", "--older", "7d")
    sessions = ("retention", "sessions", "--ended-before", "90d")

    status = await shell.run("retention", "status")
    numbers = await shell.run("retention", "status", "--json", WORKER_RETENTION_DAYS="7")
    dry = await shell.run(*run, "--dry-run")
    kept = await shell.run(*sessions, "--dry-run", "--json")
    unasked = await shell.run(*run)
    wrong = await shell.run("retention", "run", "--older", "0d", "--dry-run")
    assert status.code == 0
    assert "by that rule 0 could go now" in status.out
    assert (
        "finished requests: deleted after 30 days (WORKER_RETENTION_DAYS here; no worker lives)" in status.out
    )
    assert "sessions: kept for ever" in status.out
    assert numbers.records[-1]["could_go"] == 1
    assert "1 of 2 requests are finished and older than 7 days, 0:00:00: about" in dry.out
    assert kept.records == [{"could_go": 0, "kept": 1, "deleted": 0}]
    assert (unasked.code, wrong.code) == (2, 2)
    assert await db.fetchval("select count(*) from requests") == 2

    done = await shell.run(*run, "--yes", "--reason", "the disk")
    gone = await shell.run(*sessions, "--yes", "--json")

    assert (done.code, done.out) == (0, "1 requests were deleted\n")
    assert gone.records == [{"could_go": 1, "kept": 0, "deleted": 1}]
    assert await db.fetchval("select count(*) from sessions") == 0
    audited = await db.fetch("select action, reason, touched from audit order by number")
    assert list(map(tuple, audited)) == [("retention.run", "the disk", 1), ("retention.sessions", None, 1)]


async def test_who_holds_the_lock_is_shown_and_ended(
    shell: Shell, db: asyncpg.Connection, database_url: str
) -> None:
    nobody = await shell.run("blockers")
    assert (nobody.code, nobody.out) == (0, "nobody holds a lock that ours wait for\n")
    holder = await asyncpg.connect(database_url, server_settings={"application_name": "\x1b[31mpsql"})
    waiter, bystander = [await asyncpg.connect(database_url) for _ in range(2)]
    await holder.execute(f"begin; lock table requests; select '{CANARY}'")
    waiting = asyncio.ensure_future(waiter.execute("select from requests"))
    await eventually(
        lambda: db.fetchval(
            "select true from pg_locks where pid = $1 and not granted", waiter.get_server_pid()
        )
    )
    pid, other = str(holder.get_server_pid()), str(bystander.get_server_pid())

    shown = await shell.run("blockers")
    listed = await shell.run("blockers", "--json")
    unasked = await shell.run("blockers", "--terminate", pid)
    refused = await shell.run("blockers", "--terminate", other, "--yes")
    ended = await shell.run("blockers", "--terminate", pid, "--yes", "--reason", "forgotten")

    await waiting
    assert (shown.code, listed.code, unasked.code, refused.code, ended.code) == (1, 1, 2, 1, 0)
    assert f"next: session-worker blockers --terminate {pid}" in shown.out
    assert "begin; lock table requests; select …" in " ".join(shown.out.split())
    assert "\x1b" not in shown.out
    assert CANARY not in f"{shown}{listed}{ended}"
    assert (listed.records[0]["pid"], listed.records[0]["waiting"]) == (int(pid), 1)
    assert f"pid {other} holds up nothing of ours, and is left alone" in refused.err
    assert ended.out == f"pid {pid} was ended; 1 of ours waited for it\n"
    assert await db.fetchval("select action || ': ' || reason from audit") == "blockers.terminate: forgotten"
    for each in (waiter, bystander):
        await each.close()
