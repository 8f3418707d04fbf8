"""`session-worker retention sessions`."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from worker.cli import event_loop
from worker.cli.looking import looked_up
from worker.cli.record_tables import at
from worker.cli.retention_words import age, deleted, deletion_options
from worker.operations import old_sessions
from worker.operations.old_sessions import Month
from worker.operations.ownership import require_owner
from worker.operations.retention import Old

EXAMPLES = """\
  session-worker retention sessions --ended-before 90d --dry-run
  session-worker retention sessions --ended-before 90d --reason "our rule"

Deletes sessions that became completed so long ago. Sessions are kept by the
month of their ids: a month goes as a whole, at once, when all of it ended so
long ago and none of its requests is on record. Those from before there were
months go one by one. A request that comes again after that is a conflict.
DATABASE_URL has to be that of the owner of the tables; a dry run needs no more
than a worker's role.
"""
_KEPT_BY = {
    "active": "some of its sessions are active",
    "young": "some of its sessions ended later",
    "on record": "requests of it are on record",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ended-before", required=True, type=age, metavar="AGE", help="how long ago they ended: 90d"
    )
    deletion_options(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(event_loop.until_signalled(_sessions(options)))


async def _sessions(options: argparse.Namespace) -> int:
    before = datetime.now(UTC) - options.ended_before
    async with looked_up(options) as (database, _):
        if not options.dry_run:
            await database.look(lambda: require_owner(database, old_sessions.DELETES_SESSIONS), options.wait)
        months = await database.look(lambda: old_sessions.months(database, before), options.wait)
        return await deleted(
            options,
            what="sessions",
            count=lambda report: old_sessions.count(database, before, report),
            delete=lambda report: old_sessions.retire(
                database, before, report, who=options.by, reason=options.reason, rate=options.rate
            ),
            in_words=lambda old: in_words(old, before, months),
        )


def in_words(old: Old, before: datetime, months: Sequence[Month]) -> str:
    """Say what could go."""
    about = "about " if old.months else ""
    kept = f"; {old.kept:,} more stay, since their requests are on record" if old.kept else ""
    lines = [f"{about}{old.gone:,} sessions ended before {at(before)[:16]} and can go{kept}"]
    for month in months:
        fate = f"stays: {_KEPT_BY[month.kept_by]}" if month.kept_by else "goes as a whole"
        lines.append(f"{month.name}, about {month.rows:,} sessions, {fate}")
    return "\n".join(lines)
