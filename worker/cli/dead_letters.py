"""What the subcommands of `dead` have in common: which messages are meant, and whether to go on."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.filter_options import moment_or_time_ago
from worker.cli.lookup_database import LookupDatabase
from worker.cli.options import encodable, words
from worker.cli.output import emit, say
from worker.cli.record_tables import at
from worker.cli.steering import by_option
from worker.cli.tables import bystanders, grid, plain
from worker.operations import dead_letters, search
from worker.operations.dead_letters import Filter, Group, State
from worker.operations.search import MOST_FOUND, SHORTEST

_MOST_GROUPS = 10  # that a preview shows


def filter_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "filters", "which messages: all that is given has to be true"
    ).add_argument
    add("--app", type=encodable, metavar="APP", help="this application sent it (its app_id)")
    add("--user", type=encodable, metavar="USER", help="this user of the broker sent it")
    add(
        "--reason", type=encodable, metavar="TEXT",
        help="this is part of the reason why it is here, or of its body's shape",
    )  # fmt: skip
    add(
        "--like", type=encodable, metavar="ID",
        help="it is in the same group as this one, as `dead list` shows them",
    )  # fmt: skip
    add(
        "--since", type=moment_or_time_ago, metavar="TIME", help="here since then or later: a time, or 1h, 2d"
    )
    add("--until", type=moment_or_time_ago, metavar="TIME", help="here since before that")


def selection_options(parser: argparse.ArgumentParser, *, reason_required: bool = False) -> None:
    """Add what names the messages to act on, and what is noted about it."""
    parser.add_argument(
        "ids", nargs="*", type=encodable, metavar="ID",
        help=f"messages, by the first {SHORTEST} characters or more of their id or their request's; else use "
        "filters",
    )  # fmt: skip
    filter_options(parser)
    parser.add_argument("--all", action="store_true", help="all messages in custody")
    parser.add_argument(
        "--because", dest="why", type=words, required=reason_required, metavar="TEXT",
        help="why you do it; the audit keeps it",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before acting")
    by_option(parser)


async def filter_of(
    database: LookupDatabase, options: argparse.Namespace, state: State = "kept", ids: Sequence[str] = ()
) -> Filter:
    """Read the filter of the options; ids that name none or several end the command."""
    like = None
    if options.like is not None:
        (example,) = await database.look(lambda: _about(database, options.like), options.wait)
        like = example.kind
    return Filter(
        state=state,
        ids=tuple([await the_one(database, text, options.wait) for text in ids]) or None,
        app=options.app,
        user=options.user,
        kind=like,
        part=options.reason,
        since=options.since,
        until=options.until,
    )


async def selected(
    database: LookupDatabase, options: argparse.Namespace, state: State = "kept"
) -> tuple[Filter, list[UUID]]:
    """Freeze the selection that the options name. Nothing at all is named by --all alone."""
    which = await filter_of(database, options, state, options.ids)
    if which.is_open != options.all:
        trouble = (
            "--all goes with no ID and no filter" if options.all else "say which: IDs, filters, or --all"
        )
        raise CommandError(exits.USAGE, trouble)
    ids = await database.look(lambda: dead_letters.select(database, which), options.wait)
    if not ids:
        raise CommandError(exits.FAILED, f"no message that is {state} matches")
    return which, ids


async def the_one(database: LookupDatabase, text: str, wait_seconds: float) -> UUID:
    """Find the one message that has this id; where several do, list them and raise."""
    found = await database.look(lambda: search.dead_letters(database, text), wait_seconds)
    if not found:
        raise CommandError(
            exits.FAILED,
            f"no message {text} is in custody: it is still in its queue, or was deleted as old; of an id the "
            f"first {SHORTEST} characters are needed",
        )
    if len(found) > 1:
        some = len(found) if len(found) <= MOST_FOUND else f"more than {MOST_FOUND}"
        listed = "\n".join(f"  {each}" for each in found[:MOST_FOUND])
        raise CommandError(exits.USAGE, f"{some} messages match {text}: give the id of one of them\n{listed}")
    return found[0]


async def preview(database: LookupDatabase, which: Filter, options: argparse.Namespace, number: int) -> None:
    """Show on stderr what was selected, by reason."""
    groups = await database.look(lambda: dead_letters.groups(database, which, "reason"), options.wait)
    if not options.json:
        bystanders().print(table_of(groups[:_MOST_GROUPS], "reason"))
    more = f", in {len(groups)} groups" if len(groups) > _MOST_GROUPS else ""
    oldest = at(min(group.first_at for group in groups))[:19]
    say(f"{number:,} message{'s' * (number != 1)}{more}, the oldest of {oldest}")


def agreed(options: argparse.Namespace, question: str) -> bool:
    """Ask whether to go on. Without a terminal only --yes does."""
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise CommandError(exits.USAGE, "nobody is here to say yes: add --yes, or --dry-run to look only")
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def table_of(groups: Sequence[Group], name: str) -> Any:  # noqa: ANN401 — a table of rich
    table = grid("", name, "messages", "first", "last", "from", "example", wrap=[name, "from"])
    for group in groups:
        table.add_row(
            plain(group.name or "(none)"),
            f"{group.messages:,}",
            at(group.first_at)[5:19],
            at(group.last_at)[5:19],
            plain(", ".join(group.apps)),
            str(group.example)[:8],
        )
    return table


def told(
    options: argparse.Namespace, done: str, touched: Sequence[UUID], selected: int, then: str = ""
) -> int:
    """Say how many were touched, and of how many; the exit code says whether it was all of them."""
    if options.json:
        emit({"done": done, "messages": len(touched), "selected": selected})
    else:
        left = selected - len(touched)
        others = f"; {left:,} were no longer there to be: somebody else was quicker" if left else ""
        print(f"{len(touched):,} {done}{others}{then if touched else ''}")
    return exits.OK if touched else exits.FAILED


async def _about(database: LookupDatabase, text: str) -> list[dead_letters.Listed]:
    found = await search.dead_letters(database, text)
    for state in ("kept", "replayed", "dropped"):
        letters = (await dead_letters.page(database, Filter(state=state, ids=tuple(found)), 1)).letters
        if letters:
            return letters
    raise CommandError(exits.FAILED, f"no message {text} is in custody")
