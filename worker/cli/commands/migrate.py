"""`session-worker migrate`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit, say
from worker.cli.reaching import reach
from worker.postgres.grants import Kind
from worker.postgres.migrate import State, grant, inspect, migrate, script
from worker.postgres.sql import Migration
from worker.settings import Settings
from worker.tls import context_from

EXAMPLES = """\
  session-worker migrate          apply what is missing; two at once do no harm
  session-worker migrate --check  change nothing; exit code 1 if any is missing,
                                  or if this version is too old for the tables
  session-worker migrate --sql    print the SQL, to apply it by other means
  session-worker migrate --grant sw
                                  give the role sw what a worker needs, no more
  session-worker migrate --grant sc --role console
                                  what a console needs that runs by itself
  WORKER_PREFIX=tenant-b session-worker migrate
                                  a schema for that prefix, beside the others

Without WORKER_PREFIX it is about the tables of the database's first
installation, which belong to the first worker that comes.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--check", action="store_true", help="only say what is missing, or that this version is too old"
    )
    how.add_argument(
        "--sql", action="store_true", help="only print the SQL for an empty database; needs none"
    )
    how.add_argument("--grant", metavar="ROLE", help="only set the rights of a role in Postgres")
    parser.add_argument(
        "--role", choices=[kind.value for kind in Kind], default=Kind.WORKER.value,
        help="with --grant: what it is for (default worker)",
    )  # fmt: skip
    parser.add_argument(
        "--own-schema",
        action="store_true",
        help="use a schema named as WORKER_PREFIX, even if the first schema has room",
    )
    json_option(parser)
    wait_option(parser)


def execute(options: argparse.Namespace) -> int:
    if options.sql:
        settings = settings_for()
        print(script(settings.prefix if options.own_schema else _prefix(settings), own=options.own_schema))
        return exits.OK
    return event_loop.run(_migrate(options))


async def _migrate(options: argparse.Namespace) -> int:
    settings = settings_for(database=True)
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    own, prefix = options.own_schema, settings.prefix if options.own_schema else _prefix(settings)
    if options.grant:
        kind = Kind(options.role)
        given = await reach("Postgres", lambda: grant(url, options.grant, tls, prefix, kind), options.wait)
        if options.json:
            emit(given._asdict())
        else:
            print(f"{given.role} has a {given.kind}'s rights in schema {given.schema}, and no more")
        return exits.OK
    if options.check:
        state = await reach("Postgres", lambda: inspect(url, tls, prefix), options.wait)
        _report(options, "pending", state.pending, _up_to_date(state))
        return exits.FAILED if state.pending else exits.OK
    applied = await reach("Postgres", lambda: migrate(url, tls, prefix, own=own), options.wait)
    _report(options, "applied", applied, "up to date: nothing to apply")
    return exits.OK


def _prefix(settings: Settings) -> str | None:
    """The prefix, or None where none was set: a job that migrates may not know the prefix of its workers."""
    return settings.prefix if "prefix" in settings.model_fields_set else None


def _up_to_date(state: State) -> str:
    if not state.newer:
        return "up to date"
    return f"up to date; newer than this version, and no obstacle: {', '.join(state.newer)}"


def _report(options: argparse.Namespace, verb: str, migrations: list[Migration], otherwise: str) -> None:
    for migration in migrations:
        if options.json:
            emit({verb: migration.written})
        else:
            print(f"{verb} {migration.written}")
    if not migrations and not options.json:
        say(otherwise)
