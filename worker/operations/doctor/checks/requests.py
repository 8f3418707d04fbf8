"""Looks at the requests on record: whether each goes on, and whether it was answered."""

from worker.operations import steering
from worker.operations.doctor.finding import MOST_COUNTED, Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, some, span, word

_OVERDUE_SECONDS = 10.0
_LEASES = 3  # so many lease times after the end of its lease somebody should have taken a request over
_UNANSWERED_SECONDS = 60.0
_GIVEN_UP_SECONDS, _GIVEN_UP_WITHIN_SECONDS = 300.0, 3_600.0
_WAITING_SECONDS = 600.0
_LOST_LINE_SECONDS = 30.0
_NEWEST = 50_000
_SHOWN = 3


async def _overdue(site: Site) -> list[Finding]:
    if any(each.pause.scope == "all" for each in await steering.pauses(site.database)):
        return []  # which is told by itself, and holds them back as it should
    ((due, overdue),) = await site.database.call("due_now", MOST_COUNTED)
    if overdue <= _OVERDUE_SECONDS:
        return []
    return [
        Finding(
            "retries-overdue",
            Severity.ERROR,
            f"{count(due, 'retry is', 'retries are')} due and nobody has begun "
            f"{'it' if due == 1 else 'them'}, the oldest for {span(overdue)}",
            "session-worker workers: if none lives, start one; if all are at their limit of calls, a higher "
            "WORKER_HANDLER_CONCURRENCY or more workers, once what the handler calls is well",
        )
    ]


async def _stuck(site: Site) -> list[Finding]:
    lease = site.settings.lease_seconds
    ((lost, forgotten, seconds),) = await site.database.call("stuck", lease * _LEASES)
    found = []
    if forgotten:
        them = "it" if forgotten == 1 else "them"
        found.append(
            Finding(
                "stuck-requests",
                Severity.ERROR,
                f"{count(forgotten, 'request is', 'requests are')} under a lease that ran out "
                f"{span(seconds)} ago, and nobody has taken {them} over (a lease is {lease:g} s)",
                "session-worker workers: if none lives, start one; else their logs have recovery.failed",
            )
        )
    if lost:
        rows = await site.database.call("lost_requests", _NEWEST, _SHOWN)
        ids = [str(row["request_id"]) for row in rows]
        found.append(
            Finding(
                "stuck-requests",
                Severity.ERROR,
                f"{count(lost, 'request is', 'requests are')} unfinished, and no lease, no time and no line "
                "holds "
                + ("it" if lost == 1 else "them")
                + (f": {', '.join(ids)}" if ids else "")
                + ". Somebody deleted leases, or rows by hand",
                f"session-worker requests cancel {ids[0] if ids else 'ID'} --because lost answers its "
                "requester; session-worker requests retry with the same id then does it anew",
            )
        )
    return found


async def _unanswered(site: Site) -> list[Finding]:
    waiting = await site.database.call("long_unanswered", MOST_COUNTED, _UNANSWERED_SECONDS)
    found = [
        Finding(
            "unanswered",
            Severity.WARNING,
            f"{count(row['number'], 'response waits', 'responses wait')} on record for "
            f"{_queue(site, row['queue'])} ({row['state']}), the oldest for {span(row['seconds'])}",
            "start what reads that queue, or give it room; they are sent by themselves then. Elsewhere: "
            f"session-worker requests resend --response {row['state']} --to QUEUE",
        )
        for row in waiting[:_SHOWN]
    ]
    rows = await site.database.call("given_up", _NEWEST, _GIVEN_UP_WITHIN_SECONDS, _GIVEN_UP_SECONDS)
    for row in rows[:_SHOWN]:
        state, queue = row["state"], _queue(site, row["queue"])
        remedy = f"session-worker requests resend {row['example']}"
        if state:
            remedy = (
                f"session-worker requests resend --response {state} --since 1h, once the queue is there; "
                "requesters that are gone for good need nothing"
            )
        found.append(
            Finding(
                "unanswered",
                Severity.WARNING,
                f"{count(row['number'], 'response')} of the last hour for {queue} went to nobody "
                f"({state or 'never sent'}), and nothing will be done by itself; one is of the request "
                f"{row['example']}",
                remedy,
            )
        )
    return found


