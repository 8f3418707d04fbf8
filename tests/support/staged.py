"""Puts a whole installation on record, as it is in the middle of a bad hour: each page of the console has
something to show.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
from support.planted import Planted, plant
from support.sealed import put_dead_letter, ring

Say = Callable[[str], str]
Some = dict[str, Any]
Rows = tuple[tuple[Any, ...], ...]

_ORGS = ("acme", "globex", "initech", "umbrella", "hooli", "stark-industries")
_FAILURES = (
    ("attempts_exhausted", "rooms answered 503", "rooms.py:41 create"),
    ("attempts_exhausted", "the handler raised ReadTimeout", "rooms.py:38 create"),
    ("rejected", "no room of that name", None),
)
_WORKER = """
insert into workers (id, host, pid, version, handler, handler_build, settings, started_at, heartbeat)
values ($1, $2, $3, '1.4.0', 'rooms:create', $4, $5, now() - $6::interval, now() - $7::interval)
"""
_IN_LINE = """
insert into requests (
  request_id, org_id, fingerprint, body, session_id, waits_in, waits_for, begins_at, received_at
)
select
  id, $1, 'x', '{}', 'ts_' || id, $1, $2, now() - $3::interval, now() - $3::interval
from (select gen_random_uuid() as id from generate_series(1, $4::integer)) as them
"""
_LINE = "insert into lines (org_id, asleep_until, asleep_for) values ($1, $2, $3)"
_PUT_OFF = """
insert into requests (
  request_id, status, attempt, org_id, fingerprint, body, session_id, worker, started_at, due_at, received_at
)
select
  id, 'processing', 2, $1, 'x', '{}', 'ts_' || id, $2, now() - interval '2 min',
  now() + interval '1 min' * number, now() - interval '4 min'
from (select gen_random_uuid() as id, number from generate_series(-2, 7) as number) as them
"""
_LETTER = """
update dead_letters set
  app_id = $2, routing_key = $3, user_id = $4, reason = $5, kind = $6, died_at = now() - $7::interval,
  kept_at = now() - $7::interval, headers = $8, exchange = $9
where id = $1
"""
_UNANSWERED = """
update requests set
  reply_to = $1, undelivered = 'unroutable', published_at = null,
  finished_at = finished_at - interval '6 min', undelivered_at = now() - interval '6 min'
where request_id = any ($2)
"""
_MEASURE = """
insert into measures values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
_PAUSE = """
insert into pauses (scope, name, reason, paused_by, paused_at, ends_at)
values ('org', $1, $2, $3, now() - interval '12 min', now() + interval '48 min')
"""
_LIMIT = """
insert into limits (scope, name, source, running, rate, burst, weight, reason, set_by)
values ($1, $2, 'command', $3, $4, $5, $6, $7, $8)
"""
_SELECTION = """
insert into selections (
  id, action, chosen_by, options, who, reason, rate, made_at, state, ended_at, chosen, done, skipped, failed
)
values ($1, $2, $3, $4, $5, $6, 50, now() - $7::interval, $8, now(), $9, $10, 2, $11)
"""
_AUDIT = """
insert into audit (at, who, action, reason, about, touched) values (now() - $1::interval, $2, $3, $4, $5, $6)
"""
_WORK = """
insert into works (
  id, kind, options, who, reason, begun_at, state, runner, runner_seen, ended_at, trouble, progress
)
values ($1, $2, $3, $4, $5, now() - $6::interval, $7, $8, now(), $9, $10, $11)
"""
_OLDEST = "2026-11-21T09:10:18+00:00"  # of what a key has sealed
_BILLED = {
    "operation": "create_session",
    "payload": {"name": "Support chat", "expiration_seconds": 3600},
    "timestamp": "2026-11-26T07:00:00Z",
}
_SETTINGS = {
    "prefix": "rooms",
    "max_attempts": 5,
    "lease_seconds": 30,
    "retention_days": 30,
    "handler_timeout_seconds": 30,
    "seal_keys": "k2,k1",
}


class Staged(NamedTuple):
    """What to look at."""

    failed: UUID
    letters: list[UUID]
    selection: str
    work: str


async def stage(db: asyncpg.Connection, say: Say = str) -> Staged:
    """Put it there, into tables that are empty. `say` makes of each text of a stranger another one."""
    now = datetime.now(UTC)
    await db.execute("set session_replication_role = replica")
    workers = [await _worker(db, say, host, pid, build, silent) for host, pid, build, silent in (
        ("rooms-1", 8401, "3f2c19aa", 2), ("rooms-2", 8443, "3f2c19aa", 1), ("rooms-3", 8412, "9b07d4e1", 47),
    )]  # fmt: skip
    await _lines(db, say, workers[0])
    rows = await plant(db, [_request(say, number, now, workers) for number in range(400)])
    await db.execute("set session_replication_role = replica")
    lost = [row.request_id for row in rows if row.code is None][-3:]
    await db.execute(_UNANSWERED, say("acme.replies.node-7"), lost)
    letters = [await _letter(db, say, number) for number in range(9)]
    await _measures(db, say, now)
    work = await _done(db, say)
    await db.execute("set session_replication_role = default")
    await db.execute("analyze")
    failed = [row for row in rows if row.place]
    return Staged(failed[-1].request_id, letters, "7f3a09c2", work)


