"""`session-worker retention status`."""

import argparse
from datetime import timedelta

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.sizes import size
from worker.cli.steering import say_lines
from worker.cli.tables import grid, people
from worker.operations import retention
from worker.operations.retention import Kept, Old, Status, rules_as_record
from worker.settings import Settings

EXAMPLES = """\
  session-worker retention status
  session-worker retention status --json

Rows are about as many as Postgres counted last; those of requests are exact.
A day: what the rows of the last day take, or what a day would bring at the
rate of the newest 200,000. History and attempts go with their request.
"""
_SMALL = 10  # a table that has less than a part in so many thousand of the bytes is shown among the others
_MOST_COUNTED = 100_000


def arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_status(options))


async def _status(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        found = await database.look(lambda: retention.status(database, settings.lease_seconds), options.wait)
        days = found.retention_days[-1] if found.retention_days else settings.retention_days
        old = Old()
        if days:
            old = await database.look(
                lambda: retention.old_requests(database, timedelta(days=days), _quietly, _MOST_COUNTED),
                options.wait,
            )
    if options.json:
        for each in found.tables:
            emit(each._asdict())
        emit({"requests": found.requests, "could_go": old.gone, **rules_as_record(found, settings)})
        return exits.OK
    people().print(table_of(found.tables))
    say_lines(*in_words(found, old, settings))
    return exits.OK


def _quietly(_old: Old) -> None:
    pass


def table_of(tables: list[Kept]) -> Table:
    table = grid("", "table", "rows", "bytes", "indexes", "since", "a day")
    total = sum(each.table_bytes + each.index_bytes for each in tables)
    others: list[Kept] = []
    for each in tables:
        if each.since is None and (each.table_bytes + each.index_bytes) * 1000 < _SMALL * total:
            others.append(each)
            continue
        table.add_row(
            each.name, "" if each.rows is None else f"{each.rows:,}", size(each.table_bytes),
            size(each.index_bytes), at(each.since)[:10] if each.since else "",
            "" if each.day_bytes is None else size(each.day_bytes),
        )  # fmt: skip
    if others:
        table.add_row(f"{len(others)} others", "", *_sizes(others), "", "")
    grown = sum(each.day_bytes or 0 for each in tables)
    table.add_row("together", "", *_sizes(tables), "", size(grown))
    return table


def _sizes(tables: list[Kept]) -> tuple[str, str]:
    return size(sum(each.table_bytes for each in tables)), size(sum(each.index_bytes for each in tables))


def in_words(found: Status, old: Old, settings: Settings) -> list[str]:
    """Say by which rules things go, and what could go now."""
    if found.retention_days:
        rule = "finished requests: deleted after " + " or ".join(_days(each) for each in found.retention_days)
        rule += " (WORKER_RETENTION_DAYS of the live workers)"
    else:
        rule = (
            f"finished requests: deleted after {_days(settings.retention_days)} (WORKER_RETENTION_DAYS here; "
        )
        rule += "no worker lives)"
    more = " or more" if old.gone >= _MOST_COUNTED else ""
    least = timedelta(seconds=found.kept_at_least)
    return [
        rule,
        f"by that rule {old.gone:,}{more} could go now; only the owner deletes what is younger than {least}",
        f"audit: {_days(settings.audit_days)}; dead letters: {_days(settings.dead_letter_days)} (set here)",
        "sessions: kept for ever, unless you run `session-worker retention sessions`",
    ]


def _days(days: float) -> str:
    return f"{days:g} days" if days else "never"
