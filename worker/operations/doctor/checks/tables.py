"""Looks at the tables in Postgres: are they what the migrations made, whose are they, and how do they do?"""

from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, size, some, span, word
from worker.postgres import expected
from worker.postgres.grants import Kind
from worker.postgres.installation import table_names
from worker.postgres.sql import load_migrations

_LEAST_DEAD, _DEAD_SHARE = 50_000, 0.5
_OLD_AGE, _TOO_OLD_AGE = 500_000_000, 1_500_000_000  # transactions; at 2 billion Postgres stops
_LEAST_UPDATES, _HOT_SHARE = 1_000, 0.9
_LEAST_BYTES, _DOUBLES_DAYS = 1 << 30, 7
_MOST_COUNTED = 100_000
_DAY_SECONDS = 86_400
_AS_A_WHOLE = expected.Right("requests", "update")  # which a worker may change, and a console may not


async def _schema(site: Site) -> list[Finding]:
    found = []
    if newer := await site.database.call("newer_migrations", load_migrations()[-1].number):
        names = some([f"{row['number']:04d}_{row['name']}" for row in newer])
        found.append(
            Finding(
                "pg-schema",
                Severity.NOTE,
                f"the tables are newer than this version, which lacks {names}",
                "use the session-worker that the newest workers are",
            )
        )
    made = await site.database.call("made_things")
    there = expected.things()
    for kind, wanted, meaning, remedy in (
        ("index", there.indexes, "lookups read whole tables", "reindex index concurrently {}"),
        ("trigger", there.triggers, "what it refuses or keeps, is not", "alter table … enable trigger {}"),
    ):
        works = {row["name"]: row["works"] for row in made if row["kind"] == kind}
        missing = sorted(wanted - works.keys())
        broken = sorted(name for name in wanted & works.keys() if not works[name])
        if missing:
            found.append(
                Finding(
                    "pg-schema",
                    Severity.ERROR,
                    f"missing: {kind} {some(missing)}: {meaning}",
                    "take its statement from `session-worker migrate --sql`, and carry it out as the owner",
                )
            )
        if broken:
            state = "invalid, since its building was interrupted" if kind == "index" else "disabled"
            found.append(
                Finding(
                    "pg-schema",
                    Severity.ERROR,
                    f"{state}: {kind} {some(broken)}: {meaning}",
                    f"as the owner: {remedy.format(broken[0])}",
                )
            )
    return found


async def _rights(site: Site) -> list[Finding]:
    (role,) = await site.database.call("role")
    name = word(role["role"])
    lacking = await _lacking(site, Kind.WORKER)
    found = []
    if _AS_A_WHOLE in lacking and not await _lacking(site, Kind.CONSOLE):
        found.append(
            Finding(
                "pg-rights",
                Severity.NOTE,
                f"{role['role']} has the rights of a console: no worker can be it",
                f"none, if no worker is to; else: session-worker migrate --grant {name}",
            )
        )
    elif lacking:
        missing = some([str(each) for each in lacking])
        found.append(
            Finding(
                "pg-rights",
                Severity.ERROR,
                f"{role['role']} lacks what a worker needs: {missing}",
                f"as the owner of the tables: session-worker migrate --grant {name}",
            )
        )
    if role["superuser"] or role["owner"]:
        what = "is a superuser" if role["superuser"] else "owns the tables"
        found.append(
            Finding(
                "pg-rights",
                Severity.NOTE,
                f"{role['role']} {what}: the record is not guarded against it, so no worker should be it",
                "a role of their own for the workers: session-worker migrate --grant ROLE",
            )
        )
    if role["hidden"]:
        found.append(
            Finding(
                "pg-rights",
                Severity.NOTE,
                f"{role['role']} may not look into {count(role['hidden'], 'session')} of other roles: "
                "pg-lock, pg-idle-tx and pg-xmin may miss what these do",
                f"grant pg_read_all_stats to {name}",
            )
        )
    return found


async def _lacking(site: Site, kind: Kind) -> list[expected.Right]:
    """Return what the role that asks lacks of the rights of this kind."""
    wanted = expected.rights(kind)
    rows = await site.database.call(
        "missing_rights",
        [each.thing for each in wanted],
        [each.privilege for each in wanted],
        [each.column for each in wanted],
    )
    return [wanted[row["position"] - 1] for row in rows]


async def _prefixes(site: Site) -> list[Finding]:
    rows = await site.database.call("prefixes", site.settings.lease_seconds)
    return [
        Finding(
            "prefix-shared",
            Severity.ERROR,
            f"{count(row['workers'], 'live worker')} of prefix {row['prefix']} (one is {row['example']}) "
            f"{'uses' if row['workers'] == 1 else 'use'} the tables of {site.settings.prefix}: each "
            "takes the other's requests",
            f"stop them, then: WORKER_PREFIX={word(row['prefix'])} session-worker migrate, which makes "
            "tables of their own",
        )
        for row in rows
        if row["prefix"] != site.settings.prefix
    ]


