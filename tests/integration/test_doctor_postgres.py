"""The doctor finds what is wrong with Postgres: each fault is planted in a database of the test's own."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.doctor import examined, planted, visited
from support.harness import Desk, eventually, good_request, run_in_process

from worker.operations.doctor.checks import ALL, connections, postgres, tables
from worker.operations.doctor.finding import Part, Severity
from worker.operations.doctor.run import run
from worker.operations.doctor.site import SERVERS, Need, Site, visit
from worker.postgres import migrate
from worker.postgres.sql import setup_query
from worker.settings import Settings

OURS = [check for check in ALL if check.part in (Part.POSTGRES, Part.REQUESTS)]
LIVE_WORKER = """
insert into workers (id, host, pid, version, settings)
values (gen_random_uuid(), 'vm', $1, '1', jsonb_build_object('prefix', $2::text, 'lease_seconds', 600))
"""
PUT_OFF = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, started_at, due_at)
values ($1, 'processing', 1, 'x', '{}', 'ts_1', now(), now() + interval '1 hour')
"""


@pytest_asyncio.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with visited(settings, Need.POSTGRES, Need.TABLES) as opened:
        yield opened


@pytest_asyncio.fixture
async def role(db: asyncpg.Connection, database_url: str) -> AsyncIterator[str]:
    """A role with the rights of a worker, as `migrate --grant` gives them."""
    name = f"sw_{uuid4().hex[:10]}"
    await db.execute(f"create role {name} login password 'made-up'")
    await migrate.grant(database_url, name)
    yield name
    await db.execute(f"drop owned by {name}")
    await db.execute(f"drop role {name}")


def as_role(settings: Settings, role: str) -> Settings:
    parts = urlsplit(settings.database_url.get_secret_value())
    url = urlunsplit(parts._replace(netloc=f"{role}:made-up@{parts.netloc.rpartition('@')[2]}"))
    return settings.model_copy(update={"database_url": SecretStr(url)})


@asynccontextmanager
async def another(settings: Settings, application: str) -> AsyncIterator[asyncpg.Connection]:
    """Opens a connection of somebody else's."""
    connection = await asyncpg.connect(
        settings.database_url.get_secret_value(), server_settings={"application_name": application}
    )
    yield connection
    connection.terminate()


