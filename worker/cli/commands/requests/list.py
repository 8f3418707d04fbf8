"""`session-worker requests list`."""

import argparse
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.exits import CommandError
from worker.cli.filter_options import filter_of, filter_options, page_of, page_options
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.tables import coloured, grid, people, plain, took
from worker.operations import listing
from worker.operations.filters import Filter
from worker.operations.listing import GoneError, Listed, Listing

EXAMPLES = """\
  session-worker requests list --org org-7 --status failed --since 1h
  session-worker requests list --reason "rooms answered 503" --json
  session-worker requests list --status waiting --limit 200
  session-worker requests list --since 2026-11-24 --until 2026-11-25 --csv
  session-worker requests list --code timeout --after REQUEST_ID

The last received come first, of 5,000 that are looked at (1,250 with --reason).
Where more have to be looked through, as for a rare --reason, --after goes on
behind them; the orders of --sort are those of what was looked at.

Where there is little room, ids are cut: their beginning is enough for the other
commands. What failed then has its code in the place of its status.
"""
_GROUPS_SHOWN = 5
_DAY_SECONDS = 86_400
_WIDE = 130  # columns, for all that is shown of a request
_SHORT_ID = 18  # characters: enough for commands, also of ids that begin with the time


def arguments(parser: argparse.ArgumentParser) -> None:
    filter_options(parser)
    page_options(parser)
    json_option(parser)
    csv_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.json and options.csv:
        raise CommandError(exits.USAGE, "--json and --csv exclude each other")
    return event_loop.run(_list(options))


async def _list(options: argparse.Namespace) -> int:
    wanted = filter_of(options)
    async with looked_up(options) as (database, _):
        try:
            found = await database.look(
                lambda: listing.page(database, wanted, page_of(options)), options.wait
            )
        except GoneError as error:
            raise CommandError(exits.FAILED, str(error)) from None
    if options.json:
        for each in found.requests:
            emit(each._asdict())
        emit(listing.as_record(found))
    elif options.csv:
        print_csv(Listed._fields, found.requests)
    else:
        console = people()
        if not console.is_terminal:
            console.width = max(console.width, _WIDE)
        if found.requests:
            table = wide_table_of if console.width >= _WIDE else table_of
            console.print(table(found.requests, datetime.now(UTC)))
        for line in told(wanted, found):
            people().print(plain(line), soft_wrap=False)
    return exits.OK


def table_of(requests: list[Listed], now: datetime) -> Table:
    """Lay out a line for each in 80 columns: the code of what failed stands for its status."""
    table = grid("", "request", "status", "org", "received", "answer", cut=["org"])
    for each in requests:
        table.add_row(
            str(each.request_id)[:_SHORT_ID], _outcome(each), plain(each.org_id or ""),
            _moment(each.received_at, now), each.response,
        )  # fmt: skip
    return table


def wide_table_of(requests: list[Listed], now: datetime) -> Table:
    """Lay out a line for each, with all that there is room for."""
    table = grid(
        "", "request", "status", "code", "org", "att", "received", "took", "answer",
        cut=["code", "org", "answer"],
    )  # fmt: skip
    for each in requests:
        table.add_row(
            str(each.request_id), coloured(each.status), plain(each.code or ""), plain(each.org_id or ""),
            str(each.attempt), _moment(each.received_at, now), took(each.took_seconds), each.response,
        )  # fmt: skip
    return table


def _outcome(each: Listed) -> Text:
    return Text(each.code, style=coloured(each.status).style) if each.code else coloured(each.status)


def told(wanted: Filter, found: Listing) -> list[str]:
    """Say how many there are, where they go on, and what they have in common."""
    looked = found.more is not None and found.cut
    among = f" among the {found.looked:,} that were looked at" if looked else ""
    if found.number == 0:
        lines = [f"no request matches{among}"]
    elif found.exact:
        lines = [f"{found.number:,} match; {len(found.requests)} shown"]
    else:
        lines = [f"{found.number:,} match{among}, there may be more; {len(found.requests)} shown"]
    if found.more is not None:
        lines.append(f"go on: --after {found.more}")
    of = f" (of {listing.GROUPED:,})" if found.number > listing.GROUPED else ""
    lines += _groups(f"by reason{of}", found.reasons)
    lines += _groups(f"by build{of}", found.builds)
    if found.requests and wanted.status == "failed":
        lines.append(f"next: session-worker requests explain {found.requests[0].request_id}")
    return lines


def _groups(title: str, groups: list[tuple[str, int]]) -> list[str]:
    if not groups:
        return []
    shown = [f"{number:,} {name}" for name, number in groups[:_GROUPS_SHOWN]]
    rest = len(groups) - len(shown)
    return [f"{title}: {' · '.join(shown)}{f' · and {rest} more' if rest else ''}"]


def _moment(moment: datetime, now: datetime) -> str:
    text = at(moment)
    return text[11:19] if (now - moment).total_seconds() < _DAY_SECONDS else text[:10]