async def still_alive(db: asyncpg.Connection) -> None:
    """Have what lives give a sign of life, as it does each few seconds."""
    await db.execute(
        "update workers set heartbeat = now() - interval '2 s' where handler_build like '3f2c%'; "
        "update works set runner_seen = now() where state = 'running'; "
        "update measures set at = at + (select now() - max(at) from measures) "
        "where (select max(at) from measures) < now() - interval '20 s'"
    )


async def _worker(db: asyncpg.Connection, say: Say, host: str, pid: int, build: str, silent: int) -> UUID:
    worker = uuid4()
    age = timedelta(hours=1, minutes=pid % 40)
    await db.execute(
        _WORKER, worker, say(host), pid, say(build), json.dumps(_SETTINGS), age, timedelta(seconds=silent)
    )
    return worker


async def _lines(db: asyncpg.Connection, say: Say, worker: UUID) -> None:
    """Have requests wait: in line, and for another attempt."""
    for org, reason, ago, number, asleep in (
        ("umbrella", "over_share", timedelta(seconds=41), 240, None),
        ("acme", "rate", timedelta(seconds=9), 36, "rate"),
        ("globex", "paused", timedelta(minutes=11), 58, "paused"),
    ):
        await db.execute(_IN_LINE, say(org), reason, ago, number)
        until = datetime.now(UTC) + timedelta(seconds=3) if asleep else None
        await db.execute(_LINE, say(org), until, asleep)
    await db.execute(_PUT_OFF, say("initech"), worker)
    await db.execute(_PAUSE, say("globex"), say("they move their rooms"), say("omar@ops"))
    for scope, org, running, rate, burst, weight, why in (
        ("org", "acme", None, 20.0, 40, None, "a flood on Tuesday"),
        ("org", "umbrella", 10, None, None, 2.0, "agreed in their contract"),
        ("each", "", 50, None, None, None, "nobody takes all calls"),
    ):
        await db.execute(
            _LIMIT, scope, say(org) if org else "", running, rate, burst, weight, say(why),
            say("anna via console"),
        )  # fmt: skip


def _request(say: Say, number: int, now: datetime, workers: list[UUID]) -> Planted:
    """Make one of the last hour; of the last quarter more have failed."""
    at = now - timedelta(seconds=9 * (400 - number) + number * 7 % 9)
    org = say(_ORGS[number * number % 7 % len(_ORGS)])
    bad = number % 3 == 0 if number > 300 else number % 29 == 0
    if not bad:
        return Planted(at, org=org, worker=workers[number % 3], correlation=say(f"order-{number // 2}"))
    code, reason, place = _FAILURES[0 if number > 300 else number % 3]
    return Planted(
        at, org=org, code=code, reason=say(reason), place=say(place) if place else None,
        worker=workers[number % 3], user=say("u-17"), correlation=say(f"order-{number // 2}"),
        payload={"name": say("Support chat"), "twilio_auth_token": "made up"},
    )  # fmt: skip


async def _letter(db: asyncpg.Connection, say: Say, number: int) -> UUID:
    if number % 3:
        app, why, kind = "billing-exporter", "request_id is missing", 'has id, no "request_id"'
        body = json.dumps(_BILLED | {"id": str(uuid4()), "org_id": say("acme")}).encode()
    else:
        app, why, kind = "legacy-import", "it is not JSON: line 1 column 1 (char 0)", "no JSON: <order>"
        body = b"<order>%d</order>" % number
    letter = await put_dead_letter(db, body, ring("k1"))
    headers = json.dumps({"tenant": say("acme"), "x-first-death-reason": "rejected"})
    await db.execute(
        _LETTER, letter, say(app), say("create"), say("billing"), say(why), say(kind),
        timedelta(minutes=3 + 2 * number), headers, "rooms.requests",
    )  # fmt: skip
    return letter


