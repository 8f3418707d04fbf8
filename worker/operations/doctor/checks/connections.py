"""Looks at who is connected to Postgres, what they hold up, and whether there is room for more."""

from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import at, count, person, some, span, statement

_LOCK_SECONDS = 2.0
_IDLE_SECONDS = 60.0
_SNAPSHOT_SECONDS = 600.0
_NEARLY_ALL = 0.9  # of the connections


async def _lock(site: Site) -> list[Finding]:
    return [
        Finding(
            "pg-lock",
            Severity.ERROR,
            f"{person(row['pid'], row['application'], row['role'])} holds a lock"
            + (f" on {row['relation']}" if row["relation"] else "")
            + f" that {count(row['waiting'], 'statement waits', 'statements wait')} for, the longest for "
            + span(row["seconds"])
            + (f"; its transaction began at {at(row['begun_at'])}" if row["begun_at"] else "")
            + (f": {statement(row['query'])}" if row["query"] else ""),
            f"session-worker blockers --terminate {row['pid']}"
            if row["pid"]
            else "commit or roll it back: select gid from pg_prepared_xacts",
        )
        for row in await site.database.call("lock_waits", _LOCK_SECONDS)
    ]


async def _idle(site: Site) -> list[Finding]:
    rows = await site.database.call("idle_in_transaction", _IDLE_SECONDS)
    if not rows:
        return []
    first, who = rows[0], some([person(row["pid"], row["application"], row["role"]) for row in rows])
    return [
        Finding(
            "pg-idle-tx",
            Severity.WARNING,
            f"{count(len(rows), 'session has', 'sessions have')} begun a transaction and been idle since, "
            f"the longest for {span(first['seconds'])}, after {statement(first['query'])}: {who}",
            f"end it in its program, or: select pg_terminate_backend({first['pid']}); and set "
            "idle_in_transaction_session_timeout for its role",
        )
    ]


async def _snapshots(site: Site) -> list[Finding]:
    rows = await site.database.call("old_snapshots", _SNAPSHOT_SECONDS)
    if not rows:
        return []
    first, names = rows[0], []
    for row in rows:
        known = person(row["pid"], row["application"], row["role"])
        names.append(f"the prepared transaction {row['prepared']}" if row["prepared"] else known)
    remedy = f"unless it is a backup that ends soon: select pg_terminate_backend({first['pid']})"
    return [
        Finding(
            "pg-xmin",
            Severity.WARNING,
            f"{count(len(rows), 'transaction has', 'transactions have')} been open for long, the oldest for "
            f"{span(first['seconds'])}: vacuum leaves what was deleted since, and tables grow. {some(names)}",
            f"rollback prepared '{first['prepared']}'" if first["prepared"] else remedy,
        )
    ]


async def _connections(site: Site) -> list[Finding]:
    (row,) = await site.database.call("connections", site.settings.lease_seconds)
    most, used, workers = row["most"], row["used"], row["workers"]
    found = []
    if used >= most * _NEARLY_ALL:
        found.append(
            Finding(
                "pg-connections",
                Severity.ERROR if used >= most else Severity.WARNING,
                f"{used} of {count(most, 'connection')} are in use",
                "end programs that hold connections they do not need, or raise max_connections",
            )
        )
    bounds = {"the server": most, "this database": row["of_database"], "this role": row["of_role"]}
    least, where = min((number, name) for name, number in bounds.items() if number is not None)
    needed = workers * site.settings.pool_size
    if needed > least:
        found.append(
            Finding(
                "pg-connections",
                Severity.ERROR,
                f"{count(workers, 'worker')} with {site.settings.pool_size} connections each want {needed}, "
                f"and {where} gives {least}",
                "a smaller WORKER_POOL_SIZE (one more than WORKER_BATCHES is enough), fewer workers, or a "
                "higher limit",
            )
        )
    return found


_SERVER = frozenset({Need.POSTGRES})
_TABLES = frozenset({Need.POSTGRES, Need.TABLES})
CHECKS: tuple[Check, ...] = (
    Check(
        "pg-lock",
        Part.POSTGRES,
        Severity.ERROR,
        "statements wait for a lock: who holds it, since when",
        _SERVER,
        _lock,
    ),
    Check(
        "pg-connections",
        Part.POSTGRES,
        Severity.ERROR,
        "few connections are left, or workers want more than there are",
        _TABLES,
        _connections,
    ),
    Check(
        "pg-idle-tx",
        Part.POSTGRES,
        Severity.WARNING,
        "transactions that somebody has left open for more than a minute",
        _SERVER,
        _idle,
    ),
    Check(
        "pg-xmin",
        Part.POSTGRES,
        Severity.WARNING,
        "transactions that have kept vacuum back for more than 10 minutes",
        _SERVER,
        _snapshots,
    ),
)