async def _bloat(site: Site) -> list[Finding]:
    return [
        Finding(
            "pg-bloat",
            Severity.WARNING,
            f"{row['name']} has {row['dead']:,} dead rows beside {row['live']:,} live ones; vacuum "
            + (
                f"last ended at {row['vacuumed_at']:%Y-%m-%d %H:%M}Z"
                if row["vacuumed_at"]
                else "has never ended"
            ),
            f"session-worker doctor --only pg-xmin,pg-vacuum; then: vacuum (analyze) {row['name']}",
        )
        for row in await site.database.call("table_health", table_names())
        if row["dead"] >= _LEAST_DEAD and row["dead"] > row["live"] * _DEAD_SHARE
    ]


async def _vacuum(site: Site) -> list[Finding]:
    rows = await site.database.call("table_health", table_names())
    found = []
    if off := [row["name"] for row in rows if not row["autovacuum"]]:
        found.append(
            Finding(
                "pg-vacuum",
                Severity.WARNING,
                f"autovacuum is off for {some(off)}: what is deleted or changed stays on disk",
                f"alter table {off[0]} reset (autovacuum_enabled); set autovacuum to on",
            )
        )
    found += [
        Finding(
            "pg-vacuum",
            Severity.ERROR if row["age"] >= _TOO_OLD_AGE else Severity.WARNING,
            f"{row['name']} has not been frozen for {row['age']:,} transactions: at 2,000,000,000 Postgres "
            "takes no more changes",
            f"session-worker doctor --only pg-xmin,pg-idle-tx,pg-slots; then: vacuum (freeze) {row['name']}",
        )
        for row in rows
        if row["age"] >= _OLD_AGE
    ]
    return found


async def _hot(site: Site) -> list[Finding]:
    return [
        Finding(
            "pg-hot",
            Severity.WARNING,
            f"{row['updates_on_page'] / row['updates']:.0%} of {row['updates']:,} updates of requests stayed "
            f"on their page, where {_HOT_SHARE:.0%} should: each of the others changes every index",
            "drop indexes of your own on columns of requests that change; fillfactor is 30 as the migration "
            "sets it; select pg_stat_reset_single_table_counters('requests'::regclass) counts anew",
        )
        for row in await site.database.call("table_health", ["requests"])
        if row["updates"] >= _LEAST_UPDATES and row["updates_on_page"] < row["updates"] * _HOT_SHARE
    ]


async def _growth(site: Site) -> list[Finding]:
    (row,) = await site.database.call("growth", table_names(), _MOST_COUNTED)
    if not row["newest"] or not row["requests"] or row["bytes"] < _LEAST_BYTES:
        return []
    seconds = _DAY_SECONDS if row["newest"] < _MOST_COUNTED else max(1.0, row["seconds"])
    a_day = row["bytes"] / row["requests"] * row["newest"] * _DAY_SECONDS / seconds
    if a_day * _DOUBLES_DAYS < row["bytes"]:
        return []
    return [
        Finding(
            "disk-growth",
            Severity.WARNING,
            f"the tables have {size(row['bytes'])}, and {size(a_day)} come in a day: they will be twice "
            f"as large in {span(row['bytes'] / a_day * _DAY_SECONDS)}",
            "compare it with the disk: session-worker retention status; a shorter WORKER_RETENTION_DAYS "
            f"(now {site.settings.retention_days:g}; 0 is for ever), or a larger disk",
        )
    ]


_TABLES = frozenset({Need.POSTGRES, Need.TABLES})
CHECKS: tuple[Check, ...] = (
    Check(
        "pg-schema",
        Part.POSTGRES,
        Severity.ERROR,
        "indexes and triggers that are missing, invalid or disabled; migrations newer than this version",
        _TABLES,
        _schema,
    ),
    Check(
        "pg-rights",
        Part.POSTGRES,
        Severity.ERROR,
        "rights that a worker needs and this role lacks; a role that has too many",
        _TABLES,
        _rights,
    ),
    Check(
        "prefix-shared",
        Part.POSTGRES,
        Severity.ERROR,
        "live workers of another prefix on these tables",
        _TABLES,
        _prefixes,
    ),
    Check(
        "pg-vacuum",
        Part.POSTGRES,
        Severity.ERROR,
        "autovacuum that is off, or too far behind",
        _TABLES,
        _vacuum,
    ),
    Check(
        "pg-bloat", Part.POSTGRES, Severity.WARNING, "half as many dead rows as live ones", _TABLES, _bloat
    ),
    Check(
        "pg-hot",
        Part.POSTGRES,
        Severity.WARNING,
        "fewer than 90 % of the updates of requests stay on their page",
        _TABLES,
        _hot,
    ),
    Check(
        "disk-growth",
        Part.POSTGRES,
        Severity.WARNING,
        "tables that double within a week; free space is unknown to Postgres",
        _TABLES,
        _growth,
    ),
)
