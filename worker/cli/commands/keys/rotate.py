"""`session-worker keys rotate`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.long_works import audit_options, progress, rate_option
from worker.cli.looking import looked_up
from worker.cli.options import encodable, json_option, wait_option
from worker.cli.output import emit, say
from worker.cli.steering import say_lines
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.operations import keys
from worker.operations.keys import KeysOfWorker
from worker.operations.resealing import Resealed, Resealing, cannot_open, still_seal
from worker.postgres.database import Database

EXAMPLES = """\
  session-worker keys rotate --reason "its time"
  session-worker keys rotate --from k1 --to k2 --rate 200/s --reason "k1 was in a log"

First roll out the new key, twice: behind the old one (WORKER_SEAL_KEYS=k1,k2),
so that every worker can open it, then in front (k2,k1), also in this shell.
DATABASE_URL has to be that of the owner of the tables, who runs
`session-worker migrate`. Requests, sessions and dead letters are read through,
some at a time; what the old key has sealed is sealed with the new one, and
nothing else changes. Without --from these are all keys of this shell but the
new one. Ctrl-C, or a kill, stops it; said again, it goes on: what is done is
done. Afterwards `session-worker keys report` says what is left: a request that
was running may have stored a session under the old key. Then comes
`session-worker keys retire`.
"""
_WHAT = {"finished": "requests", "sessions": "sessions", "custody": "dead letters"}
_USUAL_RATE = 500.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="old",
        type=encodable,
        metavar="KEY",
        help="the id of the old key (default: all others)",
    )
    parser.add_argument(
        "--to", dest="new", type=encodable, metavar="KEY", help="that of the new one (default: the first one)"
    )
    rate_option(parser, _USUAL_RATE)
    audit_options(parser, reason_required=True)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(event_loop.until_signalled(_rotate(options)))


async def _rotate(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        ring = parse_seal_keys(settings.seal_keys.get_secret_value())
        olds, new = chosen(ring, options.old, options.new)
        workers = await database.look(
            lambda: keys.keys_of_workers(database, settings.lease_seconds), options.wait
        )
        _look_at(workers, olds, new)
        codes = [await _from(options, database, ring, old, new) for old in olds]
    return max(codes)


def chosen(ring: SealKeys, old: str | None, new: str | None) -> tuple[list[str], str]:
    """Return the old keys and the new one, or raise."""
    new = new or next(iter(ring.names), "")
    for key in filter(None, (old, new)):
        if key not in ring.names:
            raise CommandError(exits.USAGE, f"the key {key} is not in the WORKER_SEAL_KEYS of this shell")
    if new in ("", old):
        raise CommandError(
            exits.USAGE, f"{old} is the first key here: put the new one in front, or name it with --to"
        )
    olds = [old] if old else [name for name in ring.names if name != new]
    if not olds:
        raise CommandError(exits.USAGE, f"{new} is the only key here: put the new one in front of it")
    return olds, new


async def _from(options: argparse.Namespace, database: Database, ring: SealKeys, old: str, new: str) -> int:
    """Seal anew what this old key has sealed."""
    so_far = Resealed()
    try:
        with progress() as tell:

            def report(now: Resealed) -> None:
                nonlocal so_far
                so_far = now
                tell(f"{_WHAT[now.place]}: {now.looked:,} looked at; {now.sealed:,} rows sealed anew")

            ended = await Resealing(
                database, ring, old=old, new=new, who=options.by, reason=options.reason, rate=options.rate
            ).run(report)
    except BaseException:
        if so_far.looked:
            say(f"{so_far.sealed:,} rows were sealed anew before the end: to go on, say the same again")
        raise
    return _told(options, ended, old, new)


def _look_at(workers: list[KeysOfWorker], olds: list[str], new: str) -> None:
    """Refuse where a worker could not open what is sealed anew; warn of one that seals with an old key."""
    if lack := cannot_open(workers, new):
        raise CommandError(
            exits.FAILED,
            f"{new} is not in the WORKER_SEAL_KEYS of {', '.join(lack)}, which could not open what is sealed "
            "with it: roll it out first. Nothing was done",
        )
    for old in olds:
        if sealing := still_seal(workers, old):
            who = ", ".join(sealing)
            say(f"{who} still seal with {old}: put {new} in front there, and then say this again")


def _told(options: argparse.Namespace, ended: Resealed, old: str, new: str) -> int:
    if options.json:
        emit({"from": old, "to": new, **ended._asdict()})
    else:
        say_lines(f"{ended.sealed:,} rows that {old} had sealed are sealed with {new}")
        if ended.left:
            say_lines(f"{ended.left:,} rows were in use, or changed meanwhile: say the same again")
        if ended.unopened:
            some = ", ".join(map(str, ended.examples))
            say_lines(f"{ended.unopened:,} rows do not open with the {old} that is set: {some}")
    return exits.FAILED if ended.left or ended.unopened else exits.OK
