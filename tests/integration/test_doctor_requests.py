"""The doctor finds what is wrong with requests: each fault is planted in a database of the test's own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio
from support.doctor import examined, planted, visited

from worker.operations import steering
from worker.operations.doctor.finding import Finding, Severity
from worker.operations.doctor.site import Need, Site
from worker.settings import Settings

REQUEST = """
insert into requests (
  request_id, status, attempt, fingerprint, body, session_id, received_at, started_at, lease, due_at, reply_to
)
values (
  $1, 'processing', 1, 'x', '{{}}', 'ts_' || $1::uuid, now() - interval '{age}', now(), {lease}, {due_at},
  {reply_to}
)
"""
FINISHED = """
update requests set
  status = 'completed', response = '{{}}', finished_at = now() - interval '{age}', answer_at = {answer_at},
  answer_way = 'reply', undelivered = {undelivered}::text,
  undelivered_at = case when {undelivered}::text is not null then now() end
where request_id = $1
"""
IN_LINE = """
insert into requests (request_id, fingerprint, body, session_id, org_id, waits_in, waits_for, begins_at)
values (gen_random_uuid(), 'x', '{}', 'ts_1', $1, $1, 'over_share', now() - interval '1 hour')
"""
DEAD_LETTER = """
insert into dead_letters (id, body, size, properties, headers, reason, kind, died_at, kept_at)
values (
  gen_random_uuid(), '{}', 2, '{}', '{}', 'r', 'no id in it',
  now() - $1::text::interval, now() - $1::text::interval
)
"""
WORKER = "insert into workers (id, host, pid, version) values ($1, 'vm', 7, '1')"
SESSION = """
insert into sessions (
  id, request_id, org_id, status, expiration_seconds, created_at, updated_at, expires_at, document
)
values (
  'ts_200101_x', gen_random_uuid(), 'o', 'completed', 60, now() - interval '400 days', now(), now(), '{}'
)
"""


@pytest_asyncio.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    little_room = settings.model_copy(update={"max_waiting": 4, "max_dead_letters": 2, "audit_days": 300.0})
    async with visited(little_room, Need.POSTGRES, Need.TABLES) as opened:
        yield opened


async def put(
    db: asyncpg.Connection,
    *,
    age: str = "0",
    lease: str = "null",
    due_at: str = "null",
    reply_to: str = "null",
) -> UUID:
    """Puts a request on record that somebody has begun."""
    request_id = uuid4()
    await db.execute(REQUEST.format(age=age, lease=lease, due_at=due_at, reply_to=reply_to), request_id)
    return request_id


async def put_finished(
    db: asyncpg.Connection, age: str, *, reply_to: str = "'acme'", answer_at: str = "null", undelivered: str
) -> UUID:
    """Puts a finished request on record whose response is with nobody."""
    request_id = await put(db, age=age, reply_to=reply_to)
    await db.execute(FINISHED.format(age=age, answer_at=answer_at, undelivered=undelivered), request_id)
    return request_id


def told(findings: list[Finding]) -> str:
    return "\n".join(each.what for each in findings)


async def test_requests_that_do_not_go_on(site: Site, db: asyncpg.Connection) -> None:
    await put(db, due_at="now() - interval '1 hour'")
    await put(db, due_at="now() + interval '1 hour'")
    lost = await put(db)
    await put(db, lease="7")
    await put(db, lease="8")
    await db.execute("insert into leases (id, lease_until) values (7, now() - interval '1 hour'), (8, now())")
    for org in ("gone", "asleep", "slow", "slow", "limited"):
        await db.execute(IN_LINE, org)
    await db.execute(
        "insert into limits (scope, name, source, rate, set_by) values ('org', 'limited', 'command', 1, 'x')"
    )
    await db.execute("insert into lines (org_id) values ('slow'), ('limited')")
    await db.execute("insert into lines values ('asleep', 0, 'infinity', 'paused')")
    found = await planted(
        site, "retries-overdue", "stuck-requests", "waiting-lost", "waiting-long", "waiting-full"
    )
    await steering.pause(site.database, "all", "", reason="a look", by="ann@ops")
    held_back = await examined(site, "retries-overdue", "waiting-lost", "waiting-long")

    assert "1 retry is due and nobody has begun it, the oldest for 60 min" in told(found["retries-overdue"])
    forgotten, nowhere = found["stuck-requests"]
    assert "1 request is under a lease that ran out 60 min ago" in forgotten.what
    assert f"1 request is unfinished, and no lease, no time and no line holds it: {lost}" in nowhere.what
    assert f"requests cancel {lost} --because lost" in nowhere.remedy
    assert len(found["waiting-lost"]) == 2
    assert "1 request of gone could have begun 60 min ago" in told(found["waiting-lost"])
    assert "asleep (paused) though nothing holds it" in told(found["waiting-lost"])
    assert "2 requests could have begun long ago" in told(found["waiting-long"])
    assert found["waiting-long"][0].what.endswith(": slow")
    assert "5 requests wait in Postgres, and 4 may" in told(found["waiting-full"])
    assert held_back.findings == []


async def test_answers_that_nobody_got(site: Site, db: asyncpg.Connection) -> None:
    await put_finished(db, "10 min", answer_at="now()", undelivered="'refused'")
    await put_finished(db, "10 s", answer_at="now()", undelivered="'refused'")
    for _ in range(2):
        await put_finished(db, "20 min", reply_to="'gone'", undelivered="'unroutable'")
    never = await put_finished(db, "20 min", reply_to="null", undelivered="null")
    await put_finished(db, "20 s", undelivered="null")
    await put_finished(db, "2 days", undelivered="'unroutable'")

    waiting, unroutable, lost = (await planted(site, "unanswered"))["unanswered"]

    assert "1 response waits on record for acme (refused), the oldest for 10 min" in waiting.what
    assert "2 responses of the last hour for gone went to nobody (unroutable)" in unroutable.what
    assert "requests resend --response unroutable --since 1h" in unroutable.remedy
    assert f"{site.settings.prefix}.responses went to nobody (never sent)" in lost.what
    assert lost.remedy == f"session-worker requests resend {never}"


async def test_what_is_kept_beside_requests(site: Site, db: asyncpg.Connection) -> None:
    await db.execute(DEAD_LETTER, "40 days")
    await db.execute(DEAD_LETTER, "2 min")
    await db.execute("insert into audit (at, who, action) values (now() - interval '400 days', 'x', 'y')")
    await put_finished(db, "40 days", undelivered="null")
    await put_finished(db, "29 days", undelivered="null")
    await db.execute(SESSION)
    (first,) = await db.fetchrow("select name from session_partitions where not is_month")
    await db.execute(f"alter table sessions detach partition {first}")
    await db.execute(SESSION.replace("200101", "200102"))
    await steering.pause(site.database, "org", "o 7", reason="too many", by="ann@ops")
    await db.execute(WORKER, UUID(int=7))
    await steering.pause(site.database, "worker", str(UUID(int=6)), reason="it has ended", by="bob@ops")
    await steering.pause(site.database, "worker", str(UUID(int=7)), reason="a look", by="bob@ops")

    found = await planted(
        site,
        "dead-letters",
        "custody-full",
        "retention-behind",
        "sessions-for-ever",
        "session-months",
        "paused",
    )

    assert "2 messages are in custody that nobody could read, the last one since 2 min" in told(
        found["dead-letters"]
    )
    assert "2 no id in it" in told(found["dead-letters"])
    assert "2 dead letters are in custody, and 2 may be" in told(found["custody-full"])
    assert [each.what.split(" older")[0] for each in found["retention-behind"]] == [
        "finished requests",
        "dead letters",
        "rows of the audit",
    ]  # fmt: skip
    assert all(each.what.endswith("are still there: 1") for each in found["retention-behind"])
    assert found["sessions-for-ever"][0].severity is Severity.NOTE
    assert "400 days old" in told(found["sessions-for-ever"])
    missing, outside = found["session-months"]
    assert f"there is no table for the sessions of {datetime.now(UTC):%Y-%m}" in missing.what
    assert outside.what.startswith("1 sessions are in sessions_other")
    of_org, of_worker = found["paused"]
    assert "the organisation o 7 is paused by ann@ops since" in of_org.what
    assert (of_org.remedy, of_worker.remedy) == (
        "session-worker resume --org 'o 7'", "session-worker resume --worker vm:7",
    )  # fmt: skip
