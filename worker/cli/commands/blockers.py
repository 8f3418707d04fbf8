"""`session-worker blockers`."""

import argparse

from rich.console import Group, RenderableType

from worker.cli import event_loop, exits
from worker.cli.asking import may_go_on
from worker.cli.exits import CommandError
from worker.cli.long_works import audit_options
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.steering import say_lines
from worker.cli.tables import bystanders, facts, people, took
from worker.operations import blockers
from worker.operations.blockers import Blocker

EXAMPLES = """\
  session-worker blockers
  session-worker blockers --terminate 4711 --reason "a forgotten psql"

Who holds a lock that statements of this installation wait for: its tables, or
whatever a worker waits for. Of the statement that it ran last only the first
words are shown, up to the first value. Exit code 1 if there is any.
--terminate ends such a connection, and so its transaction, which is rolled
back: it needs the same role, or pg_signal_backend. To see the transactions of
other roles, grant pg_read_all_stats.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--terminate", type=int, metavar="PID", help="end this connection, if it is one of those"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before ending it")
    audit_options(parser, reason_required=False)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_blockers(options))


async def _blockers(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, _):
        found = await database.look(lambda: blockers.blockers(database), options.wait)
        if options.terminate is None:
            return _show(found, options)
        blocker = next((each for each in found if each.pid == options.terminate != 0), None)
        if blocker is None:
            known = ", ".join(str(each.pid) for each in found if each.pid) or "nobody does"
            raise CommandError(
                exits.FAILED, f"pid {options.terminate} holds up nothing of ours, and is left alone ({known})"
            )
        bystanders().print(render([blocker]))
        if not await may_go_on(options, f"End {blocker.pid}, and roll back what it does?"):
            return exits.OK
        ended = await database.look(
            lambda: blockers.terminate(database, blocker, who=options.by, reason=options.reason), options.wait
        )
    if not ended:
        raise CommandError(
            exits.FAILED, f"pid {blocker.pid} was not ended: it has gone on, or is gone already"
        )
    if options.json:
        emit({**blocker._asdict(), "terminated": True})
    else:
        print(f"pid {blocker.pid} was ended; {blocker.waiting} of ours waited for it")
    return exits.OK


def _show(found: list[Blocker], options: argparse.Namespace) -> int:
    if options.json:
        for each in found:
            emit(each._asdict())
    elif found:
        people().print(render(found))
        if pids := [each.pid for each in found if each.pid]:
            people().print(f"next: session-worker blockers --terminate {pids[0]}")
        else:
            say_lines("a prepared transaction is ended with `rollback prepared`: see pg_prepared_xacts")
    else:
        print("nobody holds a lock that ours wait for")
    return exits.FAILED if found else exits.OK


def render(found: list[Blocker]) -> RenderableType:
    """Lay out what is known of each."""
    return Group(*map(_facts, found))


def _facts(each: Blocker) -> RenderableType:
    whom = f" on {', '.join(each.relations)}" if each.relations else ""
    waiting = f"{each.waiting:,} of ours wait for a lock{whom}, the first for {took(each.longest_seconds)}"
    return facts(
        f"pid {each.pid}" if each.pid else "a prepared transaction",
        [
            ("holds up", waiting),
            ("application", each.application),
            ("role", each.user),
            ("since", each.since and at(each.since)),
            ("state", each.state),
            ("last statement", each.statement),
        ],
    )
