"""`session-worker migrate`."""

import argparse

from worker.cli import exits, running
from worker.cli.output import emit, json_option, say, wait_option
from worker.cli.servers import reach, settings_for
from worker.migrate import inspect, migrate, script
from worker.sql import Migration
from worker.tls import context_from

EXAMPLES = """\
  session-worker migrate          apply what is missing; two at once do no harm
  session-worker migrate --check  change nothing; exit code 1 if any is missing
  session-worker migrate --sql    print the SQL, to apply it by other means
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="only say what is missing")
    how.add_argument(
        "--sql", action="store_true", help="only print the SQL for an empty database; needs none"
    )
    json_option(parser)
    wait_option(parser)


def execute(options: argparse.Namespace) -> int:
    if options.sql:
        print(script())
        return exits.OK
    return running.run(_migrate(options))


async def _migrate(options: argparse.Namespace) -> int:
    settings = settings_for(database=True)
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    if options.check:
        state = await reach("Postgres", lambda: inspect(url, tls), options.wait)
        _report(options, "pending", state.pending, "up to date")
        return exits.FAILED if state.pending else exits.OK
    applied = await reach("Postgres", lambda: migrate(url, tls), options.wait)
    _report(options, "applied", applied, "up to date: nothing to apply")
    return exits.OK


def _report(options: argparse.Namespace, verb: str, migrations: list[Migration], else_: str) -> None:
    for migration in migrations:
        if options.json:
            emit({verb: _name(migration)})
        else:
            print(f"{verb} {_name(migration)}")
    if not migrations and not options.json:
        say(else_)


def _name(migration: Migration) -> str:
    return f"{migration.number:04d}_{migration.name}"
