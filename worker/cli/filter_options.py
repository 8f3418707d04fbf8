"""The options that name requests, alike for every command that acts on many."""

import argparse
from datetime import datetime
from uuid import UUID

from worker.cli.options import encodable, positive_up_to
from worker.operations import filters
from worker.operations.filters import CODES, DELIVERED, MOST_LISTED, SORTS, STATES, Filter, Page

_MOST_ATTEMPTS = 1_000_000


def filter_options(parser: argparse.ArgumentParser) -> None:
    """Add all filters; what several of them say has to be true of a request at once."""
    add = parser.add_argument_group(
        "filters", "which requests: all that is given has to be true"
    ).add_argument
    add("--org", type=encodable, metavar="ORG", help="of this organisation (its org_id)")
    add("--user", type=encodable, metavar="USER", help="of this user (its user_id)")
    add("--status", choices=STATES, help="where it stands")
    add("--code", choices=CODES, metavar="CODE", help="why it failed, as its response says")
    add(
        "--reason",
        type=encodable,
        metavar="TEXT",
        help="this is part of the reason why it, or its last attempt, failed",
    )
    add(
        "--worker",
        type=encodable,
        metavar="ID|HOST:PID",
        help="this worker had it last",
    )
    add(
        "--build",
        type=encodable,
        metavar="BUILD",
        help="a worker with this build of the handler had it last",
    )
    add("--session", type=encodable, metavar="ID", help="it has this session")
    add("--correlation", type=encodable, metavar="ID", help="it was sent with this correlation id")
    add("--reply-to", type=encodable, metavar="QUEUE", help="its response goes to this queue")
    add("--response", choices=DELIVERED, help="what the broker said of its response last")
    add("--attempt", type=positive_up_to(_MOST_ATTEMPTS), metavar="N", help="it has had N attempts, or more")
    add("--since", type=moment_or_time_ago, metavar="TIME", help="received then or later: a time, or 1h, 2d")
    add("--until", type=moment_or_time_ago, metavar="TIME", help="received before")


def page_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sort", choices=SORTS, default="received", help="the last, or longest, come first")
    parser.add_argument(
        "--limit",
        type=positive_up_to(MOST_LISTED),
        default=50,
        metavar="N",
        help="show so many at most (default 50)",
    )
    parser.add_argument("--after", type=UUID, metavar="REQUEST_ID", help="go on after this one")


def filter_of(options: argparse.Namespace) -> Filter:
    return Filter(**{name: getattr(options, name) for name in Filter._fields})


def page_of(options: argparse.Namespace) -> Page:
    return Page(sort=options.sort, limit=options.limit, after=options.after)


def moment_or_time_ago(text: str) -> datetime:
    """Read a time as the headers of a request have it, or how long ago it is, as 30m, 2h or 1d."""
    try:
        return filters.moment_or_time_ago(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
