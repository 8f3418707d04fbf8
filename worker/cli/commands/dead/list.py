"""`session-worker dead list`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.dead_letters import filter_of, filter_options, table_of
from worker.cli.exits import CommandError
from worker.cli.looking import looked_up
from worker.cli.options import csv_option, json_option, positive, wait_option
from worker.cli.output import emit, say
from worker.cli.record_tables import at
from worker.cli.tables import grid, people, plain
from worker.operations import dead_letters
from worker.operations.dead_letters import Group, Listed, Page

EXAMPLES = """\
  session-worker dead list
  session-worker dead list --group app
  session-worker dead list --group none --app billing-exporter --since 1h
  session-worker dead list --state dropped
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--group", choices=("reason", "app", "field", "hour", "none"), default="reason",
        help="what those in a group have in common (default reason); none: one by one, the newest first",
    )  # fmt: skip
    parser.add_argument(
        "--state", choices=("kept", "replayed", "dropped"), default="kept", help="default kept"
    )
    filter_options(parser)
    parser.add_argument(
        "--limit", type=positive, default=50, metavar="N", help="show so many at most (default 50)"
    )
    csv_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.csv and options.json:
        raise CommandError(exits.USAGE, "say --csv or --json: which of them is wanted")
    return event_loop.run(_list(options))


async def _list(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        which = await filter_of(database, options, options.state)
        if options.group == "none":
            page = await database.look(
                lambda: dead_letters.page(database, which, options.limit), options.wait
            )
            _show_page(options, page)
        else:
            groups = await database.look(
                lambda: dead_letters.groups(database, which, options.group), options.wait
            )
            _show_groups(options, groups)
        kept = await database.look(
            lambda: dead_letters.count(database, max(1, settings.max_dead_letters)), options.wait
        )
    if not options.json and not options.csv:
        _say_how_full(kept, settings.max_dead_letters, f"{settings.prefix}.dead")
    return exits.OK


def _show_groups(options: argparse.Namespace, groups: list[Group]) -> None:
    if options.csv:
        rows = [(*group[:4], " ".join(group.apps), str(group.example)) for group in groups]
        print_csv(Group._fields, rows)
    elif options.json:
        for group in groups:
            emit(group._asdict())
    elif groups:
        people().print(table_of(groups[: options.limit], options.group))
        if len(groups) > options.limit:
            say(f"{len(groups) - options.limit} groups more: --limit shows them")
    else:
        print(f"no message that is {options.state} matches")


def _show_page(options: argparse.Namespace, page: Page) -> None:
    if options.csv:
        print_csv(Listed._fields, [[_cell(value) for value in letter] for letter in page.letters])
    elif options.json:
        for letter in page.letters:
            emit(letter._asdict())
    elif page.letters:
        table = grid("", "message", "here since", "from", "bytes", "reason", wrap=["from", "reason"])
        for letter in page.letters:
            table.add_row(
                str(letter.id)[:8], at(letter.died_at)[:19], plain(letter.app_id or ""), f"{letter.size:,}",
                plain(letter.kind),
            )  # fmt: skip
        people().print(table)
        if page.found > len(page.letters):
            say(f"{page.found:,} match; {len(page.letters)} shown: --limit or --until shows others")
    else:
        print(f"no message that is {options.state} matches")


def _cell(value: object) -> object:
    return (
        value if value is None or isinstance(value, int | str) or hasattr(value, "isoformat") else str(value)
    )


def _say_how_full(kept: int, most: int, queue: str) -> None:
    if not most:
        print(f"custody is off (WORKER_MAX_DEAD_LETTERS=0): dead letters stay in {queue}")
    elif kept >= most:
        print(f"custody is full, {kept:,} of {most:,}: further dead letters stay in {queue}")
    else:
        print(f"custody holds {kept:,} of {most:,}")