def _queue(site: Site, reply_to: str) -> str:
    return reply_to or f"{site.settings.prefix}.responses"


async def _line(site: Site) -> list[Finding]:
    """Find lines that nobody will look at: there is no row for them, or it sleeps though nothing holds it."""
    rows = await site.database.call("long_in_line", _NEWEST, _LOST_LINE_SECONDS)
    found = []
    for row in rows:
        if row["has_line"] and not (row["asleep"] and row["asleep_for"] in ("paused", "not_before")):
            continue
        org = f"--org {word(row['org'])} " if row["org"] else ""
        why = f"asleep ({row['asleep_for']}) though nothing holds it" if row["has_line"] else "gone"
        found.append(
            Finding(
                "waiting-lost",
                Severity.ERROR,
                f"{count(row['number'], 'request')} of {row['org'] or 'no organisation'} could have begun "
                f"{span(row['seconds'])} ago, and nobody looks at them: their line is {why}",
                f'session-worker pause {org}--reason "its line", then session-worker resume {org}'
                "wakes a line; one that is gone comes back with the next request of the organisation that "
                "waits meanwhile",
            )
        )
    return found[:_SHOWN]


async def _long(site: Site) -> list[Finding]:
    rows = [
        row
        for row in await site.database.call("long_in_line", _NEWEST, _WAITING_SECONDS)
        if row["has_line"] and not row["asleep"]
    ]
    if not rows:
        return []
    orgs = [row["org"] or "(none)" for row in rows]
    return [
        Finding(
            "waiting-long",
            Severity.WARNING,
            f"{count(sum(row['number'] for row in rows), 'request')} could have begun long ago, the first "
            f"{span(rows[0]['seconds'])} ago, and no pause or limit holds them back "
            f"({', '.join(sorted({row['reason'] for row in rows}))}): {some(orgs)}",
            "session-worker workers: are all at their limit of calls, or is the breaker open? More calls "
            "(WORKER_HANDLER_CONCURRENCY) or more workers; session-worker limits set ORG --running N for "
            "one that floods",
        )
    ]


async def _full(site: Site) -> list[Finding]:
    most = site.settings.max_waiting
    waiting = sum(row["waiting"] for row in await site.database.call("count_waiting", most + 1))
    if not most or waiting < most:
        return []
    return [
        Finding(
            "waiting-full",
            Severity.WARNING,
            f"{waiting:,} requests wait in Postgres, and {most:,} may: the others stay in the queue, where "
            "they are served in the order of their arrival",
            "session-worker orgs shows whose they are; a higher WORKER_MAX_WAITING if the disk allows it",
        )
    ]


_TABLES = frozenset({Need.POSTGRES, Need.TABLES})
CHECKS: tuple[Check, ...] = (
    Check(
        "retries-overdue",
        Part.REQUESTS,
        Severity.ERROR,
        "put-off requests that have been due for more than 10 s",
        _TABLES,
        _overdue,
    ),
    Check(
        "stuck-requests",
        Part.REQUESTS,
        Severity.ERROR,
        "unfinished requests that nothing holds, or that a lease holds which ran out 3 lease times ago",
        _TABLES,
        _stuck,
    ),
    Check(
        "waiting-lost",
        Part.REQUESTS,
        Severity.ERROR,
        "waiting requests whose line nobody looks at",
        _TABLES,
        _line,
    ),
    Check(
        "waiting-long",
        Part.REQUESTS,
        Severity.WARNING,
        "requests that could have begun 10 minutes ago, without a pause or a limit",
        _TABLES,
        _long,
    ),
    Check(
        "waiting-full",
        Part.REQUESTS,
        Severity.WARNING,
        "as many wait as may (`WORKER_MAX_WAITING`)",
        _TABLES,
        _full,
    ),
    Check(
        "unanswered",
        Part.REQUESTS,
        Severity.WARNING,
        "responses that wait for a queue for more than a minute, or were given up within the hour",
        _TABLES,
        _unanswered,
    ),
)