async def _measures(db: asyncpg.Connection, say: Say, now: datetime) -> None:
    """Draw three hours, of which the last quarter is a bad one, since a new build is there."""
    completed, failed, step = 1_200_000, 900, timedelta(seconds=30)
    for number in range(361):
        at, bad = now - step * (360 - number), number > 330
        here = 30 * (90 + 25 * math.sin(number / 40) + 6 * math.sin(number * 1.7))
        completed += int(here * (0.7 if bad else 1))
        failed += int(here * (0.22 if bad else 0.002))
        quick, slow = int(here * 0.9), int(here * (0.1 if bad else 0.004))
        waiting = {
            "over_share": 240 if bad else 3,
            "rate": 36 if bad else 0,
            "paused": 58 if number > 337 else 0,
        }
        builds = ["rooms:create@3f2c19aa", *(["rooms:create@9b07d4e1"] if number > 328 else [])]
        await db.execute(
            _MEASURE, at, 344 if bad else 12, completed, failed,
            [0, 0, quick // 5, quick // 2, quick // 4, 30, 9, 4, 2, slow // 2, slow // 2, slow // 4],
            int(40 + 9 * max(0, number - 330) + 20 * math.sin(number)) if bad else 4, 0, 0,
            12.0 + 3 * (number - 330) if bad else 0.4, 3 if bad else 0, 18.0 if bad else 0.0,
            json.dumps(waiting), 3 if bad else 0, [say(build) for build in builds],
        )  # fmt: skip


def _of(org: str) -> Some:
    """Write which organisation a pause or a limit is of, as the audit has it."""
    return {"scope": "org", "name": org, "org": org}


async def _done(db: asyncpg.Connection, say: Say) -> str:
    """Note what operators have done; returns the id of a work."""
    anna, omar = say("anna via console"), say("omar@ops")
    failed: Some = {"org": say("initech"), "code": "attempts_exhausted", "since": say("2026-11-25T11:00:00")}
    flood: Some = {"org": say("umbrella"), "status": "waiting"}
    lost: Some = {"response": "unroutable"}
    selections: Rows = (
        ("7f3a09c2", "retry", failed, {}, anna, "rooms are back", 4, "stopped", 789, 610, 5),
        ("19c0aa41", "resend", lost, {"to": say("acme.replies")}, omar, "they moved", 31, "done", 44, 42, 0),
        ("c3d1e508", "cancel", flood, {}, anna, "a flood", 55, "done", 5210, 5208, 0),
    )  # fmt: skip
    for key, action, by, options, who, why, ago, *numbers in selections:
        await db.execute(
            _SELECTION, key, action, json.dumps(by), json.dumps(options), who, say(why),
            timedelta(minutes=ago), *numbers,
        )  # fmt: skip
    changes: Rows = (
        (55, anna, "requests.cancel", "a flood", {"selection": "c3d1e508", "chosen_by": flood}, 5210),
        (31, omar, "requests.resend", "they moved", {"selection": "19c0aa41", "chosen_by": lost}, 44),
        (26, anna, "limits.set", "a flood", {**_of(say("acme")), "rate": 20}, 1),
        (12, omar, "pause", "they move their rooms", _of(say("globex")), 1),
        (4, anna, "requests.retry", "rooms are back", {"selection": "7f3a09c2", "chosen_by": failed}, 789),
        (3, anna, "selections.stop", "too fast for them", {"selection": "7f3a09c2"}, 184),
        (2, anna, "dead.replay (begun)", "billing 2.1", {"work": "5e0fd1a7", "rate": 50}, 120),
    )  # fmt: skip
    for ago, who, action, why, about, touched in changes:
        await db.execute(_AUDIT, timedelta(minutes=ago), who, action, say(why), json.dumps(about), touched)
    edits: Some = {"edits": [["rename", say("id=request_id")]], "rate": 50}
    months, new_key = {"older_seconds": 2_592_000, "rate": 1000}, {"old": say("k0"), "new": "k1"}
    not_mine, rows = (
        say("worker does not own the tables"),
        [["k1", "sessions", 311, _OLDEST], ["k2", "finished", 89, _OLDEST]],
    )
    works: Rows = (
        ("5e0fd1a7", "dead.replay", edits, "billing 2.1", 2, "running", None, {"done": 74, "of": 120}),
        ("a81b2c3d", "retention.run", months, "disk full", 1440, "done", None, {"done": 18200, "of": 18200}),
        ("0d4e7712", "keys.rotate", new_key, "k0 was in a log", 2880, "failed", not_mine, {"done": 0}),
        ("b5510f9e", "keys.count", {}, "before k1 goes", 30, "done", None, {"looked": 400, "rows": rows}),
    )  # fmt: skip
    for key, kind, options, why, ago, state, trouble, progress in works:
        runner, ended = (uuid4(), None) if state == "running" else (None, datetime.now(UTC))
        await db.execute(
            _WORK, key, kind, json.dumps(options), anna, say(why), timedelta(minutes=ago), state, runner,
            ended, trouble, json.dumps(progress),
        )  # fmt: skip
    return "5e0fd1a7"
