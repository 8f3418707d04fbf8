"""Looks at what is kept beside requests: pauses, dead letters, and what should have been deleted."""

from worker.operations import dead_letters, steering
from worker.operations.doctor.finding import MOST_COUNTED, Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import at, count, some, span, word
from worker.operations.steering import PauseOnRecord

_DEAD_SECONDS = 60.0
_SESSION_DAYS = 90
_DAY_SECONDS = 86_400.0
_SHOWN = 3


async def _dead(site: Site) -> list[Finding]:
    rows = await site.database.call("long_dead", _DEAD_SECONDS, MOST_COUNTED)
    if not rows:
        return []
    groups = await dead_letters.groups(site.database, dead_letters.Filter(), "reason")
    told = "; ".join(f"{each.messages:,} {each.name[:60]}" for each in groups[:_SHOWN])
    number = sum(each.messages for each in groups)
    return [
        Finding(
            "dead-letters",
            Severity.WARNING,
            f"{count(number, 'message is', 'messages are')} in custody that nobody could read, the last one "
            f"since {span(rows[0]['seconds'])}: {told}",
            "session-worker dead list; then mend the producer, and: session-worker dead replay … --dry-run, "
            "or session-worker dead drop … --because REASON",
        )
    ]


async def _custody(site: Site) -> list[Finding]:
    most = site.settings.max_dead_letters
    ((kept,),) = await site.database.call("count_dead_letters", most)
    if not most or kept < most:
        return []
    return [
        Finding(
            "custody-full",
            Severity.WARNING,
            f"{kept:,} dead letters are in custody, and {most:,} may be: further ones stay in "
            f"{site.settings.prefix}.dead",
            "session-worker dead list, and replay or drop some; or a higher WORKER_MAX_DEAD_LETTERS",
        )
    ]


async def _retention(site: Site) -> list[Finding]:
    settings = site.settings
    kept = {
        "requests": ("finished requests", "WORKER_RETENTION_DAYS", settings.retention_days),
        "dead_letters": ("dead letters", "WORKER_DEAD_LETTER_DAYS", settings.dead_letter_days),
        "audit": ("rows of the audit", "WORKER_AUDIT_DAYS", settings.audit_days),
    }
    limits = [(days + 1) * _DAY_SECONDS if days else None for _, _, days in kept.values()]
    (row,) = await site.database.call("retention_behind", *limits, MOST_COUNTED)
    return [
        Finding(
            "retention-behind",
            Severity.WARNING,
            f"{what} older than {variable} ({days:g}) and a day are still there: {row[name]:,}"
            + ("+" if row[name] >= MOST_COUNTED else ""),
            "session-worker workers: retention runs in each of them; an unfinished one that old is told by "
            "stuck-requests; session-worker retention status",
        )
        for name, (what, variable, days) in kept.items()
        if row[name]
    ]


async def _sessions(site: Site) -> list[Finding]:
    ((seconds, about),) = await site.database.call("oldest_session")
    if seconds is None or seconds < _SESSION_DAYS * _DAY_SECONDS:
        return []
    number = f" of about {about:,}" if about > 0 else ""
    return [
        Finding(
            "sessions-for-ever",
            Severity.NOTE,
            f"the oldest session{number} is {span(seconds)} old: nothing deletes sessions",
            f"session-worker retention sessions --ended-before {_SESSION_DAYS}d --dry-run, if you may",
        )
    ]


async def _months(site: Site) -> list[Finding]:
    ((missing, outside),) = await site.database.call("session_months_missing", MOST_COUNTED)
    found = []
    if missing:
        found.append(f"there is no table for the sessions of {some(missing)}")
    if outside:
        more = "+" if outside >= MOST_COUNTED else ""
        found.append(
            f"{outside:,}{more} sessions are in sessions_other: their month was not there when they came, or "
            "a worker's clock was wrong"
        )
    return [
        Finding(
            "session-months",
            Severity.WARNING,
            f"{what}; such sessions are not dropped as a whole",
            "session-worker migrate; workers do the same every hour: their logs have service.failed, if the "
            "owner of the tables may make none. What stays in no month, session-worker retention sessions "
            "deletes one by one",
        )
        for what in found
    ]


async def _paused(site: Site) -> list[Finding]:
    return [
        Finding(
            "paused",
            Severity.NOTE,
            f"{_paused_thing(each)} paused by {each.pause.paused_by} since {at(each.pause.paused_at)}, "
            + (f"until {at(each.pause.ends_at)}" if each.pause.ends_at else "until somebody resumes it")
            + f": {each.pause.reason}",
            f"session-worker resume{_resumed_by(each)}",
        )
        for each in await steering.pauses(site.database)
    ]


def _paused_thing(found: PauseOnRecord) -> str:
    match found.pause.scope:
        case "all":
            return "everything is"
        case "org":
            return f"the organisation {found.pause.name} is"
        case "worker":
            return f"the worker {found.place or found.pause.name} is"


def _resumed_by(found: PauseOnRecord) -> str:
    match found.pause.scope:
        case "all":
            return ""
        case "org":
            return f" --org {word(found.pause.name)}"
        case "worker":
            return f" --worker {word(found.place or found.pause.name)}"


_TABLES = frozenset({Need.POSTGRES, Need.TABLES})
CHECKS: tuple[Check, ...] = (
    Check(
        "dead-letters",
        Part.REQUESTS,
        Severity.WARNING,
        "dead letters in custody for more than a minute, by reason",
        _TABLES,
        _dead,
    ),
    Check(
        "custody-full",
        Part.REQUESTS,
        Severity.WARNING,
        "as many dead letters are in custody as may (`WORKER_MAX_DEAD_LETTERS`)",
        _TABLES,
        _custody,
    ),
    Check(
        "retention-behind",
        Part.REQUESTS,
        Severity.WARNING,
        "requests, dead letters or rows of the audit that should have been deleted a day ago",
        _TABLES,
        _retention,
    ),
    Check(
        "sessions-for-ever",
        Part.REQUESTS,
        Severity.NOTE,
        "sessions older than 90 days, which nothing deletes",
        _TABLES,
        _sessions,
    ),
    Check(
        "session-months",
        Part.REQUESTS,
        Severity.WARNING,
        "a month that sessions come into and that has no table, or sessions that are in none",
        _TABLES,
        _months,
    ),
    Check(
        "paused",
        Part.REQUESTS,
        Severity.NOTE,
        "what is paused: by whom, since when, until when",
        _TABLES,
        _paused,
    ),
)
