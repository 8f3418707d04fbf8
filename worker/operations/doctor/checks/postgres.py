"""Looks at the server of Postgres: its version, what it promises of a commit, its clock."""

import asyncio
from datetime import UTC, datetime

from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import size

_SKEW_SECONDS = 1.0
_LEAST_VERSION, _TESTED_VERSION = 14, 18
_SLOT_BYTES = 1 << 30


async def _version(site: Site) -> list[Finding]:
    (row,) = await site.database.call("server")
    version = row["number"] // 10_000
    if version < _LEAST_VERSION:
        return [
            Finding(
                "pg-version",
                Severity.ERROR,
                f"this is Postgres {row['version']}, and workers need {_LEAST_VERSION}",
                f"upgrade it to {_TESTED_VERSION}",
            )
        ]
    if version != _TESTED_VERSION:
        return [
            Finding(
                "pg-version",
                Severity.NOTE,
                f"this is Postgres {row['version']}; workers were tested with {_TESTED_VERSION}",
                f"use {_TESTED_VERSION} where you can choose",
            )
        ]
    return []


async def _read_only(site: Site) -> list[Finding]:
    (row,) = await site.database.call("server")
    if row["standby"]:
        return [
            Finding(
                "pg-read-only",
                Severity.ERROR,
                "this Postgres is a standby: nothing can be written",
                "let DATABASE_URL lead to the primary: all hosts, and target_session_attrs=read-write",
            )
        ]
    if row["read_only"]:
        return [
            Finding(
                "pg-read-only",
                Severity.ERROR,
                "transactions are read-only here: nothing can be written",
                "set default_transaction_read_only to off, for the database and for the role; some set it "
                "when the disk is full",
            )
        ]
    return []


async def _sync(site: Site) -> list[Finding]:
    (row,) = await site.database.call("server")
    found = []
    if row["commits"] == "off":
        found.append(
            Finding(
                "pg-sync",
                Severity.WARNING,
                "synchronous_commit is off: if the server crashes, the last moments of the record are gone, "
                "of requests too whose messages are settled",
                "set synchronous_commit to on, for the database and for the workers' role",
            )
        )
    if off := [
        name for name, on in (("fsync", row["syncs"]), ("full_page_writes", row["whole_pages"])) if not on
    ]:
        found.append(
            Finding(
                "pg-sync",
                Severity.WARNING,
                f"{' and '.join(off)} is off: a power cut can destroy the whole database",
                f"set {' and '.join(off)} to on",
            )
        )
    if row["standbys"] and not row["in_sync"] and row["commits"] not in ("off", "local"):
        found.append(
            Finding(
                "pg-sync",
                Severity.ERROR,
                f"each commit waits for a standby ({row['standbys']}), and none is connected",
                "start the standby; if it is lost, set synchronous_standby_names to '' and reload",
            )
        )
    return found


async def _clock(site: Site) -> list[Finding]:
    loop = asyncio.get_running_loop()
    before, here = loop.time(), _now()
    (row,) = await site.database.call("server")
    took = loop.time() - before
    ahead = (row["now"] - here).total_seconds() - took / 2
    if abs(ahead) - took / 2 <= _SKEW_SECONDS:
        return []
    return [
        Finding(
            "clock-skew",
            Severity.WARNING,
            f"the clock of Postgres is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this "
            "machine's: deadlines and times of beginning are judged by either of them",
            "let both machines set their clocks by NTP (timedatectl status)",
        )
    ]


def _now() -> datetime:
    return datetime.now(UTC)


async def _slots(site: Site) -> list[Finding]:
    rows = await site.database.call("kept_for_slots", _SLOT_BYTES)
    return [
        Finding(
            "pg-slots",
            Severity.WARNING,
            f"{size(row['bytes'])} of the log are kept for the replication slot {row['slot']}, which nobody "
            "reads: it fills the disk",
            f"start its reader; if that is gone for good: select pg_drop_replication_slot('{row['slot']}')",
        )
        for row in rows
    ]


_SERVER = frozenset({Need.POSTGRES})
CHECKS: tuple[Check, ...] = (
    Check(
        "pg-read-only",
        Part.POSTGRES,
        Severity.ERROR,
        "a standby, or a database that takes no changes",
        _SERVER,
        _read_only,
    ),
    Check(
        "pg-version",
        Part.POSTGRES,
        Severity.ERROR,
        "a version that is too old, or that workers were not tested with",
        _SERVER,
        _version,
    ),
    Check(
        "pg-sync",
        Part.POSTGRES,
        Severity.ERROR,
        "commits that a crash can undo, or that wait for a standby which is away",
        _SERVER,
        _sync,
    ),
    Check(
        "pg-slots",
        Part.POSTGRES,
        Severity.WARNING,
        "replication slots that nobody reads, for which the log fills the disk",
        _SERVER,
        _slots,
    ),
    Check(
        "clock-skew",
        Part.POSTGRES,
        Severity.WARNING,
        "the clocks of this machine and of Postgres differ by more than 1 s",
        _SERVER,
        _clock,
    ),
)