async def test_who_holds_what_up(
    site: Site, settings: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("_LOCK_SECONDS", "_IDLE_SECONDS", "_SNAPSHOT_SECONDS"):
        monkeypatch.setattr(connections, bound, 0.0)
    async with another(settings, "dump") as dump, another(settings, "report") as report:
        await dump.execute("begin; lock table requests")
        await dump.execute("select 'sk-live-1'")
        pid = await dump.fetchval("select pg_backend_pid()")
        await dump.execute("select 'sk-live-2', 'it''s'")
        waiting = asyncio.create_task(db.execute("select count(*) from requests"))
        asleep = asyncio.create_task(report.execute("select pg_sleep(600)"))

        async def both_are_at_it() -> bool:
            rows = await site.database.call("old_snapshots", 0.0)
            return {"report"} <= {row["application"] for row in rows} and bool(
                await site.database.call("lock_waits", 0.0)
            )

        await eventually(both_are_at_it)
        found = await planted(site, "pg-lock", "pg-idle-tx", "pg-xmin")
        monkeypatch.undo()
        monkeypatch.setattr(connections, "_LOCK_SECONDS", 60.0)  # this test may take two
        young = await examined(site, "pg-lock", "pg-idle-tx", "pg-xmin")
        monkeypatch.setattr("worker.postgres.looking.setup_query", lambda _: "set lock_timeout = '1ms'")
        async with visited(settings, Need.POSTGRES, Need.TABLES) as impatient:
            locked_out = await examined(impatient, "unanswered")
        await dump.execute("rollback")
        await waiting
        asleep.cancel()
        await asyncio.gather(asleep, return_exceptions=True)

    (lock,) = found["pg-lock"]
    assert f"pid {pid} (dump, " in lock.what
    assert "a lock on requests that 1 statement waits for" in lock.what
    assert "select '…', '…'" in lock.what
    assert "sk-live" not in str(found)
    assert lock.remedy == f"session-worker blockers --terminate {pid}"
    assert "1 session has begun a transaction" in found["pg-idle-tx"][0].what
    assert f"pid {pid} (dump, " in found["pg-idle-tx"][0].what
    assert "(report, " in found["pg-xmin"][0].what
    assert young.findings == []
    assert locked_out.findings[0].what.startswith("could not be looked at: LockNotAvailableError: ")
    assert [each.check for each in locked_out.unlooked] == ["unanswered"]
    assert "lock_timeout = '2s'" in setup_query("wait_for_nobody")


async def test_a_server_that_is_not_as_it_should_be(
    settings: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await db.fetchval("select current_database()")
    for change in (
        "set synchronous_commit = off", "set default_transaction_read_only = on", "connection limit 7",
    ):  # fmt: skip
        await db.execute(f"alter database {name} {change}")
    for pid in (1, 2):
        await db.execute(LIVE_WORKER, pid, "other")
    slot = f"doctor_{uuid4().hex[:12]}"
    await db.execute("select pg_create_physical_replication_slot($1, true)", slot)
    try:
        monkeypatch.setattr(postgres, "_SLOT_BYTES", 0)
        monkeypatch.setattr(postgres, "_TESTED_VERSION", 99)
        monkeypatch.setattr(postgres, "_now", lambda: datetime.now(UTC) - timedelta(hours=1))
        monkeypatch.setattr(connections, "_NEARLY_ALL", 0.0)
        async with visited(settings, Need.POSTGRES, Need.TABLES) as site:
            found = await planted(
                site, "pg-sync", "pg-read-only", "pg-connections", "prefix-shared", "pg-slots", "pg-version",
                "clock-skew",
            )  # fmt: skip
            monkeypatch.setattr(postgres, "_LEAST_VERSION", 98)
            too_old = await planted(site, "pg-version")
    finally:
        await db.execute("select pg_drop_replication_slot($1)", slot)

    wanted, full = found["pg-connections"]
    assert "connections are in use" in full.what
    assert (wanted.severity, "2 workers with 4 connections each want 8" in wanted.what) == (
        Severity.ERROR, True,
    )  # fmt: skip
    assert "this database gives 7" in wanted.what
    assert "synchronous_commit is off" in found["pg-sync"][0].what
    assert "read-only" in found["pg-read-only"][0].what
    assert "2 live workers of prefix other (one is vm:1)" in found["prefix-shared"][0].what
    assert "WORKER_PREFIX=other session-worker migrate" in found["prefix-shared"][0].remedy
    assert slot in " ".join(each.what for each in found["pg-slots"])
    assert (found["pg-version"][0].severity, too_old["pg-version"][0].severity) == (
        Severity.NOTE, Severity.ERROR,
    )  # fmt: skip
    assert re.search(r" (3600\.|3599\.)\d s ahead of this machine", found["clock-skew"][0].what)


async def test_tables_that_are_not_as_the_migrations_made_them(
    site: Site, settings: Settings, db: asyncpg.Connection, role: str
) -> None:
    await db.execute(
        "drop index requests_due; alter table requests disable trigger requests_edge;"
        "update pg_index set indisvalid = false where indexrelid = 'requests_of_org'::regclass;"
        "insert into schema_migrations values (9999, 'of_the_future', 'x')"
    )
    await db.execute(f"revoke insert on attempts from {role}; revoke update (full_at) on rules from {role}")
    await db.execute(
        f"revoke execute on function retire_requests(interval, integer, timestamptz) from {role}"
    )

    schema = (await planted(site, "pg-schema"))["pg-schema"]
    powerful = (await planted(site, "pg-rights"))["pg-rights"]
    async with visited(as_role(settings, role), Need.POSTGRES, Need.TABLES) as restricted:
        rights = (await planted(restricted, "pg-rights"))["pg-rights"]

    assert [each.severity for each in schema] == [Severity.ERROR] * 3 + [Severity.NOTE]
    told = "\n".join(each.what for each in schema)
    for words in (
        "missing: index requests_due", "invalid, since its building was interrupted: index requests_of_org",
        "disabled: trigger requests_edge", "lacks 9999_of_the_future",
    ):  # fmt: skip
        assert words in told
    assert ["is a superuser" in each.what for each in powerful] == [True]
    missing, hidden = rights
    assert missing.severity is Severity.ERROR
    for words in ("insert on attempts", "update (full_at) on rules", "execute on retire_requests"):
        assert words in missing.what
    assert missing.remedy.endswith(f"session-worker migrate --grant {role}")
    assert "may not look into " in hidden.what
    assert hidden.remedy == f"grant pg_read_all_stats to {role}"


async def test_tables_that_grow(site: Site, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, value in (("_LEAST_DEAD", 20), ("_LEAST_UPDATES", 20), ("_LEAST_BYTES", 1), ("_OLD_AGE", 1)):
        monkeypatch.setattr(tables, bound, value)
    month = await db.fetchval("select max(name) from session_partitions where is_month")
    await db.execute(f"alter table {month} set (autovacuum_enabled = false)")
    await db.execute("insert into leases (id, lease_until) select n, now() from generate_series(1, 40) as n")
    await db.execute("delete from leases where id > 1")
    await db.execute(PUT_OFF, uuid4())
    for _ in range(30):  # in an index, so that each is on a page and in an index anew
        await db.execute("update requests set due_at = due_at + interval '1 s'")
    await db.execute("select pg_stat_force_next_flush()")
    await db.execute("select")

    found = await planted(site, "pg-vacuum", "pg-bloat", "pg-hot", "disk-growth")

    assert f"autovacuum is off for {month}" in found["pg-vacuum"][0].what
    assert "has not been frozen for" in found["pg-vacuum"][1].what
    assert "leases has 39 dead rows beside 1 live" in found["pg-bloat"][0].what
    assert "0% of 30 updates" in found["pg-hot"][0].what
    assert "twice as large in 24 h" in found["disk-growth"][0].what


async def test_tables_that_are_not_there(settings: Settings, empty_url: str) -> None:
    """The server is looked at all the same."""
    nothing = settings.model_copy(update={"database_url": SecretStr(empty_url)})
    async with visit(nothing, {Need.POSTGRES, Need.TABLES}, 10) as site:
        found = await planted(site, "pg-tables")
        report = await run(site, OURS)

    assert "the database lacks migrations" in found["pg-tables"][0].what
    assert found["pg-tables"][0].remedy == f"WORKER_PREFIX={settings.prefix} session-worker migrate"
    assert {each.check for each in report.unlooked} == {
        check.id for check in OURS if Need.TABLES in check.needs
    }
    assert not report.away


async def test_a_server_that_is_away(settings: Settings, database_url: str) -> None:
    nowhere = {
        "database_url": SecretStr(database_url.rpartition("/")[0] + "/nowhere"),
        "amqp_url": SecretStr("amqp://nobody:nothing@127.0.0.1:1/x"),
    }
    async with visit(settings.model_copy(update=nowhere), set(SERVERS), 10) as site:
        found = await planted(site, "pg-away", "broker-away")
        report = await run(site, OURS)

    assert '"nowhere" does not exist' in found["pg-away"][0].what
    assert found["broker-away"][0].what.startswith("RabbitMQ cannot be reached: ")
    assert "nothing@" not in str(found), "no password"
    assert [each.check for each in report.findings] == ["pg-away"]
    assert len(report.unlooked) == len(OURS) - 1
    assert report.away


async def test_a_healthy_installation(
    settings: Settings, db: asyncpg.Connection, role: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor uses the workers' role, which may see the sessions of others."""
    version = await db.fetchval("select current_setting('server_version_num')::integer / 10000")
    monkeypatch.setattr(postgres, "_TESTED_VERSION", version)
    await db.execute(f"grant pg_read_all_stats to {role}")
    mine = as_role(settings, role)
    async with run_in_process(mine) as start:
        await start()
        await desk.ask(good_request())
        async with visited(mine, Need.POSTGRES, Need.TABLES) as site:
            report = await run(site, OURS)

    assert report.findings == []
    assert report.unlooked == []
