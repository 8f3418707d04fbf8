"""`session-worker keys retire`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.long_works import audit_options
from worker.cli.looking import looked_up
from worker.cli.options import encodable, json_option, wait_option
from worker.cli.output import emit
from worker.cli.sealed_rows import NAMES, looked_at
from worker.cli.steering import say_lines
from worker.operations import retiring
from worker.operations.retiring import KeyInUse, Retirement

EXAMPLES = """\
  session-worker keys retire k1 --reason "its time"
  session-worker keys retire k1 --give-up-repeats --reason "k1 was in a log"

Once a key is retired, no worker starts that has it in front, so nothing is
sealed with it again. It is refused while anything needs the key: requests,
sessions, dead letters, repeats of requests, or a worker that seals with it.
All rows are read for it. DATABASE_URL has to be that of the owner of the
tables. Afterwards take the key from WORKER_SEAL_KEYS of all workers.

--give-up-repeats: a request that carries a credential and comes again within
WORKER_RETENTION_DAYS is known by the key that it was sealed with first; such
a repeat is then answered with request_id_conflict.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", type=encodable, help="the id of the key")
    parser.add_argument(
        "--give-up-repeats", action="store_true", help="also where repeats of requests are known by it alone"
    )
    audit_options(parser, reason_required=True)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(event_loop.until_signalled(_retire(options)))


async def _retire(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        with looked_at() as report:
            try:
                done = await retiring.retire(
                    database, options.key, lease_seconds=settings.lease_seconds, who=options.by,
                    reason=options.reason, give_up_repeats=options.give_up_repeats, report=report,
                )  # fmt: skip
            except KeyInUse as error:
                raise CommandError(exits.FAILED, in_words(error)) from None
    if options.json:
        emit({"key": options.key, **done._asdict()})
    else:
        say_lines(*told(options.key, done))
    return exits.OK


def in_words(error: KeyInUse) -> str:
    """Say what still needs a key, and what ends that."""
    if error.sealing:
        return (
            f"{', '.join(error.sealing)} still seal with {error.key}: put another key in front there. "
            "Nothing was done"
        )
    listed = ", ".join(f"{each.rows:,} {NAMES[each.place]}" for each in error.rows)
    if [each.place for each in error.rows] == ["repeats"]:
        remedy = (
            "these end with WORKER_RETENTION_DAYS; --give-up-repeats does not wait for that, and answers "
            "them with request_id_conflict"
        )
    else:
        remedy = f"session-worker keys rotate --from {error.key}"
    return f"{error.key} is still needed: {listed}. Nothing was done; {remedy}"


def told(key: str, done: Retirement) -> list[str]:
    """Say what came of it."""
    lines = [f"{key} was retired before" if done.before else f"{key} is retired: nothing needs it"]
    if done.given_up:
        lines.append(f"repeats of {done.given_up:,} requests are not known any more")
    if done.workers:
        lines.append(f"take it from WORKER_SEAL_KEYS of {', '.join(done.workers)}")
    return lines
