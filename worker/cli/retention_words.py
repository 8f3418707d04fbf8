"""What the commands have in common that delete what is old: count, say so, ask, and delete."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import timedelta

from worker.cli import exits
from worker.cli.asking import may_go_on
from worker.cli.long_works import audit_options, progress, rate_option
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit, say
from worker.cli.steering import say_lines
from worker.operations import retention
from worker.operations.retention import Old

_USUAL_RATE = 2_000.0
_Report = Callable[[Old], None]


def age(text: str) -> timedelta:
    """Read how long ago something has to be, as 12h or 7d."""
    try:
        return retention.age(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None


def deletion_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say how many could go, and delete nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before deleting")
    rate_option(parser, _USUAL_RATE)
    audit_options(parser, reason_required=False)
    json_option(parser)
    wait_option(parser, 10)


async def deleted(
    options: argparse.Namespace,
    *,
    what: str,
    count: Callable[[_Report], Awaitable[Old]],
    delete: Callable[[_Report], Awaitable[Old]],
    in_words: Callable[[Old], str],
) -> int:
    """Count what may go, say so, ask, and delete it; show how far that is."""
    with progress() as tell:
        old = await count(lambda now: tell(f"{now.looked:,} looked at, {now.gone:,} may go"))
    if options.dry_run or not (old.gone or old.months):
        _tell(options, old, Old(), in_words(old))
        return exits.OK
    say(in_words(old))
    if not await may_go_on(options, "Delete them?"):
        return exits.OK
    done = Old()
    try:
        with progress() as tell:

            def report(now: Old) -> None:
                nonlocal done
                done = now
                tell(f"{now.gone:,} of {old.gone:,} deleted")

            done = await delete(report)
    except BaseException:
        say(f"{done.gone:,} were deleted before the end: to go on, say the same again")
        raise
    _tell(options, old, done, f"{done.gone:,} {what} were deleted")
    return exits.OK


def _tell(options: argparse.Namespace, old: Old, done: Old, words: str) -> None:
    if options.json:
        months = {"months": done.months or old.months} if old.months else {}
        emit({"could_go": old.gone, "kept": old.kept, "deleted": done.gone, **months})
    else:
        say_lines(words)
