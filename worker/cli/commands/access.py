"""`session-worker access`."""

import argparse
import json
import sys
from pathlib import Path

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.postgres import grants
from worker.postgres.installation import own_schema
from worker.rabbitmq import access
from worker.settings import read_settings

EXAMPLES = """\
  rabbitmqctl add_user shop
  session-worker access rabbitmq --role producer --user shop |
      rabbitmqctl import_definitions
  session-worker access rabbitmq --role worker --password-file f > worker.json
      with the user itself, and the hash of that password: for a new node
  session-worker access postgres --role migrator --user sw_owner |
      psql $ADMINISTRATOR_URL
  session-worker access postgres --role worker --user sw | psql $OWNER_URL
      the same as `session-worker migrate --grant sw`

It prints, asks no server, and shows no password. docs/access.md says what each
role may do, and what remains.
"""
_ROLES = ("producer", "subscriber", "worker", "console", "migrator")
_NOWHERE = {
    ("rabbitmq", "migrator"): "a migrator never reaches RabbitMQ: workers declare the exchanges and queues",
    ("postgres", "producer"): "a producer never reaches Postgres: give it no role there",
    ("postgres", "subscriber"): "a subscriber never reaches Postgres: give it no role there",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", choices=("rabbitmq", "postgres"))
    parser.add_argument("--role", required=True, choices=_ROLES, help="what it is for")
    parser.add_argument("--user", metavar="NAME", help="its name on that server (default: as its role)")
    parser.add_argument("--prefix", metavar="PREFIX", help="of the installation (default: WORKER_PREFIX)")
    parser.add_argument("--vhost", default="/", help="of RabbitMQ (default /)")
    parser.add_argument(
        "--password-file", metavar="FILE",
        help="RabbitMQ: define the user, too, with the hash of the password in this file (- is stdin)",
    )  # fmt: skip
    parser.add_argument(
        "--own-schema", action="store_true",
        help="Postgres: the installation's tables are in a schema named as its prefix",
    )  # fmt: skip


def execute(options: argparse.Namespace) -> int:
    if why := _NOWHERE.get((options.server, options.role)):
        raise CommandError(exits.USAGE, why)
    prefix, name = _prefix(options.prefix), options.user or options.role
    if options.server == "postgres":
        print(_sql(options, name, prefix))
        return exits.OK
    actor = access.Actor(options.role)
    user = access.User(name, actor, _hash(options.password_file) if options.password_file else None)
    print(json.dumps(access.definitions(user, prefix, options.vhost), indent=2))
    if user.password_hash is None:
        tags = access.rights_of(actor, prefix).tags
        say(
            f"the user {name!r} has to be there before this is imported: rabbitmqctl add_user"
            + "".join(f"; if its MANAGEMENT_URL is set: rabbitmqctl set_user_tags NAME {tag}" for tag in tags)
        )
    return exits.OK


def _sql(options: argparse.Namespace, name: str, prefix: str) -> str:
    schema = own_schema(prefix) if options.own_schema else "public"
    if options.role == "migrator":
        return grants.owner_script(name, schema, own=options.own_schema)
    return grants.script(grants.Kind(options.role), name, schema)


def _prefix(given: str | None) -> str:
    named = {} if given is None else {"prefix": given}
    return read_settings(amqp_url="amqp://unused", database_url="postgresql://unused", **named).prefix


def _hash(file: str) -> str:
    try:
        told = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(exits.USAGE, f"--password-file: {error}") from None
    password = told.rstrip("\r\n")
    if not password:
        raise CommandError(exits.USAGE, "--password-file: there is no password in it")
    return access.hashed(password)
