"""`session-worker retention run`."""

import argparse
from datetime import timedelta

from worker.cli import event_loop
from worker.cli.looking import looked_up
from worker.cli.retention_words import age, deleted, deletion_options
from worker.cli.sizes import size
from worker.operations import retention
from worker.operations.retention import Old, Status

EXAMPLES = """\
  session-worker retention run --older 7d --dry-run
  session-worker retention run --older 7d --reason "the disk"

What workers delete after WORKER_RETENTION_DAYS, earlier: finished requests,
with history and attempts, some at a time. Sessions stay. A request that comes
again later is a conflict if it has a session, and new if it failed. Postgres
uses the room again; it gives none back to the disk by itself. The role of a
worker may do this, but deletes nothing younger than a day.
"""
_TABLES = ("requests", "recorded_transitions", "confirmed_leases", "attempts")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older", required=True, type=age, metavar="AGE", help="received and finished so long ago: 12h, 7d"
    )
    deletion_options(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(event_loop.until_signalled(_run(options)))


async def _run(options: argparse.Namespace) -> int:
    older = options.older
    async with looked_up(options) as (database, settings):
        await database.look(lambda: retention.require_age(database, older), options.wait)
        status = await database.look(lambda: retention.status(database, settings.lease_seconds), options.wait)
        return await deleted(
            options,
            what="requests",
            count=lambda report: retention.old_requests(database, older, report),
            delete=lambda report: retention.run(
                database, older, report, who=options.by, reason=options.reason, rate=options.rate
            ),
            in_words=lambda old: in_words(status, old, older),
        )


def in_words(status: Status, old: Old, older: timedelta) -> str:
    """Say what could go."""
    return (
        f"{old.gone:,} of {status.requests:,} requests are finished and older than {older}: about "
        f"{size(_bytes(status, old.gone))} with their history"
    )


def _bytes(status: Status, requests: int) -> float:
    size_of_all = sum(each.table_bytes + each.index_bytes for each in status.tables if each.name in _TABLES)
    return size_of_all * requests / max(status.requests, 1)
