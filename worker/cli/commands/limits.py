"""`session-worker limits`."""

import argparse

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.options import json_option, wait_option, words
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.steering import by_option, org, say_lines, steered
from worker.cli.tables import cut, grid, people, plain
from worker.operations import steering
from worker.operations.steering import LimitOnRecord
from worker.rules import NO_ORG, Limit, Scope, limit_of

EXAMPLES = """\
  session-worker limits set org-7 --rate 20/s --burst 40 --running 10
  session-worker limits set org-7 --weight 2
      twice the share of others; its other limits stay as they are
  session-worker limits set --each --running 50
      for each organisation, unless it has a limit of its own
  session-worker limits set --all --rate 500/s --reason "the provider's limit"
  session-worker limits clear org-7
  session-worker limits list

What exceeds a limit waits; nothing fails of it. `set` changes what is named
and keeps the rest; a new rate has no burst but the one given with it. `clear`
removes all that commands have set, and WORKER_LIMITS counts again.
"""
_VALUES = ("rate", "burst", "running", "weight")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("set", "clear", "list"))
    parser.add_argument("org", nargs="?", type=org, metavar="ORG", help="an organisation (its org_id)")
    parser.add_argument("--all", action="store_true", help="all requests together, in the place of ORG")
    parser.add_argument(
        "--each", action="store_true", help="each organisation that has no such limit of its own"
    )
    parser.add_argument("--rate", metavar="N/s", help="so many may begin in a second, such as 20/s or 0.5/s")
    parser.add_argument(
        "--burst", metavar="N", help="so many at once after a while without (default: those of a second)"
    )
    parser.add_argument("--running", metavar="N", help="so many at a time, on all workers together")
    parser.add_argument("--weight", metavar="N", help="its share, beside others with theirs (default 1)")
    parser.add_argument("--reason", type=words, help="why; `limits list` shows it")
    by_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in _VALUES if getattr(options, name) is not None}
    named = (options.org is not None) + options.all + options.each
    if options.action == "list" and named:
        raise CommandError(exits.USAGE, "`limits list` lists all of them: it takes no ORG, --all or --each")
    if options.action != "list" and named != 1:
        raise CommandError(exits.USAGE, f"`limits {options.action}` takes one of ORG, --all and --each")
    if options.action != "set" and given:
        raise CommandError(exits.USAGE, f"`limits {options.action}` takes no limit")
    if options.action == "list" and options.reason:
        raise CommandError(exits.USAGE, "`limits list` takes no --reason: it changes nothing")
    if options.action == "list":
        return event_loop.run(_list(options))
    scope: Scope = "all" if options.all else "each" if options.each else "org"
    name = NO_ORG if options.org is None else options.org
    if options.action == "clear":
        return event_loop.run(_clear(options, scope, name))
    try:
        change = limit_of(scope, name, **given)
    except ValueError as error:
        raise CommandError(exits.USAGE, str(error)) from None
    return event_loop.run(_set(options, change))


async def _set(options: argparse.Namespace, change: Limit) -> int:
    async with steered(options) as there:
        database = there.database
        limit = await database.look(
            lambda: steering.set_limit(database, change, reason=options.reason, by=options.by), options.wait
        )
    if options.json:
        emit({**limit._asdict(), "reason": options.reason, "by": options.by, "workers": len(there.live)})
    else:
        say_lines(f"set for {_whose(limit)}: {limit.values}", there.in_force)
    return exits.OK


async def _clear(options: argparse.Namespace, scope: Scope, name: str) -> int:
    async with steered(options) as there:
        database = there.database
        cleared = await database.look(
            lambda: steering.clear_limit(database, scope, name, by=options.by, reason=options.reason),
            options.wait,
        )
    removed, setting = cleared
    if removed is None and setting is not None:
        raise CommandError(
            exits.FAILED,
            f"no command has set a limit for {_whose(setting)}: it is that of WORKER_LIMITS "
            f"({setting.values}), which is to be changed there",
        )
    if options.json:
        emit(
            {"scope": scope, "name": name, "cleared": removed is not None}
            | {"before": removed._asdict() if removed else None}
            | {"setting": setting._asdict() if setting else None, "workers": len(there.live)}
        )
        return exits.OK
    if removed is None:
        say_lines(f"nothing to do: {_whose(Limit(scope, name))} has no limit")
    else:
        say_lines(f"cleared for {_whose(removed)}: {removed.values}", there.in_force)
    if setting:
        say_lines(f"that of WORKER_LIMITS counts again: {setting.values}")
    return exits.OK


async def _list(options: argparse.Namespace) -> int:
    async with steered(options) as there:
        found = await there.database.look(lambda: steering.limits(there.database), options.wait)
    if options.json:
        for one in found:
            emit(steering.limit_as_record(one))
    elif found:
        people().print(table_of(found))
    else:
        print("no limits are set")
    return exits.OK


def table_of(found: list[LimitOnRecord]) -> Table:
    table = grid("", "for", "limit", "now", wrap=["for"])
    for one in found:
        limit, source = one.limit, one.source if one.in_force else f"{one.source}, not in force"
        whose = f"org {cut(limit.name)}" if limit.name else limit.scope
        told = whose, f"{source}, {at(one.set_at)[:10]}", f"by {one.set_by}", one.reason
        counts = (one.waiting, "waiting"), (one.running_now, "running")
        now = [f"{number:,} {what}" for number, what in counts if number is not None]
        now += [] if one.share is None else [f"share {one.share:.0%}"]
        table.add_row(plain("\n".join(filter(None, told))), "\n".join(limit.values.split()), "\n".join(now))
    return table


def _whose(limit: Limit) -> str:
    return {"all": "all requests", "each": "each organisation", "org": f"org {limit.name}"}[limit.scope]
