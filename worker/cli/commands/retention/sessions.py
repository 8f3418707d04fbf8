"""`session-worker retention sessions`."""

import argparse
from datetime import UTC, datetime

from worker.cli import event_loop
from worker.cli.looking import looked_up
from worker.cli.record_tables import at
from worker.cli.retention_words import age, deleted, deletion_options
from worker.operations import retention
from worker.operations.ownership import require_owner
from worker.operations.retention import Old

EXAMPLES = """\
  session-worker retention sessions --ended-before 90d --dry-run
  session-worker retention sessions --ended-before 90d --reason "our rule"

Deletes sessions that became completed so long ago. One whose request is still
on record stays until that is deleted. A request that comes again after that
is a new one, and makes a session anew. DATABASE_URL has to be that of the
owner of the tables; a dry run needs no more than a worker's role.
All sessions are read, some at a time.
"""


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
            await database.look(lambda: require_owner(database, retention.DELETES_SESSIONS), options.wait)
        return await deleted(
            options,
            what="sessions",
            count=lambda report: retention.ended_sessions(database, before, report),
            delete=lambda report: retention.retire_sessions(
                database, before, report, who=options.by, reason=options.reason, rate=options.rate
            ),
            in_words=lambda old: in_words(old, before),
        )


def in_words(old: Old, before: datetime) -> str:
    """Say what could go."""
    kept = f"; {old.kept:,} more stay, since their requests are on record" if old.kept else ""
    return f"{old.gone:,} sessions ended before {at(before)[:16]} and can go{kept}"
